"""Defines the settings as frozen values. They are read once, at start.

Every field is a YAML key, a `UMAD_…` variable and a flag of the same name. The option table
(`umad.configuration.options`) gives the effect of each to the user.
Not: where the settings are read from (`umad.configuration`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from umad.request import BACKGROUND, INTERACTIVE

KvType = Literal["f16", "q8", "q6", "q4"]
RopeScaling = Literal["none", "linear", "yarn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """One lane."""

    # A lane with a higher priority is served first.
    priority: int
    # The share of device time that the lane always gets.
    floor: float = 0.0


def guarded_lanes(lanes: Mapping[str, LaneSettings]) -> frozenset[str]:
    """Lanes that the latency guard protects: the interactive one and those above it. Without an
    interactive lane, those of the highest priority."""
    priorities = {name: lane.priority for name, lane in lanes.items()}
    bar = priorities.get(INTERACTIVE, max(priorities.values()))
    return frozenset(name for name, priority in priorities.items() if priority >= bar)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRule:
    """The lane and the latency cap of an app's requests, where a request names none itself."""

    # A process name or a gateway key's app. With a "/" in it, it is the path of a process's
    # executable. * and ? match.
    app: str
    lane: str | None = None
    # The app's own cap, as `Settings.latency_cap`.
    latency_cap: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """How steps are composed."""

    # The most interactive streams in one step. Where more run, they take turns (round robin).
    max_merge: int = 64
    preempt_at_token: bool = True
    # The longest prefill slice while no interactive request decodes, unless the slice can be cut
    # soon or is one tile of the attention kernel.
    slice_ms: float = 250.0
    # The longest that the reader of a running stream waits for a token because prompts of
    # interactive requests are read. People read about five tokens a second.
    newcomer_ms: float = 200.0
    # Which request goes first within a lane. "fair" shares the lane between apps by the tokens they
    # were served. "deadline" serves the earliest `deadline_ms` first, whichever app it is of.
    order: Literal["fair", "deadline"] = "fair"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How a model is opened. None leaves the choice to umad."""

    # Cells of the whole KV pool, for all streams together. None for as many as agents need, where
    # memory has room for them.
    ctx_size: int | None = None
    # The most tokens of one stream, prompt and answer together. None for the length that the model
    # was trained on, or that its file stretches it to.
    ctx_per_stream: int | None = None
    # Streams and retained prefixes together (llama.cpp allows 256). None for 64, or fewer where
    # there is not enough memory for each of them.
    max_seqs: int | None = None
    # Host memory for streams and prefixes that the pool has no room for; 0 for none.
    park_bytes: int | None = None
    # Memory for vectors of texts that were embedded lately; 0 for none, None for umad's choice.
    embed_cache_bytes: int | None = None
    # Memory for rows of images and sounds that were encoded lately.
    media_bytes: int = 2**28
    # Memory for LoRA adapters that requests use.
    adapter_bytes: int = 2**30
    # The folder in which the context of named sessions outlives the engine; None to keep none.
    session_dir: str | None = None
    # Disk space for the sessions of all models together.
    session_bytes: int = 4 * 2**30
    # How positions are scaled, under llama-server's names. None for what the model's file says.
    rope_scaling: RopeScaling | None = None
    rope_scale: float | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_orig_ctx: int | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    # The most tokens in one step.
    batch: int = 512
    # How many tokens llama.cpp computes at once.
    ubatch: int = 512
    threads: int | None = None
    gpu_layers: int = -1
    # ggml's names of the devices that compute besides the processor, with commas between. "none" is
    # the processor alone, None all that there are.
    device: str | None = None
    # The file that makes rows out of images and sounds; "none" for none, None for the one that
    # belongs to the model.
    mmproj: str | None = None
    # The experts of so many layers, counted from the first, stay in the machine's memory, and in
    # the file as long as it is mapped.
    n_cpu_moe: int = 0
    # Where tensors lie, as llama.cpp writes it: PATTERN=BUFFER, with commas between several.
    override_tensor: str | None = None
    kv_type: KvType = "f16"
    kv_pack: Literal["unified", "head-major"] = "unified"
    # Layers with a sliding window get as many cells as the others ("on"), or the window of each
    # stream ("off").
    swa_full: Literal["auto", "on", "off"] = "auto"
    flash_attention: bool = True
    mlock: bool = False
    mmap: bool = True
    # Weights in the order that the processor's own kernels read fastest; None where it pays.
    repack: bool | None = None
    # While nothing else is asked, compute a chat's last answer as its next turn will show it.
    read_ahead: bool = True
    # Guess next tokens from what a text says already, and verify several in one step where that is
    # quicker. Off until it is shown on real models that nobody is ever slower by it.
    speculate: bool = False
    # A smaller model with the same vocabulary, which guesses where the text tells nothing: a path,
    # a name, or "auto" for the smallest that is here. None for none. It turns `speculate` on.
    draft: str | None = None
    # The backend that computes. "numpy" is a toy for tests of umad itself.
    backend: Literal["llamacpp", "numpy"] = "llamacpp"

    @property
    def guesses(self) -> bool:
        """Whether next tokens are guessed."""
        return self.speculate or self.draft is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Limits of one daemon, in bytes, counts and seconds."""

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
    # Pulls and quantizations that run at once.
    jobs: int = 2
    # The longest recording that is transcribed in one request.
    audio_s: float = 4 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSettings:
    """Images and sounds of requests: limits of decoding them, and of fetching them."""

    # Files of one request. An agent sends its whole history with every request.
    files: int = 128
    # Of one file. A frame of the socket holds `LimitSettings.frame_bytes` of all.
    file_bytes: int = 64 * 2**20
    # Of an image. Phones take photos of 12 to 50 megapixels; encoders scale all of them down.
    pixels: int = 50_000_000
    # Of a sound: encoders make 25 tokens a second of it and more.
    seconds: float = 600.0
    # Processor time of decoding. 50 megapixels of JPEG take two seconds of a slow core.
    decode_s: float = 10.0
    # Memory of the decoding process beyond what it begins with. 50 megapixels are 150 MB in the
    # answer, and four bytes each in every step on the way.
    decode_bytes: int = 2**30
    # The gateway fetches the http and https addresses of images and sounds that requests have.
    remote_urls: bool = False
    # Networks that are asked besides public addresses, in CIDR notation.
    remote_networks: tuple[str, ...] = ()
    # Bytes, and seconds, of all addresses of one request together. A frame has room for so much.
    remote_bytes: int = 12 * 2**20
    remote_s: float = 10.0
    # Redirects of one address.
    remote_redirects: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """Settings of the logs, which go to stderr, and of the scorecard."""

    level: str = "info"
    # Prompts and completions may stand in the log. No other setting puts them there.
    verbose: bool = False
    scorecard_interval_s: float = 5.0
    # The CSV file to which the scorecard is also written; None for none.
    scorecard_csv: str | None = None
    # The file that stderr is led into; None leaves it where the starter has led it.
    file: str | None = None
    # When the file is this long, it is begun anew, and the old one kept beside it.
    file_bytes: int = 10 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP gateway."""

    # HOST:PORT, `unix:PATH`, or None for no gateway.
    listen: str | None = None
    api_key_file: str | None = None
    # Says a second time, after `listen`, that an address beyond this machine needs no key.
    exposed: bool = False
    # A folder with the certificates of a team (`umad router certify`): HTTPS for its router alone.
    team: str | None = None
    # The folder of a team's router on this machine: requests go to the team, not to a daemon.
    router: str | None = None
    # GET /metrics/load needs no key: how many requests wait and run, and how full the cells are.
    open_load: bool = False
    # Before the names of the gauges of an engine that a picker of endpoints knows, such as "vllm:";
    # None for none.
    load_prefix: str | None = None
    # Other users of this machine need no key, either. Without it, only processes of the user who
    # runs umad, and of root, come in without a key.
    all_users: bool = False
    cors_origins: tuple[str, ...] = ()
    # Host names that are answered besides this machine's own.
    hosts: tuple[str, ...] = ()
    # (pattern, local model).
    aliases: tuple[tuple[str, str], ...] = ()
    # The most connections open at once.
    connections: int = 1024
    # The longest time for a request's head to arrive.
    head_s: float = 10.0
    # The longest time between two requests of a connection. It is longer than clients keep theirs,
    # so that they seldom send into a connection that is just being closed.
    idle_s: float = 75.0
    # The largest body, and the longest time for it to arrive.
    body_bytes: int = 32 * 2**20
    body_s: float = 30.0
    # The most requests that are worked on at once.
    concurrency: int = 256
    # The longest silence of a stream.
    keep_alive_s: float = 10.0
    # How long an answer's status waits for the engine to refuse a request that was queued. A long
    # prompt has some seconds more (`umad.gateway.generation.refused_within_s`).
    settle_s: float = 0.25
    # A fenced block of JSON that is a call of a tool on offer counts as that call.
    fenced_calls: bool = True
    # The file in which responses are kept for `previous_response_id`, and how many bytes of them.
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
    """Everything that a daemon needs to know before it starts."""

    models: tuple[str, ...] = ("nano",)
    # GGUF files in these folders may be loaded by name, by every client that may ask at all.
    model_folders: tuple[str, ...] = ()
    # A request that names one of these, and of umad's store, loads it.
    lazy_load: bool = True
    # A request of an admin that names a model which can be fetched has it fetched.
    auto_pull: bool = False
    # Models that are loaded once the daemon is ready, without anybody asking.
    preload: tuple[str, ...] = ()
    # The most models that are loaded at once; None for as many as memory holds.
    max_models: int | None = None
    # (pattern, seconds): how long a model stays after its last use. The first that fits decides;
    # infinite pins it.
    keep_alive: tuple[tuple[str, float], ...] = (("*", 1800.0),)
    # So may the models of Ollama, LM Studio, llama.cpp and the hub's cache.
    model_places: bool = True
    # The file or folder of the llama.cpp library that engines compute with; "auto" looks in the
    # known places; None is the one inside llama-cpp-python.
    llama_library: str | None = None
    # Files of ggml's backends that are loaded beside those of the library.
    backends: tuple[str, ...] = ()
    # Keys of different owners share the computed cells of a prompt. Each can then find out, by
    # `cached_tokens` and by the time to a first token, what others have asked.
    share_prefixes: bool = False
    # While the machine is short of memory, umad gives up what it can spare.
    memory_guard: bool = True
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
    media: MediaSettings = field(default_factory=MediaSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
