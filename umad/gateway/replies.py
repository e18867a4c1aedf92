"""Splits a chat's answer while it comes, for every dialect: content, reasoning, tool calls.

    reply = await call.chat(request)
    async for heard in reply: ...      # Progress, Said(index, part), Done
    replies = await reply.collect()    # or all of it at once

`umad.chat` knows the marks of each family of models. Ids of calls are made here. Not: any dialect's
shape.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from umad.conversation import ChatOptions, ToolCall
from umad.gateway.answer_parts import (
    AnswerPart,
    AnswerReader,
    CallArguments,
    CallBegan,
    CallEnded,
    Content,
    Reasoning,
    reader_of,
)
from umad.gateway.generation import Completion, GatewayGeneration, Shortcut
from umad.service import Accepted, Done, Progress, TokenLogprob, Tokens, was_cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one event added to a completion."""

    index: int
    # Of completion `index`, in order; empty while the text is still undecided.
    parts: tuple[AnswerPart, ...]
    # Of the tokens that came with the parts.
    ids: tuple[int, ...] = ()
    # Of the same tokens.
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(slots=True, kw_only=True)
class GatewayReply(Completion):
    """One completion, whole: `text` is its content, without reasoning and calls."""

    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    # It ended with a call, and not with one that was cut off.
    ends_with_call: bool = False


class ChatReply:
    """A running chat. Iterate it once, or `collect` it."""

    def __init__(
        self,
        generation: GatewayGeneration,
        n: int,
        options: ChatOptions,
        *,
        facts: Callable[[], Awaitable[Mapping[str, Any]]],
    ) -> None:
        """facts: asks for the model's facts, which are not known before it is loaded."""
        self._generation = generation
        self._options = options
        self._facts = facts
        self._readers: list[AnswerReader] = []
        self.n = n
        # By completion: whether it ended with a call, for the reason it finished.
        self.has_calls = [False] * n

    def know(self, facts: Mapping[str, Any]) -> None:
        """Take the answer apart as the model with these facts writes."""
        self._readers = [reader_of(facts, self._options) for _ in range(self.n)]

    @property
    def accepted(self) -> Accepted:
        """The daemon's first event."""
        return self._generation.accepted

    async def __aiter__(self) -> AsyncIterator[Progress | Said | Done]:
        """Its events, until every completion is `Done`. Raises what ends it early."""
        async for event in self._generation:
            if not self._readers and not isinstance(event, Progress):
                self.know(await self._facts())  # its model was loaded meanwhile
            if isinstance(event, Tokens):
                parts = self._read(event)
                yield Said(index=event.index, parts=parts, ids=event.ids, logprobs=event.logprobs)
            elif isinstance(event, Done):
                cut = was_cut(event)
                parts = tuple(self._readers[event.index].finish(cut=cut))
                self._note(event.index, parts)
                if cut and any(isinstance(one, CallEnded) and not one.is_whole for one in parts):
                    self.has_calls[event.index] = False  # its last call was cut off
                if parts:
                    yield Said(index=event.index, parts=parts)
                yield event
            else:
                yield event

    def shortcut(self, piece_of: Callable[[int, tuple[AnswerPart, ...]], bytes]) -> Shortcut:
        """A short way for `GatewayCall.stream`; `piece_of` makes the bytes of the parts of
        completion `index`.

        Parts with log-probabilities come out of the iterator instead, because the daemon may have
        to be asked for their texts.
        """

        def piece(event: Tokens) -> bytes | None:
            if event.logprobs is not None or not self._readers:
                return None
            return piece_of(event.index, self._read(event))

        return Shortcut(generation=self._generation, piece_of=piece)

    def _read(self, event: Tokens) -> tuple[AnswerPart, ...]:
        parts = tuple(self._readers[event.index].push(event.text))
        self._note(event.index, parts)
        return parts

    def _note(self, index: int, parts: tuple[AnswerPart, ...]) -> None:
        if any(isinstance(part, CallBegan) for part in parts):
            self.has_calls[index] = True

    async def collect(self) -> list[GatewayReply]:
        """Run it to its end; the completions in order."""
        replies = [GatewayReply(index=index) for index in range(self.n)]
        calls: list[dict[int, tuple[str, list[str]]]] = [{} for _ in range(self.n)]
        async for heard in self:
            if isinstance(heard, Said):
                reply = replies[heard.index]
                reply.ids.extend(heard.ids)
                reply.logprobs.extend(heard.logprobs or ())
                for part in heard.parts:
                    if isinstance(part, Content):
                        reply.text += part.text
                    elif isinstance(part, Reasoning):
                        reply.reasoning += part.text
                    elif isinstance(part, CallBegan):
                        calls[heard.index][part.index] = (part.name, [])
                    elif isinstance(part, CallArguments):
                        calls[heard.index][part.index][1].append(part.text)
            elif isinstance(heard, Done):
                reply = replies[heard.index]
                reply.finish_reason = heard.finish_reason
                reply.stop = heard.stop
                reply.usage = heard.usage
                reply.timings = heard.timings
        for reply, made in zip(replies, calls, strict=True):
            reply.ends_with_call = self.has_calls[reply.index]
            reply.calls = [
                ToolCall(name=name, arguments="".join(pieces), id=new_call_id())
                for name, pieces in made.values()
            ]
        return replies


def new_call_id() -> str:
    """A new id of a tool call, in the form that clients expect."""
    return f"call_{secrets.token_hex(12)}"
