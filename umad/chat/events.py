"""Defines the parts of a reply, in the order in which the model wrote them. Values only."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Content:
    """More of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """More of the thinking's text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A call of the tool `name`; index counts a reply's calls from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of the call's arguments: JSON text, as the model writes it."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call has ended."""

    index: int
    # False where it was cut off or broken: its arguments are not what the model set out to write.
    # Not compared: a reader of parts that only wants their order need not know.
    is_whole: bool = field(default=True, compare=False)


ReplyEvent = Content | Reasoning | CallBegan | CallArguments | CallEnded


def merged(events: list[ReplyEvent]) -> list[ReplyEvent]:
    """Neighbouring pieces of the same text as one."""
    done: list[ReplyEvent] = []
    for event in events:
        last = done[-1] if done else None
        match last, event:
            case (Content(before), Content(text)):
                done[-1] = Content(before + text)
            case (Reasoning(before), Reasoning(text)):
                done[-1] = Reasoning(before + text)
            case (CallArguments(index, before), CallArguments(at, text)) if index == at:
                done[-1] = CallArguments(index, before + text)
            case _:
                done.append(event)
    return done
