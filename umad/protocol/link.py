"""Encodes messages between the daemon and one engine: framed msgpack arrays, kind first.

Not for clients (`umad.protocol.messages`). Both ends are this version of umad. An engine trusts the
daemon, which checks an engine's messages (`umad.protocol.engine_words`). A step has one message, a
`StepReport`, or on the hot path tokens alone, without objects (`encode_step_tokens`). Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from umad.protocol.events import parse_tokens_tail
from umad.protocol.step_stats import StepStats as StepStats
from umad.request import FinishReason, LogitsUse, SamplingParams

# -- daemon to engine ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Run one completion. Exactly one of prompt, prompt_ids and chat is set."""

    # Unique for the daemon's life; a restarted engine gets the same number again.
    rid: int
    # The daemon always sets `seed` and `max_tokens`.
    sampling: SamplingParams
    lane: str
    app: str
    prompt: str | None = None
    prompt_ids: tuple[int, ...] | None = None
    # Turns and options as `umad.conversation.to_json` writes them.
    chat: str | None = None
    # Recognise control tokens in `prompt`.
    special: bool = True
    # (kind, text) of a `umad.constraint.Constraint`.
    constraint: tuple[str, str] | None = None
    session: str | None = None
    # Tokens that the client has already, of an engine that died or of another machine. They are
    # computed again but not sampled or reported, and the completion continues after them.
    resume: tuple[int, ...] = ()
    # What the model has to be (`ModelFacts.fingerprint`); "" for any.
    fingerprint: str = ""
    # The app's own cap; None for the engine's.
    latency_cap: float | None = None
    # The daemon ends the completion after this time.
    deadline_ms: int | None = None
    # It is held until its ring of logits is attached; with "choose" also for every token.
    logits: LogitsUse | None = None
    # The owner, a text that is only compared (`umad.asker`).
    owner: str = ""
    # Requests with the same salt share prefixes.
    salt: str = ""
    # Its session was forgotten while it ran, so its cells are freed when it ends.
    leaves_nothing: bool = False
    # Its next tokens may be guessed, where the engine does that.
    speculate: bool = True
    # (name, path, scale, the field of the request that names it) of each LoRA adapter.
    adapters: tuple[tuple[str, str, float, str], ...] = ()
    # (kind, bytes, field, characters of `prompt` before it) of each image and sound.
    media: tuple[tuple[str, bytes, str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """End a completion; the engine answers with an `Ended` of reason "cancelled"."""

    rid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLane:
    """Move a completion to another lane at the next token."""

    rid: int
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The client reads too slowly: compute nothing; keep its cells until somebody needs them."""

    rid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """The client has caught up."""

    rid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The client has its ring of logits: a completion that waited for that continues."""

    rid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choose:
    """The client's token for `position` of a completion that waits for it."""

    rid: int
    position: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCall:
    """A question with one `EngineReply`.

    op and its args: tokenize {text, special}; detokenize {ids, pieces}; render {chat, media as in
    `Submit`}; forget {session, owner, prefix, before_rid} (`sessions.forget_desk`); spare {share}
    (`umad.scheduler.memory.sparing`); attach {rid, choose}; embed {inputs, dimensions, normalize,
    truncate, prefix, lane, app, owner}; rerank {query, documents, top_n, truncate, lane, app,
    owner}; transcribe, a window of a recording (`umad.speech.recordings`). The last three may take
    long, and be a part of what a client asked: texts from number `first` on, of `total`.
    """

    call: int
    op: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The daemon no longer waits for the reply to an embed or rerank call; none need come."""

    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the process once nothing runs (the daemon cancels first if it is in a hurry)."""


ToEngine = (
    Submit | CancelOrder | SetLane | Pause | Resume | Attached | Choose | EngineCall | Drop | Stop
)

# -- engine to daemon ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReady:
    """The model is mapped and warm."""

    # `umad.engine.facts` as a plain map.
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """So much of the model's file has been read, before it is ready."""

    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal:
    """The engine cannot continue and exits."""

    # The code of a class of `umad.errors`.
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """News of one stream."""

    rid: int
    ids: tuple[int, ...]
    text: str
    # For each id (logprob, ((id, logprob), …)), or None.
    logprobs: tuple[tuple[float, tuple[tuple[int, float], ...]], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A completion ended; no news of it follows. Its cells are free or retained."""

    rid: int
    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    stop: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The engine refused a completion (too long, a bad token id, a template error)."""

    rid: int
    code: str
    message: str
    field: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """Prompt progress of one stream, in tokens (cached ones count as done)."""

    rid: int
    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Log-probabilities of the tokens from `start` on of one stream's prompt.

    The prompt's token before them is `before`.
    """

    rid: int
    start: int
    before: int
    ids: tuple[int, ...]
    # As in `Emitted`.
    logprobs: tuple[tuple[float, tuple[tuple[int, float], ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """All news of one step, for all streams together."""

    emitted: tuple[Emitted, ...] = ()
    ended: tuple[Ended, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    prefilled: tuple[Prefilled, ...] = ()
    scored: tuple[Scored, ...] = ()
    # (rid, position) of every row that was put into a ring.
    logits: tuple[tuple[int, int], ...] = ()
    # Not every report has them.
    stats: StepStats | None = None
    # How long its readers would have waited for its interactive work alone; 0 for none of that.
    solo_ms: float = 0.0
    # What else the step carried, in bits of `umad.step`; 0 for nothing.
    carried: int = 0
    # The medium computed from now on (`Medium.content_id`), "" for none; None: no news of it.
    medium: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReply:
    """The answer to an `EngineCall`."""

    call: int
    value: Any = None
    # (code, message, field).
    error: tuple[str, str, str | None] | None = None


FromEngine = EngineReady | LoadProgress | Fatal | StepReport | EngineReply

_KINDS: tuple[type, ...] = (
    Submit,
    CancelOrder,
    SetLane,
    Pause,
    Resume,
    Attached,
    Choose,
    EngineCall,
    Drop,
    Stop,
    EngineReady,
    Fatal,
    StepReport,
    EngineReply,
    LoadProgress,
)
_NESTED: tuple[type, ...] = (SamplingParams, Emitted, Ended, Rejected, Prefilled, Scored, StepStats)
_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    for kind in (*_KINDS, *_NESTED)
}
_NUMBER: dict[type, int] = {kind: number for number, kind in enumerate(_KINDS)}
_INNER: dict[tuple[type, str], type] = {
    (Submit, "sampling"): SamplingParams,
    (StepReport, "emitted"): Emitted,
    (StepReport, "ended"): Ended,
    (StepReport, "rejected"): Rejected,
    (StepReport, "prefilled"): Prefilled,
    (StepReport, "scored"): Scored,
    (StepReport, "stats"): StepStats,
}


def _values(value: Any) -> list[Any]:
    return [getattr(value, name) for name in _FIELDS[type(value)]]


def _default(value: Any) -> Any:
    """msgpack's hook: a nested dataclass becomes the list of its values."""
    return _values(value)


# Kind number of a step that brought tokens only:
# [number, solo_ms, carried, rid, token, tail, rid, …].
STEP_TOKENS = len(_KINDS)


def encode_step_tokens(solo_ms: float, rows: Iterable[int | bytes], *, carried: int) -> bytes:
    """Body of a step's tokens. rows: rid, token and `events.tokens_tail` of each token, flat."""
    body: bytes = msgpack.packb([STEP_TOKENS, solo_ms, carried, *rows])
    return body


def encode(message: ToEngine | FromEngine) -> bytes:
    """Body of one frame: [kind number, field values in order]."""
    body: bytes = msgpack.packb([_NUMBER[type(message)], *_values(message)], default=_default)
    return body


def _build(kind: type, values: Any) -> Any:
    return kind(**dict(zip(_FIELDS[kind], values, strict=True)))


def unpack(body: bytes) -> Sequence[Any]:
    """Kind number and values of a body. `message_of` makes the message, except for
    `STEP_TOKENS`.
    """
    values: tuple[Any, ...] = msgpack.unpackb(body, use_list=False, strict_map_key=False)
    return values


def decode(body: bytes) -> ToEngine | FromEngine:
    """Inverse of `encode`; sequences come back as tuples. Tokens become a `StepReport`."""
    unpacked = unpack(body)
    if unpacked[0] == STEP_TOKENS:
        _, solo_ms, carried, *rows = unpacked
        return StepReport(emitted=tuple(_emitted(rows)), solo_ms=solo_ms, carried=carried)
    return message_of(unpacked)


def _emitted(rows: Sequence[Any]) -> Iterator[Emitted]:
    for rid, _, tail in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        text, ids = parse_tokens_tail(tail)
        yield Emitted(rid=rid, ids=ids, text=text)


def message_of(unpacked: Sequence[Any]) -> ToEngine | FromEngine:
    """The message made from the values that `unpack` returned."""
    number, *values = unpacked
    kind = _KINDS[number]
    fields_of = _FIELDS[kind]
    for at, name in enumerate(fields_of):
        inner = _INNER.get((kind, name))
        if inner is None or values[at] is None:
            continue
        if name in ("sampling", "stats"):
            values[at] = _build(inner, values[at])
        else:
            values[at] = tuple([_build(inner, one) for one in values[at]])
    message: ToEngine | FromEngine = _build(kind, values)
    return message
