"""Settings as frozen values, read once at start. Where they come from is `umad.configuration`.

Every field is a YAML key, a `UMAD_…` variable and a flag of the same name.
"""

from dataclasses import dataclass, field
from typing import Literal

from umad.request import BACKGROUND, INTERACTIVE

KvType = Literal["f16", "q8", "q6", "q4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """One lane. A higher priority is served first; floor: share of device time it always gets."""

    priority: int
    floor: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRule:
    """What an app's work gets where the request does not say.

    app: a process name or a gateway key's app, or, with a "/" in it, the path of a process's
    executable; * and ? match. latency_cap: the app's own, as `Settings.latency_cap`.
    """

    app: str
    lane: str | None = None
    latency_cap: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """How steps are made up.

    max_merge: interactive streams coalesced in one step before a round-robin sets in.
    slice_ms: longest prefill slice while nothing interactive decodes, unless it can be cut soon or
    is one tile of the attention kernel.
    newcomer_steps: a newcomer's slice beside running interactive streams, in multiples of their
    own step. Simulated (22 ms for a row, about 5 ms for each further token), three clients, p99
    and first token as multiples of llama-server's: 0.25 and 1.52 with 1, 0.31 and 1.41 with 1.5,
    0.36 and 1.42 with 2; with 2 s think time 0.24 and 1.41, 0.30 and 1.24, 0.38 and 1.17.
    order: who goes first within a lane. "fair" shares it between apps by the tokens they were
    served; "deadline" serves the earliest `deadline_ms` first, whichever app it is of.
    """

    max_merge: int = 64
    preempt_at_token: bool = True
    slice_ms: float = 250.0
    newcomer_steps: float = 1.5
    order: Literal["fair", "deadline"] = "fair"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How a model is opened. None leaves the choice to umad.

    ctx_size: cells of the whole KV pool, all streams together; also the longest prompt.
    max_seqs: streams and retained prefixes together (llama.cpp allows 256); None for 64, or fewer
    where each takes memory that is not there.
    batch: most tokens in one step. ubatch: tokens llama.cpp computes at once.
    park_bytes: host memory for streams and prefixes the pool has no room for; 0 for none.
    session_dir: where the context of named sessions is kept beyond the engine's life; None for
    nowhere. session_bytes: of disk for it, all models together.
    backend: what computes; "numpy" is a toy for tests of umad itself.
    """

    ctx_size: int = 8192
    max_seqs: int | None = None
    park_bytes: int | None = None
    session_dir: str | None = None
    session_bytes: int = 4 * 2**30
    batch: int = 512
    ubatch: int = 512
    threads: int | None = None
    gpu_layers: int = -1
    kv_type: KvType = "f16"
    kv_pack: Literal["unified", "head-major"] = "unified"
    flash_attention: bool = True
    mlock: bool = False
    mmap: bool = True
    repack: bool = False
    backend: Literal["llamacpp", "numpy"] = "llamacpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Bounds on what one daemon takes on. Bytes, counts and seconds."""

    frame_bytes: int = 16 * 2**20
    connections: int = 256
    requests_per_connection: int = 256
    queue: int = 1024
    prompt_tokens: int | None = None
    max_tokens: int = 2048
    half_frame_s: float = 30.0
    hello_s: float = 10.0
    send_queue_bytes: int = 256 * 2**10
    load_s: float = 600.0
    drain_s: float = 30.0
    stall_s: float = 120.0
    choice_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """Logs go to stderr; the scorecard also to a CSV file when one is named.

    verbose: prompts and completions may stand in the log, which nothing else puts there.
    """

    level: str = "info"
    verbose: bool = False
    scorecard_interval_s: float = 5.0
    scorecard_csv: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP gateway. listen: HOST:PORT, `unix:PATH`, or None for none.

    exposed: the second time of saying that an address beyond this machine needs no key. all_users:
    other users of this machine need none, either; without it only processes of the user who runs
    umad, and of root, come in without a key.
    hosts: Host names answered to besides this machine's own. aliases: (pattern, local model).
    connections: open at once; head_s: for a request's head to arrive; idle_s: between requests,
    longer than clients keep theirs, so that they seldom send into one that is just closed.
    body_bytes, body_s: largest and slowest body. concurrency: requests worked on at once.
    keep_alive_s: longest silence of a stream. settle_s: how long an answer's status waits for an
    engine to find fault with a request that was queued (it tokenizes in a few milliseconds).
    store: where responses are kept for `previous_response_id`; store_bytes: how much of them.
    """

    listen: str | None = None
    api_key_file: str | None = None
    exposed: bool = False
    all_users: bool = False
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    connections: int = 1024
    head_s: float = 10.0
    idle_s: float = 75.0
    body_bytes: int = 32 * 2**20
    body_s: float = 30.0
    concurrency: int = 256
    keep_alive_s: float = 10.0
    settle_s: float = 0.25
    store: str | None = None
    store_bytes: int = 256 * 2**20


def _default_lanes() -> dict[str, LaneSettings]:
    return {
        INTERACTIVE: LaneSettings(priority=10),
        # The floor keeps a long job alive under any interactive load.
        BACKGROUND: LaneSettings(priority=1, floor=0.02),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a daemon needs to know before it starts.

    model_folders: GGUF files in them may be loaded by name, by everybody who may ask at all.
    share_prefixes: keys of different owners share what was computed of a prompt. Each can then find
    out, by `cached_tokens` and by the time to a first token, what others have asked.
    """

    models: tuple[str, ...] = ("nano",)
    model_folders: tuple[str, ...] = ()
    share_prefixes: bool = False
    socket: str | None = None
    socket_owner: str | None = None
    latency_cap: float = 1.20
    bmt_budget_gbps: float | Literal["auto"] = "auto"
    qos: dict[str, LaneSettings] = field(default_factory=_default_lanes)
    apps: tuple[AppRule, ...] = ()
    default_lane: str = INTERACTIVE
    engine: EngineSettings = field(default_factory=EngineSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
