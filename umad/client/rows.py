"""Gives types to the rows that `models`, `sessions`, `metrics` and `load` answer with.

A row is also the mapping the daemon sent: `row.state` and `row["state"]` are the same. A newer
daemon sends keys that have no attribute here; they are in the mapping. An older daemon leaves keys
out; their attributes are None, or empty.
Not: the daemon's choice of values (`umad.daemon.listing`, `umad.metrics.summary`). Values only.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Self, Union, get_args, get_origin

from typing_extensions import override

from umad.errors import ProtocolViolation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row(Mapping[str, Any]):
    """A mapping with attributes. Equal to any mapping with the same keys and values."""

    # The whole map, as the daemon sent it.
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, raw: Any) -> Self:
        """The row of a map. Raises `ProtocolViolation` where a value is of the wrong type."""
        if not isinstance(raw, dict):
            raise ProtocolViolation("the daemon's answer is not a map")
        values = {
            name: read(f"{cls.__name__}.{name}", raw[name])
            for name, read in _readers(cls).items()
            if raw.get(name) is not None
        }
        return cls(raw=raw, **values)

    @override
    def __getitem__(self, key: str) -> Any:
        return self.raw[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    @override
    def __len__(self) -> int:
        return len(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MediaReadRow(Row):
    """The images, tiles of images and windows of sounds that an engine has read."""

    encoded: int = 0
    # Their rows or cells were at hand.
    reused: int = 0
    # How long one took to encode.
    encode_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelRow(Row):
    """One loaded or loading model. Its engine's facts are there once the engine was ready."""

    name: str = ""
    # Presets that mean it, where they were asked for.
    presets: tuple[str, ...] = ()
    # waiting, starting, ready, suspended, failed, unloaded, …
    state: str = ""
    path: str = ""
    size_bytes: int | None = None
    # When the file was last written, in seconds since 1970.
    modified_s: int | None = None
    architecture: str = ""
    description: str = ""
    # llama.cpp's backend, such as "CPU" or "Metal".
    backend: str = ""
    devices: tuple[str, ...] = ()
    # The most tokens of one stream, prompt and answer together.
    ctx: int | None = None
    # KV cells of the pool that all requests share.
    n_cells: int | None = None
    # How many sequences the pool holds at once.
    seqs: int | None = None
    # The context length in tokens that the model was trained with.
    n_ctx_train: int | None = None
    n_params: int | None = None
    n_vocab: int | None = None
    kv_type: str = ""
    # False: the model only embeds or ranks.
    generates: bool | None = None
    # Its template shows tools to the model.
    takes_tools: bool | None = None
    # What it takes beside text: image, audio.
    media: tuple[str, ...] = ()
    # How a text's tokens become one vector; "rank": the model judges pairs instead.
    pooling: str = ""
    # It turns speech into text and does nothing else; and the codes of its languages.
    transcribes: bool = False
    languages: tuple[str, ...] = ()
    # Tokens of the longest text that it embeds.
    embed_tokens: int | None = None
    # Numbers in one vector.
    embed_width: int | None = None
    # The engine's process id; None while there is no process.
    pid: int | None = None
    restarts: int = 0
    # Completions that run or wait.
    live: int = 0
    # Completions that wait.
    waiting: int = 0
    # How long a change from one set of adapters to another takes; None where none was measured.
    adapter_switch_ms: float | None = None
    # None where no image or sound has come.
    media_read: MediaReadRow | None = None
    # {code, message}: why it failed.
    error: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdapterRow(Row):
    """One LoRA adapter that a model may be asked with."""

    # Its number, which llama-server's clients ask for it by.
    id: int = 0
    # What stands behind the `+` of `base+adapter`.
    name: str = ""
    architecture: str = ""
    # The model that it was made for, as its maker wrote it.
    base: str | None = None
    rank: int = 0
    size_bytes: int = 0
    # The tokens from which on it acts (aLoRA); none for an adapter that acts on everything.
    invocation_tokens: tuple[int, ...] = ()
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestRow(Row):
    """One live request."""

    # The daemon's id, for `cancel` and `set_priority`.
    request: str = ""
    app: str = ""
    # The client's own name for itself.
    client: str = ""
    # The process id of the client.
    pid: int | None = None
    lane: str = ""
    # The rule that chose the lane, in words.
    lane_by: str = ""
    session: str | None = None
    model: str = ""
    # LoRA adapters, as they stand behind the model's name: `pirate@0.5`.
    adapters: tuple[str, ...] = ()
    # queued, prefill, generating, paused or cancelling; or embed, rerank or transcribing.
    state: str = ""
    # Why it waits, in words; None where it does not wait, or the reason is not known.
    waits_for: str | None = None
    # The number of its completions, or of its texts.
    n: int = 0
    prompt_tokens: int = 0
    # Tokens of all completions so far.
    generated: int = 0
    # Of a transcription: how far the recording is heard, of how much.
    done_s: float | None = None
    total_s: float | None = None
    age_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeltRow(Row):
    """The waiting times that readers of one lane or one app had in the window.

    None: nothing was measured.
    """

    requests: int = 0
    running: int = 0
    failed: int = 0
    # Tokens that were generated, for a lane or an app.
    tokens: int | None = None
    tokens_per_s: float | None = None
    # Quantiles of the time between two tokens, and the longest.
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    # The time a reader would have waited without background work.
    solo_ms: float | None = None
    # Time to the first token.
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None
    latency_cap: float | None = None
    p95_over_solo: float | None = None
    p99_over_solo: float | None = None
    max_over_solo: float | None = None
    # Percent of the gaps that are longer than the cap allows.
    over_cap_pct: float | None = None
    # How many those are, and with what how many of them coincided.
    gaps_over_cap: int = 0
    slowed_by: Mapping[str, int] = field(default_factory=dict)
    # The longest gap of each second of the window, the oldest first; 0 where none ended.
    longest_gaps_ms: tuple[float, ...] = ()
    guard_held: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricsRow(FeltRow):
    """The scorecard of a model, or of all: waiting times of interactive readers, and the device's
    work.

    `umad.metrics.summary` defines how each figure is computed.
    """

    # The model's name; in the scorecard of all, every model's, with commas.
    model: str | None = None
    # Length of the measured window; absent from a single model's scorecard.
    window_s: float | None = None
    tokens_per_s_at_cap: float | None = None
    sum_bmt_mb_per_token: float | None = None
    bmt_gbps: float | None = None
    bmt_budget_gbps: float | None = None
    scheduler_efficiency: float | None = None
    gpu_idle_pct: float | None = None
    cores_lost_pct: float | None = None
    copy_free_ratio: float | None = None
    # How often a row of logits was copied before a token was drawn from it.
    copies_per_row: float | None = None
    residency_churn_mb_per_token: float | None = None
    rss_gb: float | None = None
    pss_gb: float | None = None
    kv_cells_used: int = 0
    kv_cells_retained: int = 0
    kv_cells_total: int = 0
    # The share of the cells that running requests use.
    kv_utilization: float = 0.0
    prefix_hit_ratio: float | None = None
    parked: int = 0
    # Requests that wait, by lane.
    queue_depth: Mapping[str, int] = field(default_factory=dict)
    # All of them.
    queued: int = 0
    preemptions: int = 0
    cuts: int = 0
    # How long an arrival waits for the step that it cuts, as it was learnt.
    cut_ms: float | None = None
    restarts: int = 0
    # Guesses of next tokens that held in a step that had some, and how many times faster such steps
    # were than plain ones.
    accepted_per_step: float | None = None
    speculation_gain: float | None = None
    background_share: float | None = None
    # Texts that were embedded or ranked, and those of them that were not computed again.
    texts_embedded: int = 0
    texts_cached: int = 0
    # Images, tiles and windows of sounds that were encoded, and those whose rows or cells were at
    # hand; and how long one took to encode.
    media_encoded: int = 0
    media_reused: int = 0
    encode_ms: float | None = None
    lanes: Mapping[str, FeltRow] = field(default_factory=dict)
    apps: Mapping[str, FeltRow] = field(default_factory=dict)
    models: Mapping[str, "MetricsRow"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForgottenRow(Row):
    """Names of the sessions that `forget` deleted."""

    sessions: tuple[str, ...] = ()
    # Sessions in which a request runs: they are deleted when it ends.
    in_use: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartRow(Row):
    """How far one file of a job is: bytes that are here, or tensors that are written."""

    name: str = ""
    done: int = 0
    total: int = 0
    # A second, over the last seconds.
    per_s: float = 0.0
    remaining_s: float | None = None
    # Its SHA-256, where it is known.
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobRow(Row):
    """One job. `row["result"]` has the facts of what was made once it is done, `row["error"]` a
    map of code, message and field where it failed.
    """

    job: str = ""
    # pull, quantize or load.
    kind: str = ""
    # What was asked for, in words.
    what: str = ""
    # The model, as somebody wrote it.
    asked: str = ""
    # queued, running, done, failed or cancelled.
    state: str = ""
    # waiting, fetching, quantizing, checking or loading.
    step: str = ""
    parts: tuple[PartRow, ...] = ()
    # Of all parts together.
    done: int = 0
    total: int = 0
    # Bytes that were not here when it began.
    missing_bytes: int = 0
    # The model of a pull, exactly: a reference.
    source: str = ""
    note: str = ""
    # It is asked to end, and has not yet.
    cancelling: bool = False
    # How often its process died without an end.
    deaths: int = 0
    # Seconds since 1970.
    asked_s: int | None = None
    started_s: int | None = None
    ended_s: int | None = None
    # Grows with every change.
    version: int = 0
    # False where a job that does the same was there already.
    is_new: bool | None = None

    @property
    def is_over(self) -> bool:
        """Nothing happens to it any more."""
        return self.state not in ("queued", "running")


_Read = Callable[[str, Any], Any]


@cache
def _readers(row: type[Row]) -> Mapping[str, _Read]:
    """The reader of each field, which checks a value against the field's type."""
    return {one.name: _reader(one.type) for one in fields(row) if one.name != "raw"}


def _reader(kind: Any) -> _Read:
    if kind == "MetricsRow":  # within itself, a class can only be named
        kind = MetricsRow
    if get_origin(kind) in (Union, types.UnionType):  # `X | None`; null is left out before
        (kind,) = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is tuple:
        return _array_of(_reader(get_args(kind)[0]))
    if get_origin(kind) is Mapping:
        value_kind = get_args(kind)[1]
        name = getattr(value_kind, "__forward_arg__", value_kind)
        return _map_of(_reader(name))
    if isinstance(kind, type) and issubclass(kind, Row):
        return lambda name, value: kind.of(value)
    return _exact(kind)


def _exact(kind: type) -> _Read:
    # A float may arrive as a whole number; a boolean is not a number.
    taken = {int, float} if kind is float else {kind}

    def read(name: str, value: Any) -> Any:
        if type(value) not in taken:
            raise _wrong(name, kind.__name__)
        return value

    return read


def _array_of(read_one: _Read) -> _Read:
    def read(name: str, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise _wrong(name, "array")
        return tuple([read_one(name, one) for one in value])

    return read


def _map_of(read_one: _Read) -> _Read:
    def read(name: str, value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong(name, "map")
        return {key: read_one(name, one) for key, one in value.items()}

    return read


def _wrong(name: str, wanted: str) -> ProtocolViolation:
    return ProtocolViolation(f"the daemon's answer is wrong: {name} is no {wanted}")
