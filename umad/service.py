"""Defines the interface every front end uses: ask for work, receive events.

It knows no socket and no HTTP. `umad.client` implements `Service` over the Unix socket; the gateway
and the CLI use only this interface.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from umad.asker import Asker
from umad.conversation import ChatMessage, ChatOptions, ChatPrompt
from umad.embedding import Embeddings, EmbedRequest, Ranking, RerankRequest
from umad.estimate import MemoryEstimate
from umad.request import FinishReason, GenerateRequest, Timings, Usage
from umad.transcription import TranscribeRequest, TranscriptEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The request is in the queue."""

    # The daemon's own id, for `cancel` and `ps`.
    request: str
    model: str
    lane: str
    queue_position: int
    # What it takes to continue the answer elsewhere (`umad.request.AnswerSoFar`): the seed of
    # completion 0 and the limit as they hold, and what the model is. The last is empty while the
    # model is not loaded (`Loading` tells it then), and for answers that cannot be resumed.
    seed: int | None = None
    max_tokens: int | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The request waits because its model is not loaded yet. It comes once a second until the model
    is, and only to clients that want it.
    """

    model: str
    # The state of the model's engine, as `models` shows it: "waiting" for room, "starting".
    state: str
    # How much of its file has been read, from 0 to 1; None where that is not known.
    share: float | None = None
    # What it waits for, in words; empty where it is being loaded.
    why: str = ""
    # As in `Accepted`, once the model is there: the last of these events.
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Prefill has reached `done_tokens` of `total_tokens`."""

    index: int
    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """The log-probability of one token, before any cut or temperature."""

    id: int
    # Natural logarithm.
    logprob: float
    # Alternatives, the best one first.
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLogprobs:
    """Log-probabilities of some of the prompt's tokens, for requests with `prompt_logprobs`.

    All of them come before the first `Tokens` of the completion, which is number 0: the prompt is
    the same for all. After an engine was restarted, they may come again from the beginning.
    """

    index: int
    # The place in the prompt of the first of `tokens`, at least 1: the prompt's first token has
    # nothing before it, and so no probability.
    start: int
    # The token before them.
    before: int
    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """New tokens of completion `index`."""

    index: int
    # It may lag behind ids: half characters and possible stop strings are held back until they are
    # decided.
    text: str
    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Completion `index` ended."""

    index: int
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    # The stop string that ended it, where one did.
    stop: str | None = None


def was_cut(done: Done) -> bool:
    """Whether the completion ended before the model had ended it."""
    return done.finish_reason != "stop" or done.stop is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The request ended with an error; nothing follows it."""

    code: str
    message: str
    field: str | None
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Logits:
    """The row of logits for a token of the completion is in its ring."""

    index: int
    # The token's number, from 0. None: there is a ring, and the request continues only once the
    # ring is attached. This event comes first, and again after an engine was restarted, because the
    # new engine has a ring of its own.
    position: int | None


# All events of a generation that succeeds.
GenerationEvent = Accepted | Loading | Progress | PromptLogprobs | Tokens | Logits | Done
Event = GenerationEvent | Failed

# Returns whether it has handled these tokens. Called on the loop, between tasks, so it cannot wait.
# It may raise a `UmadError`, which ends the request.
Take = Callable[[Tokens], bool]


class Service(Protocol):
    """The calls a front end may make.

    Every other method than `on_behalf` is a coroutine or an async iterator on the caller's loop.
    Leaving an `events` iterator cancels the request.
    """

    def on_behalf(self, asker: Asker) -> "Service":
        """The same service for `asker`: the daemon shows it only what that asker may see and
        touch.
        """
        ...

    def events(self, request: GenerateRequest, *, take: Take | None = None) -> AsyncIterator[Event]:
        """Stream the events of one request, ending with `Done` of every index or `Failed`.

        For front ends, which pass a failure on as an event. Programs use the clients' `generate`,
        which raises the failure. take: a shorter way for tokens. It is offered the tokens that
        arrive while the iterator is awaited, and the tokens it takes do not come out of the
        iterator; so the order is kept.
        """
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """A vector for each text. Cancelling the wait cancels the request.

        Raises `PromptTooLong` naming the text, `Unsupported` where the model has no vectors.
        """
        ...

    async def rerank(self, request: RerankRequest) -> Ranking:
        """Documents in the order in which they answer a query.

        Raises `Unsupported` unless the model is a reranker.
        """
        ...

    def hear(self, recording: TranscribeRequest) -> AsyncGenerator[TranscriptEvent, None]:
        """What is said in a recording, window by window: `Heard`, and the `Transcript` last.

        Leaving the iterator cancels the request. Raises `UnsupportedAudio`, `AudioTooLong`, or
        `Unsupported` for a model that hears nothing.
        """
        ...

    async def tokenize(
        self, text: str, *, model: str | None = None, special: bool = True
    ) -> tuple[int, ...]:
        """Token ids of `text`; special: recognise control tokens in it."""
        ...

    async def detokenize(self, ids: tuple[int, ...], *, model: str | None = None) -> str:
        """Text of `ids`."""
        ...

    async def render(
        self,
        messages_: Sequence[ChatMessage] | None = None,
        *,
        chat: ChatOptions | None = None,
        model: str | None = None,
    ) -> ChatPrompt:
        """The model's chat template, and the prompt that it makes of these turns."""
        ...

    async def pieces(self, ids: tuple[int, ...], *, model: str | None = None) -> tuple[bytes, ...]:
        """Bytes of each of `ids`; the bytes of one token may be part of a character."""
        ...

    async def cancel(self, request: str) -> None:
        """End a request by the daemon's id for it. Raises `UnknownRequest`."""
        ...

    async def set_priority(self, target: str, lane: str) -> int:
        """Move a session's or request's work to `lane`; return how many requests moved."""
        ...

    async def load(
        self,
        model: str,
        *,
        as_request: bool | None = None,
        keep_alive_s: float | None = None,
    ) -> Mapping[str, Any]:
        """Load a model and wait until it is ready; return its facts.

        as_request: only where a request for tokens would load it. keep_alive_s: how long it stays
        after its last use; negative for ever.
        """
        ...

    async def unload(self, model: str) -> None:
        """Stop a model's engine; its running requests fail."""
        ...

    async def estimate(
        self,
        model: str,
        *,
        ctx_size: int | None = None,
        max_seqs: int | None = None,
        kv_type: str | None = None,
    ) -> MemoryEstimate:
        """Reckon the memory that a model would take, without loading it."""
        ...

    async def load_in_background(self, model: str) -> Mapping[str, Any]:
        """Load a model; return the job of that at once."""
        ...

    async def pull(
        self,
        model: str,
        *,
        quantize: str | None = None,
        parts: int | None = None,
        bytes_per_s: int | None = None,
        keep_free_bytes: int | None = None,
        surroundings: str | None = None,
    ) -> Mapping[str, Any]:
        """Fetch a model in the background; return the job, which may be one that does the same
        already.
        """
        ...

    async def quantize(
        self, model: str, *, to: str | None = None, name: str | None = None
    ) -> Mapping[str, Any]:
        """Write a smaller copy of a model into the store, in the background; return the job."""
        ...

    async def jobs(self) -> Sequence[Mapping[str, Any]]:
        """Every job that the asker may see, the newest first."""
        ...

    async def job(self, job: str, *, after: int | None = None) -> Mapping[str, Any]:
        """One job; after its version `after`, or after some seconds. Raises `UnknownRequest`."""
        ...

    async def cancel_job(self, job: str) -> Mapping[str, Any]:
        """End a job; return it. Raises `UnknownRequest`."""
        ...

    async def remove_model(self, model: str) -> Mapping[str, Any]:
        """Remove a model that umad keeps, or a saved preset; return {name, freed_bytes}."""
        ...

    async def copy_model(self, model: str, name: str) -> Mapping[str, Any]:
        """Give a model a second name; return {name, model}."""
        ...

    async def save_preset(
        self,
        name: str,
        model: str,
        *,
        system: str | None = None,
        sampling: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Keep a model with a system prompt and sampling under a name; return {name, model}."""
        ...

    async def models(self, *, stored: bool = False) -> Sequence[Mapping[str, Any]]:
        """Every loaded or loading model with its facts. stored: for an admin those too that a
        request would load, in the state "unloaded", with the facts of their headers; and
        `presets`, the names of presets that mean the model.
        """
        ...

    async def adapters(self, model: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Every LoRA adapter of this machine that was made for the architecture of `model`; for a
        user those that have been used.
        """
        ...

    async def sessions(self) -> Sequence[Mapping[str, Any]]:
        """Every live request and pinned session: what `umad ps` shows."""
        ...

    async def forget(self, session: str | None = None, *, all: bool = False) -> Mapping[str, Any]:
        """Delete what is kept of a session, or of all sessions; return the names as {sessions,
        in_use}.

        Raises `UnknownRequest` where nothing is kept under that name.
        """
        ...

    async def answer_of(self, request: Any) -> Any:
        """The answer to a request of the socket that has one answer, as it came: for front ends
        that pass both on (`umad.protocol.messages`).
        """
        ...

    async def metrics(self) -> Mapping[str, Any]:
        """The scorecard: the waiting times of every app, and the device's work (`umad.metrics`)."""
        ...
