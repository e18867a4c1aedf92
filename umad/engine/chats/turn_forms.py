"""Writes a chat's turns in plainer forms, for templates that refuse the chat as it was sent.

Many templates demand that users and assistants take turns, that a system turn comes first or not at
all, or that ids of calls have nine characters. Clients send what their own API allows. A form says
the same in an order that more templates take; nothing that was said is left out. A template is
given the chat as it is first (`umad.engine.chats.chat_template`), so a chat that it takes keeps its
text and its prefix. Pure. Not: rendering; the meaning of arguments (`past_calls`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from umad.conversation import ChatMessage
from umad.engine.chats.past_calls import in_words, result_in_words

BETWEEN_TURNS = "\n\n"
# Mistral's templates refuse ids of any other form.
_ID = "call{:05d}"
_MERGED = ("user", "assistant")

Turns = tuple[ChatMessage, ...]
Guard = Callable[[str], str]


def plainer_forms(turns: Sequence[ChatMessage]) -> Iterator[Turns]:
    """Forms of the same chat, each with less that a template could refuse than the one before."""
    ordered = _ordered(turns)
    parted = _parted(ordered)
    yield ordered
    yield _without_system(ordered)
    yield parted
    yield _without_system(parted)
    yield _without_system(_ordered(in_words(turns)))


def is_told(turns: Sequence[ChatMessage], text: str, guard: Guard, *, knows_calls: bool) -> bool:
    """Whether `text` has the words of all turns that stand where templates do not expect them.

    Some templates look at the first or the last system turn only, or know no result without a call,
    and leave the others out without a word. knows_calls: the template is known to write calls; if
    not, their names are looked for, too.
    """
    words = [one.strip() for one in _unexpected(turns)]
    if not knows_calls:
        words += [call.name for turn in turns for call in turn.tool_calls]
    return all(guard(one) in text for one in words)


def _unexpected(turns: Sequence[ChatMessage]) -> Iterator[str]:
    late = any(turn.role == "system" for turn in turns[1:])
    if late or all(turn.role == "system" for turn in turns):
        yield from (turn.content for turn in turns if turn.role == "system")
    yield from (turn.content for turn, is_orphan in _with_orphans(turns) if is_orphan)


def _ordered(turns: Sequence[ChatMessage]) -> Turns:
    """One system turn first; then users and assistants by turns, and a user before all others."""
    systems = [turn.content for turn in turns if turn.role == "system" and turn.content]
    rest = [turn for turn in turns if turn.role != "system"]
    talk = _merged(
        result_in_words(turn) if is_orphan else turn
        for turn, is_orphan in _with_orphans(_without_empty(rest))
    )
    # Where an assistant alone has spoken, nobody asks anything, and the template's refusal stands.
    is_asked = not talk or any(turn.role != "assistant" for turn in talk)
    if is_asked and (not talk or talk[0].role != "user"):
        talk.insert(0, ChatMessage(role="user", content=""))
    system = [ChatMessage(role="system", content=_joined(systems))] if systems else []
    return tuple(_renumbered([*system, *talk]))


def _without_empty(turns: Iterable[ChatMessage]) -> Iterator[ChatMessage]:
    """The turns without assistants that said nothing, whatever they thought."""
    for turn in turns:
        if turn.role != "assistant" or turn.content or turn.tool_calls:
            yield turn


def _with_orphans(turns: Iterable[ChatMessage]) -> Iterator[tuple[ChatMessage, bool]]:
    """Each turn, and whether it is a result that no call came before."""
    is_called = False
    for turn in turns:
        if turn.role != "tool":
            is_called = bool(turn.tool_calls)
        yield turn, turn.role == "tool" and not is_called


def _merged(turns: Iterable[ChatMessage]) -> list[ChatMessage]:
    """The turns with neighbours of one role as one turn. Results stay apart."""
    done: list[ChatMessage] = []
    for turn in turns:
        last = done[-1] if done else None
        if last is None or last.role != turn.role or turn.role not in _MERGED:
            done.append(turn)
            continue
        done[-1] = replace(
            last,
            content=_joined((last.content, turn.content)),
            name=last.name if last.name == turn.name else None,
            tool_calls=(*last.tool_calls, *turn.tool_calls),
            reasoning=_joined((last.reasoning or "", turn.reasoning or "")) or None,
        )
    return done


def _renumbered(turns: Iterable[ChatMessage]) -> Iterator[ChatMessage]:
    """The turns with ids by the order of the calls. A result without the id of a call that waits
    for one answers the first that does.
    """
    n_ids = 0
    waiting: dict[str, str | None] = {}
    for turn in turns:
        if turn.role == "tool":
            known = [new for new, old in waiting.items() if old == turn.tool_call_id]
            answered = next(iter(known or waiting), None)
            if answered is None:
                n_ids += 1
                answered = _ID.format(n_ids)
            waiting.pop(answered, None)
            yield replace(turn, tool_call_id=answered)
            continue
        waiting = {}
        calls = []
        for call in turn.tool_calls:
            n_ids += 1
            waiting[_ID.format(n_ids)] = call.id
            calls.append(replace(call, id=_ID.format(n_ids)))
        yield replace(turn, tool_calls=tuple(calls))


def _parted(turns: Sequence[ChatMessage]) -> Turns:
    """The turns with an empty answer between a result and a user who speaks at once."""
    done: list[ChatMessage] = []
    for turn in turns:
        if turn.role == "user" and done and done[-1].role == "tool":
            done.append(ChatMessage(role="assistant", content=""))
        done.append(turn)
    return tuple(done)


def _without_system(turns: Turns) -> Turns:
    """The turns with the system's words at the beginning of the first user's."""
    if not turns or turns[0].role != "system":
        return turns
    system, user, *rest = turns
    return (replace(user, content=_joined((system.content, user.content))), *rest)


def _joined(texts: Iterable[str]) -> str:
    return BETWEEN_TURNS.join(text for text in texts if text)
