"""Every option of umad, once: its name, what it accepts, where it goes in `Settings`.

A name is the YAML key; dots nest (`scheduler.slice_ms`). The variable and the flag follow from it:
`UMAD_SCHEDULER_SLICE_MS`, `--scheduler-slice-ms`.
Not here: how a value's text is read (`kinds`), files, the environment, line numbers (`sources`).
Pure.
"""

from dataclasses import dataclass

from umad.configuration.kinds import (
    BYTES,
    CAP,
    COUNT,
    DISK,
    GBPS,
    LANE,
    LISTEN,
    ORIGIN,
    PATH,
    ROOM,
    SECONDS,
    SWITCH,
    TEXT,
    Kind,
    choice,
    number,
    whole,
)

LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option. target: path in `Settings`. shown: stands in `umad serve --help`.

    alias: a second name, good in all three places.
    """

    name: str
    target: tuple[str, ...]
    kind: Kind
    help: str
    shown: bool = False
    alias: str | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the environment variable, canonical first."""
        return tuple("UMAD_" + n.replace(".", "_").upper() for n in self._names)

    @property
    def flags(self) -> tuple[str, ...]:
        """Spellings of the flag, canonical first."""
        return tuple("--" + n.replace(".", "-").replace("_", "-") for n in self._names)

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.name,) if self.alias is None else (self.name, self.alias)


def _engine(name: str, kind: Kind, text: str, *, shown: bool = False) -> Option:
    return Option(name=name, target=("engine", name), kind=kind, help=text, shown=shown)


def _nested(group: str, name: str, kind: Kind, text: str) -> Option:
    return Option(name=f"{group}.{name}", target=(group, name), kind=kind, help=text)


def _gateway(name: str, kind: Kind, text: str) -> Option:
    return Option(name=f"gateway.{name}", target=("http", name), kind=kind, help=text)


SCALARS: tuple[Option, ...] = (
    Option(
        name="socket",
        target=("socket",),
        kind=PATH,
        help="Unix socket to listen on.",
        shown=True,
    ),
    Option(
        name="socket_owner",
        target=("socket_owner",),
        kind=TEXT,
        help="User whose daemon clients and the gateway speak to besides one's own and root's.",
    ),
    Option(
        name="latency_cap",
        target=("latency_cap",),
        kind=CAP,
        help="Interactive p95 inter-token time allowed, as a multiple of running alone.",
        shown=True,
    ),
    Option(
        name="bmt_budget_gbps",
        target=("bmt_budget_gbps",),
        kind=GBPS,
        help="Memory traffic allowed before background lanes are throttled.",
        shown=True,
        alias="bmt_budget",
    ),
    Option(
        name="default_lane",
        target=("default_lane",),
        kind=LANE,
        help="Lane of requests that no rule places.",
    ),
    _engine("kv_type", choice("f16", "q8", "q6", "q4"), "Type of the KV cache.", shown=True),
    _engine(
        "kv_pack",
        choice("unified", "head-major"),
        "Layout of the KV cache; head-major is not offered yet and means unified.",
        shown=True,
    ),
    _engine(
        "ctx_size",
        whole(256, 16_777_216),
        "KV cells of the pool all streams share; also the longest prompt.",
        shown=True,
    ),
    _engine("max_seqs", whole(1, 256), "Streams and kept prefixes at once.", shown=True),
    _engine(
        "park_bytes",
        ROOM,
        "Memory for streams and prefixes the KV pool has no room for.",
        shown=True,
    ),
    _engine(
        "session_dir",
        PATH,
        "Folder where the context of named sessions outlives the daemon; it holds their prompts.",
        shown=True,
    ),
    _engine("session_bytes", DISK, "Disk space for saved sessions, all models together."),
    _engine("batch", whole(1, 65_536), "Most tokens in one step."),
    _engine("ubatch", whole(1, 65_536), "Tokens llama.cpp computes at once."),
    _engine("threads", whole(1, 1024, word="auto"), "Threads of the CPU backend.", shown=True),
    _engine(
        "gpu_layers",
        whole(0, 10_000, word="all", means=-1),
        "Layers given to the accelerator.",
        shown=True,
    ),
    _engine("flash_attention", SWITCH, "Fused attention; quantized KV needs it."),
    _engine("mlock", SWITCH, "Keep the weights from being paged out."),
    _engine("mmap", SWITCH, "Map the weights instead of reading them."),
    _engine("repack", SWITCH, "CPU: a second, faster copy of the weights in memory."),
    _nested("scheduler", "max_merge", COUNT, "Interactive streams coalesced in one step."),
    _nested("scheduler", "preempt_at_token", SWITCH, "Give way at a token's boundary."),
    _nested(
        "scheduler", "slice_ms", number(1, 60_000), "Longest prefill slice of an idle machine."
    ),
    _nested(
        "scheduler",
        "newcomer_steps",
        number(0.1, 100),
        "A newcomer's prefill slice beside others, in multiples of their step.",
    ),
    _nested(
        "scheduler",
        "order",
        choice("fair", "deadline"),
        "Who goes first within a lane: apps by tokens served, or the earliest deadline.",
    ),
    Option(
        name="max_tokens",
        target=("limits", "max_tokens"),
        kind=whole(1, 10_000_000),
        help="Most tokens one completion may generate.",
        shown=True,
    ),
    Option(
        name="max_concurrency",
        target=("limits", "queue"),
        kind=COUNT,
        help="Most requests waiting or running at once.",
        shown=True,
    ),
    _nested("limits", "frame_bytes", BYTES, "Longest frame a client may send."),
    _nested("limits", "connections", COUNT, "Most connections at once."),
    _nested("limits", "requests_per_connection", COUNT, "Most requests of one connection."),
    _nested(
        "limits", "prompt_tokens", whole(1, 16_777_216, word="none"), "Longest prompt allowed."
    ),
    _nested("limits", "half_frame_s", SECONDS, "How long half a frame is held."),
    _nested("limits", "hello_s", SECONDS, "How long a connection may wait to say hello."),
    _nested("limits", "send_queue_bytes", BYTES, "Unread output that pauses a client's streams."),
    _nested("limits", "load_s", SECONDS, "How long a model may take to load."),
    _nested("limits", "drain_s", SECONDS, "How long running requests may end after a stop."),
    _nested("limits", "stall_s", SECONDS, "Silence after which an engine is restarted."),
    _nested("limits", "choice_s", SECONDS, "How long a client may take to choose a token."),
    Option(
        name="http",
        target=("http", "listen"),
        kind=LISTEN,
        help="Where the HTTP gateway listens.",
        shown=True,
    ),
    Option(
        name="api_key_file",
        target=("http", "api_key_file"),
        kind=PATH,
        help="Keys that HTTP clients need, one a line or YAML with names and lanes.",
        shown=True,
    ),
    _gateway("exposed", SWITCH, "Listen beyond this machine without any key."),
    _gateway("connections", COUNT, "HTTP connections open at once."),
    _gateway("head_s", SECONDS, "How long a request's head may take to arrive."),
    _gateway("idle_s", SECONDS, "How long an HTTP connection may idle between requests."),
    _gateway("body_bytes", BYTES, "Largest HTTP body."),
    _gateway("body_s", SECONDS, "How long an HTTP body may take to arrive."),
    _gateway("concurrency", COUNT, "HTTP requests worked on at once."),
    _gateway("keep_alive_s", SECONDS, "Longest silence of an HTTP stream."),
    _gateway("settle_s", SECONDS, "How long a stream's status waits for a bad prompt."),
    _gateway("store", PATH, "File that responses are kept in."),
    _gateway("store_bytes", BYTES, "How much of responses is kept."),
    Option(
        name="log_level",
        target=("logging", "level"),
        kind=choice(*LEVELS),
        help="What is logged to stderr.",
        shown=True,
        alias="logging.level",
    ),
    Option(
        name="verbose",
        target=("logging", "verbose"),
        kind=SWITCH,
        help="Log what prompts and completions say.",
    ),
    _nested("logging", "scorecard_interval_s", SECONDS, "Time between rows of the scorecard."),
    _nested("logging", "scorecard_csv", PATH, "File that scorecard rows are appended to."),
)
# Options that may be given several times: a list in YAML, a flag each, separated by commas in a
# variable.
LISTS: tuple[Option, ...] = (
    Option(
        name="cors_origin",
        target=("http", "cors_origins"),
        kind=ORIGIN,
        help="Web pages that may use the gateway; may be given several times.",
        shown=True,
    ),
    Option(
        name="gateway.hosts",
        target=("http", "hosts"),
        kind=TEXT,
        help="Host names the gateway answers to besides this machine's own.",
    ),
)
# Options with structure: read from YAML nodes, or from YAML text in a variable or flag.
MODEL = Option(
    name="model",
    target=("models",),
    kind=Kind(wants="a model's name or path, or a list of them", metavar="MODEL", read=TEXT.read),
    help="Models to load at start.",
)
QOS = Option(
    name="qos",
    target=("qos",),
    kind=Kind(wants="a map of lanes to {priority, floor}", metavar="YAML", read=TEXT.read),
    help="Lanes, as {name: {priority: N, floor: X}}.",
)
APPS = Option(
    name="apps",
    target=("apps",),
    kind=Kind(
        wants="a map of apps to lanes or {lane, latency_cap}", metavar="YAML", read=TEXT.read
    ),
    help="Lanes and caps of apps, as {app: lane} or {app: {lane: L, latency_cap: X}}.",
)
ALIASES = Option(
    name="aliases",
    target=("http", "aliases"),
    kind=Kind(wants="a map of names or patterns to models", metavar="YAML", read=TEXT.read),
    help="Names that HTTP clients may use for models, as {pattern: model}.",
)
OPTIONS: tuple[Option, ...] = (MODEL, *SCALARS, *LISTS, QOS, APPS, ALIASES)
