"""Opens, iterates and closes one generation of the daemon behind an HTTP request, in every state.

    generation = await open_generation(service, request, settle_s=0.25)
    async for event in generation: ...        # Progress, Tokens, Done; raises what ends it early
    await generation.close()                  # cancels it where it has not ended

`umad.gateway.gateway_call.GatewayCall.open` does the first and the last by itself. Not: how a
dialect shows events. Owner: the task of its HTTP request.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from umad.errors import ConnectionLost, UmadError
from umad.protocol.errors import error_of_failed
from umad.request import FinishReason, GenerateRequest, Timings, Usage
from umad.service import (
    Accepted,
    Done,
    Event,
    Failed,
    Loading,
    Logits,
    Progress,
    PromptLogprobs,
    Take,
    TokenLogprob,
    Tokens,
)

Heard = Progress | Tokens | Done

# A machine whose cores are taken tokenizes at least about so fast.
SLOW_TOKENS_PER_S = 10_000
# A client hears from a stream within so many seconds more, whatever its prompt.
MOST_TOKENIZING_S = 5.0


class _Tap:
    """The place where a generation's tokens may be taken; closed until the generation is
    iterated.
    """

    def __init__(self) -> None:
        self.take: Take | None = None

    def __call__(self, event: Tokens) -> bool:
        return self.take is not None and self.take(event)


class GatewayGeneration:
    """One generation. Iterate it once. `accepted` is there from the beginning."""

    def __init__(
        self,
        accepted: Accepted,
        events: AsyncGenerator[Event, None],
        early: asyncio.Task[Event] | None,
        tap: _Tap,
    ) -> None:
        self.accepted = accepted
        self._events = events
        self._early = early
        self._tap = tap
        # Set before the iteration: it is offered tokens that need not come out of the iterator
        # (`umad.service.Take`).
        self.take: Take | None = None
        # How probable the prompt's tokens are, by their places, for a request that asks for it. All
        # are there before the first token comes.
        self.prompt_logprobs: dict[int, TokenLogprob] = {}
        # The prompt's first token, once `prompt_logprobs` has one.
        self.first_token: int | None = None
        # The load that the generation waits for, as it stood last; None where it does not wait.
        self.loading: Loading | None = None
        # Hears of each end.
        self.on_done: Callable[[Done], None] | None = None
        # Puts an error into the words of the caller's dialect.
        self.named: Callable[[UmadError], UmadError] = lambda error: error

    async def __aiter__(self) -> AsyncIterator[Heard]:
        """Every event but `Accepted` and those that are kept. Raises the `UmadError` of a
        `Failed`.
        """
        if self._early is not None:
            first = await self._early
            self._early = None
            if not self._noted(first):
                yield self._hear(first)
        # Not earlier, because the first event must be handled first.
        self._tap.take = self.take
        async for event in self._events:
            if not self._noted(event):
                yield self._hear(event)

    def _noted(self, event: Event) -> bool:
        """Keep what tells of the load and of the prompt. Returns whether the event was of that
        kind.
        """
        self.loading = event if isinstance(event, Loading) else None
        if not isinstance(event, PromptLogprobs):
            return self.loading is not None
        if event.start == 1:
            self.first_token = event.before
        self.prompt_logprobs.update(enumerate(event.tokens, event.start))
        return True

    def _hear(self, event: Event) -> Heard:
        if isinstance(event, Failed):
            raise self.named(error_of_failed(event))
        if isinstance(event, Accepted):
            raise ConnectionLost("the daemon accepted one request twice")
        if isinstance(event, Logits):
            raise ConnectionLost("the daemon told of logits that nobody asked for")
        if isinstance(event, PromptLogprobs):
            raise ConnectionLost("the daemon told of a prompt that nobody asked about")
        if isinstance(event, Loading):
            raise ConnectionLost("the daemon told of a load that nobody waits for")
        if isinstance(event, Done) and self.on_done is not None:
            self.on_done(event)
        return event

    async def close(self) -> None:
        """Close the generation; if it has not ended, it is cancelled, whatever its state."""
        if self._early is not None:
            self._early.cancel()
            # It may have failed before with nobody listening; it is over in both cases.
            await asyncio.wait({self._early})
            if not self._early.cancelled():
                self._early.exception()
            self._early = None
        await self._events.aclose()


class Generator(Protocol):
    """The part of a `Service` that generates."""

    def events(self, request: GenerateRequest, *, take: Take | None = None) -> AsyncIterator[Event]:
        """Its events; see `Service.events`."""


class Taking(Protocol):
    """Something whose tokens may be taken before they come out of its iterator."""

    take: Take | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """A token's way from the socket into the answer without a task between them."""

    generation: Taking
    # Makes the bytes of some tokens, without waiting. It returns None, and changes nothing, if the
    # tokens have to come out of the iterator.
    piece_of: Callable[[Tokens], bytes | None]


def refused_within_s(settle_s: float, n_tokens: int) -> float:
    """How long a status waits for the engine to refuse a prompt of about `n_tokens`, in seconds.

    An engine finds a prompt too long once it has tokenized it. That takes the longer the longer the
    prompt is, and longer still while others want the cores.
    """
    return settle_s + min(n_tokens / SLOW_TOKENS_PER_S, MOST_TOKENIZING_S)


async def open_generation(
    service: Generator, request: GenerateRequest, *, settle_s: float
) -> GatewayGeneration:
    """Start a generation and wait until it is known to run, or for `settle_s` after it was queued.

    So errors of the request are raised here, while a status can still be sent: the daemon's at
    once, and those the engine finds within `settle_s` (a prompt too long).
    """
    tap = _Tap()
    events = cast(AsyncGenerator[Event, None], service.events(request, take=tap))
    opened = False
    early: asyncio.Task[Event] | None = None
    try:
        first = await anext(events)
        if isinstance(first, Failed):
            raise error_of_failed(first)
        if not isinstance(first, Accepted):
            raise ConnectionLost("the daemon's first event is not accepted")
        early = asyncio.ensure_future(_next(events))
        await asyncio.wait({early}, timeout=settle_s)
        if early.done():
            event = early.result()
            if isinstance(event, Failed):
                raise error_of_failed(event)
        opened = True
        return GatewayGeneration(first, events, early, tap)
    finally:
        if not opened:
            if early is not None and not early.done():
                early.cancel()
                await asyncio.wait({early})
            with contextlib.suppress(RuntimeError):  # already closed by its own failure
                await events.aclose()


async def _next(events: AsyncGenerator[Event, None]) -> Event:
    return await anext(events)


@dataclass(slots=True, kw_only=True)
class Completion:
    """One completion, whole. `done` fields are there once it has ended."""

    index: int
    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason = "error"
    stop: str | None = None
    usage: Usage = field(
        default_factory=lambda: Usage(prompt_tokens=0, cached_tokens=0, completion_tokens=0)
    )
    timings: Timings = field(
        default_factory=lambda: Timings(queued_ms=0.0, first_token_ms=0.0, total_ms=0.0)
    )


async def collect(generation: AsyncIterable[Heard], n: int = 1) -> list[Completion]:
    """Run a generation to its end; return its `n` completions in order. Raises what ends it
    early.
    """
    completions = [Completion(index=index) for index in range(n)]
    pieces: list[list[str]] = [[] for _ in range(n)]
    async for event in generation:
        if isinstance(event, Tokens):
            one = completions[event.index]
            pieces[event.index].append(event.text)
            one.ids.extend(event.ids)
            one.logprobs.extend(event.logprobs or ())
        elif isinstance(event, Done):
            one = completions[event.index]
            one.finish_reason = event.finish_reason
            one.stop = event.stop
            one.usage = event.usage
            one.timings = event.timings
    for one, text in zip(completions, pieces, strict=True):
        one.text = "".join(text)
    return completions
