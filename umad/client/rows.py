"""The rows that `models`, `sessions`, `metrics` and `load` answer with, typed.

A row is also the mapping the daemon sent: `row.state` and `row["state"]` say the same. A daemon
that is newer than this client sends keys that have no attribute here; they are in the mapping. One
that is older leaves keys out; their attributes are None, or empty.
Not: what the daemon puts into them (`umad.daemon.listing`, `umad.metrics.summary`). Values only.
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
class ModelRow(Row):
    """One loaded or loading model. What its engine knows is there from its first readiness on."""

    name: str = ""
    # starting, ready, draining, dead, failed or stopped.
    state: str = ""
    path: str = ""
    size_bytes: int | None = None
    architecture: str = ""
    description: str = ""
    # Of llama.cpp, such as "CPU" or "Metal".
    backend: str = ""
    devices: tuple[str, ...] = ()
    # KV cells of the pool that all requests share, and how many sequences it holds at once.
    ctx: int | None = None
    seqs: int | None = None
    # Tokens the model was trained to look back over.
    n_ctx_train: int | None = None
    n_params: int | None = None
    n_vocab: int | None = None
    kv_type: str = ""
    # False: it only embeds or ranks.
    generates: bool | None = None
    # Its template shows tools to the model.
    takes_tools: bool | None = None
    # What becomes of a text's tokens when it is embedded; "rank": it judges pairs instead.
    pooling: str = ""
    # Tokens of the longest text that is embedded; numbers of a vector.
    embed_tokens: int | None = None
    embed_width: int | None = None
    # Of the engine's process; None while there is none.
    pid: int | None = None
    restarts: int = 0
    # Completions that run or wait, and those of them that wait.
    live: int = 0
    waiting: int = 0
    # {code, message} of why it failed.
    error: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestRow(Row):
    """One live request."""

    # The daemon's id of it: for `cancel` and `set_priority`.
    request: str = ""
    app: str = ""
    # What the client calls itself.
    client: str = ""
    # Of the client's process.
    pid: int | None = None
    lane: str = ""
    session: str | None = None
    model: str = ""
    # queued, prefill, generating, paused or cancelling; embed or rerank.
    state: str = ""
    # Why it waits, in words; None where it does not, or nothing is known.
    waits_for: str | None = None
    # Its completions, or its texts.
    n: int = 0
    prompt_tokens: int = 0
    # Tokens of all completions so far.
    generated: int = 0
    age_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeltRow(Row):
    """What the readers of one lane or one app felt in the window. None: nothing was measured."""

    requests: int = 0
    running: int = 0
    failed: int = 0
    # Of a lane or an app.
    tokens: int | None = None
    tokens_per_s: float | None = None
    # Quantiles of the time between two tokens, and the longest.
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    # What would have been waited with no background work about.
    solo_ms: float | None = None
    # Time to the first token.
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None
    latency_cap: float | None = None
    p95_over_solo: float | None = None
    p99_over_solo: float | None = None
    max_over_solo: float | None = None
    # Of a hundred gaps, those longer than the cap allows.
    over_cap_pct: float | None = None
    guard_held: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricsRow(FeltRow):
    """The scorecard of a model, or of all: interactive readers' felt times, and the device's work.

    How each figure is computed stands in `umad.metrics.summary`.
    """

    # The window that everything is of; absent from a single model's.
    window_s: float | None = None
    tokens_per_s_at_cap: float | None = None
    sum_bmt_mb_per_token: float | None = None
    bmt_gbps: float | None = None
    bmt_budget_gbps: float | None = None
    scheduler_efficiency: float | None = None
    gpu_idle_pct: float | None = None
    cores_lost_pct: float | None = None
    copy_free_ratio: float | None = None
    residency_churn_mb_per_token: float | None = None
    rss_gb: float | None = None
    pss_gb: float | None = None
    kv_cells_used: int = 0
    kv_cells_retained: int = 0
    kv_cells_total: int = 0
    prefix_hit_ratio: float | None = None
    parked: int = 0
    # Requests that wait, by lane.
    queue_depth: Mapping[str, int] = field(default_factory=dict)
    preemptions: int = 0
    cuts: int = 0
    restarts: int = 0
    background_share: float | None = None
    lanes: Mapping[str, FeltRow] = field(default_factory=dict)
    apps: Mapping[str, FeltRow] = field(default_factory=dict)
    models: Mapping[str, "MetricsRow"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForgottenRow(Row):
    """What `forget` gave up: names of sessions."""

    sessions: tuple[str, ...] = ()
    # Those that a request runs in: they go when it ends.
    in_use: tuple[str, ...] = ()


_Read = Callable[[str, Any], Any]


@cache
def _readers(row: type[Row]) -> Mapping[str, _Read]:
    """By field, what holds a value to the field's type."""
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
    # A figure that happens to be whole is still a figure; a boolean is no number.
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
