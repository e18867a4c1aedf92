"""The seam every front end uses: ask for work, receive events. Knows no socket and no HTTP.

`umad.client` implements `Service` over the Unix socket; the gateway and the CLI see only this.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from umad.asker import Asker
from umad.embedding import Embeddings, EmbedRequest, Ranking, RerankRequest
from umad.request import FinishReason, GenerateRequest, Timings, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The request is in the queue. request: the daemon's own id, for `cancel` and `ps`."""

    request: str
    model: str
    lane: str
    queue_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Prefill has reached `done_tokens` of `total_tokens`."""

    index: int
    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """Natural-log probability of a token before any cut or temperature; `top` best first."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """New tokens of completion `index`. text may lag behind ids: half characters and possible
    stop strings are held back until they are decided."""

    index: int
    text: str
    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Completion `index` ended. stop: the stop string that ended it, where one did."""

    index: int
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    stop: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The request ended with an error; nothing follows it."""

    code: str
    message: str
    field: str | None
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Logits:
    """The row of logits for token `position` (from 0) of the completion is in its ring.

    position None: there is a ring, and nothing goes on before it is attached. It comes first, and
    again when an engine was restarted, which has a ring of its own.
    """

    index: int
    position: int | None


# All that a generation which goes well brings.
GenerationEvent = Accepted | Progress | Tokens | Logits | Done
Event = GenerationEvent | Failed

# Whether it has dealt with these tokens. Called on the loop, between tasks: it cannot wait. What it
# raises is a `UmadError` and ends the request.
Take = Callable[[Tokens], bool]


class Service(Protocol):
    """What a front end may ask. Every other method is a coroutine or an async iterator on the
    caller's loop; leaving an `events` iterator cancels the request."""

    def on_behalf(self, asker: Asker) -> "Service":
        """The same, for `asker`: the daemon lets it see and touch what that one may."""
        ...

    def events(self, request: GenerateRequest, *, take: Take | None = None) -> AsyncIterator[Event]:
        """Stream the events of one request, ending with `Done` of every index or `Failed`.

        For front ends, which pass a failure on as what it is; programs have the clients'
        `generate`, which raises it.
        take: a shorter way for tokens. It is offered those that arrive while the iterator is
        waited on, and what it takes does not come out of the iterator; so order is kept.
        """
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """A vector for each text; giving up on it cancels it. Raises `PromptTooLong` naming the
        text, `Unsupported` of a model that has none."""
        ...

    async def rerank(self, request: RerankRequest) -> Ranking:
        """Documents in the order in which they answer a query. Raises `Unsupported` unless the
        model is a reranker."""
        ...

    async def tokenize(
        self, text: str, *, model: str | None = None, special: bool = True
    ) -> tuple[int, ...]:
        """Token ids of `text`; special: recognise control tokens in it."""
        ...

    async def detokenize(self, ids: tuple[int, ...], *, model: str | None = None) -> str:
        """Text of `ids`."""
        ...

    async def pieces(self, ids: tuple[int, ...], *, model: str | None = None) -> tuple[bytes, ...]:
        """Bytes of each of `ids`; those of one token may be part of a character."""
        ...

    async def cancel(self, request: str) -> None:
        """End a request by the daemon's id for it. Raises `UnknownRequest`."""
        ...

    async def set_priority(self, target: str, lane: str) -> int:
        """Move a session's or request's work to `lane`; how many requests moved."""
        ...

    async def load(self, model: str) -> Mapping[str, Any]:
        """Load a model and wait until it is ready; its facts."""
        ...

    async def unload(self, model: str) -> None:
        """Stop a model's engine; its running requests fail."""
        ...

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """Every loaded or loading model with its facts."""
        ...

    async def sessions(self) -> Sequence[Mapping[str, Any]]:
        """Every live request and pinned session: what `umad ps` shows."""
        ...

    async def forget(self, session: str | None = None, *, all: bool = False) -> Mapping[str, Any]:
        """Give up what is kept of a session, or of all; {sessions, in_use}, names. Raises
        `UnknownRequest` where nothing is kept under that name."""
        ...

    async def metrics(self) -> Mapping[str, Any]:
        """The scorecard: what every app felt, and what the device did (`umad.metrics`)."""
        ...
