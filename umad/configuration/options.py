"""Lists every option of umad, once: its name, its values, its place in `Settings`, its texts.

A name is the YAML key; dots nest (`scheduler.slice_ms`). The variable and the flag follow from it:
`UMAD_SCHEDULER_SLICE_MS`, `--scheduler-slice-ms`. `--help` shows `help`; config/umad.yaml, which
`sample` writes, shows `help`, the kind's unit, the default and `effect`.
Not: reading a value's text (`kinds`), files, the environment, line numbers (`sources`). Pure.
"""

from umad.configuration.context_options import BACKENDS, CONTEXT, LLAMA_LIBRARY, PLACEMENT
from umad.configuration.http_options import HTTP, HTTP_LISTS
from umad.configuration.kinds import (
    CAP,
    DISK,
    DRAFT,
    GBPS,
    LANE,
    PATH,
    ROOM,
    SWITCH,
    SWITCH_OR_AUTO,
    TEXT,
    ValueKind,
    choice,
    count,
    number,
    whole,
)
from umad.configuration.limit_options import LIMITS
from umad.configuration.log_options import LEVELS, LOGGING
from umad.configuration.media_options import MEDIA, MEDIA_LISTS
from umad.configuration.model_options import KEEP, MODELS, PRELOAD
from umad.configuration.option import Option, engine_option, nested_option

__all__ = [
    "ALIASES",
    "APPS",
    "KEEP",
    "LEVELS",
    "LISTS",
    "MODEL",
    "OPTIONS",
    "QOS",
    "SCALARS",
    "Option",
]

SCALARS: tuple[Option, ...] = (
    Option(
        name="socket",
        target=("socket",),
        kind=PATH,
        help="Unix socket to listen on.",
        effect="Unset, it is $XDG_RUNTIME_DIR/umad/umad.sock, without that variable "
        "~/.local/state/umad/umad.sock, on macOS ~/Library/Application Support/umad/umad.sock. "
        "Clients look at all of these, and a user has one daemon there.",
        example="/run/user/1000/umad/umad.sock",
        shown=True,
    ),
    Option(
        name="socket_owner",
        target=("socket_owner",),
        kind=TEXT,
        help="User whose daemon clients and the gateway speak to besides one's own and root's.",
        effect="Unset, a socket that any other user listens on is refused.",
        example="umad",
    ),
    Option(
        name="latency_cap",
        target=("latency_cap",),
        kind=CAP,
        help="Interactive p95 inter-token time allowed, as a multiple of running alone.",
        effect="Lower keeps chats steadier; higher lets background work finish sooner.",
        shown=True,
    ),
    Option(
        name="bmt_budget_gbps",
        target=("bmt_budget_gbps",),
        kind=GBPS,
        help="Memory traffic allowed before background lanes are throttled.",
        effect="All models count together. Background work waits once they are beyond the rate; "
        "interactive work never waits. auto is what this machine can read, measured at the first "
        "start, and slows nothing down.",
        shown=True,
        alias="bmt_budget",
    ),
    Option(
        name="share_prefixes",
        target=("share_prefixes",),
        kind=SWITCH,
        help="Keys of different people share prompts that were computed before.",
        effect="true answers sooner where keys have a system prompt in common, and lets each of "
        "them find out, token by token, what the others have asked.",
    ),
    Option(
        name="model_places",
        target=("model_places",),
        kind=SWITCH,
        help="Models of Ollama, LM Studio, llama.cpp and the hub's cache may be loaded by name.",
        effect="They are read where they lie, and nothing is written there. false leaves them "
        "alone.",
    ),
    *MODELS,
    LLAMA_LIBRARY,
    Option(
        name="memory_guard",
        target=("memory_guard",),
        kind=SWITCH,
        help="While the machine is short of memory, umad gives up what it can spare.",
        effect="Kept prefixes go first, then most of park_bytes, then idle models, which their "
        "next request loads again. false leaves all of it to the system, which swaps.",
    ),
    Option(
        name="default_lane",
        target=("default_lane",),
        kind=LANE,
        help="Lane of requests that no rule places, from programs that umad does not know.",
        effect="background makes every such request wait for chats. Editors and terminals are "
        "interactive without a rule, and what git, cron, CI runners and indexers start is "
        "background; a rule of apps goes before that, and umad ps says what chose a lane.",
    ),
    engine_option(
        "kv_type",
        choice("f16", "q8", "q6", "q4"),
        "Type of the KV cache.",
        "q8 halves a cell's bytes and q4 quarters them, for slightly different text.",
        shown=True,
    ),
    engine_option(
        "kv_pack",
        choice("unified", "head-major"),
        "Layout of the KV cache; head-major is not offered yet and means unified.",
        "None: head-major is accepted, and the log says that unified is used.",
        shown=True,
    ),
    *CONTEXT,
    engine_option(
        "park_bytes",
        ROOM,
        "Memory for streams and prefixes the KV pool has no room for.",
        "What is parked comes back instead of being computed again. auto is a tenth of the "
        "machine's memory; 0 parks nothing.",
        shown=True,
    ),
    engine_option(
        "embed_cache_bytes",
        ROOM,
        "Memory for vectors of texts that were embedded lately, in each model's engine.",
        "A text that comes again is not computed again. auto is 32 MiB: 18,000 vectors of 384 "
        "numbers; 0 keeps none.",
    ),
    engine_option(
        "adapter_bytes",
        DISK,
        "Memory for LoRA adapters that requests use, for each model.",
        "An adapter stays in memory until another one needs its room.",
    ),
    engine_option(
        "media_bytes",
        DISK,
        "Memory for images and sounds that were read lately, for each model.",
        "While one is kept, the next turn about it encodes nothing.",
    ),
    engine_option(
        "session_dir",
        PATH,
        "Folder where the context of named sessions outlives the daemon; it holds their prompts.",
        "Unset, nothing is written. Set, a session's next turn after a restart need not read the "
        "conversation again. Only you can read the files.",
        example="~/.local/share/umad/sessions",
        shown=True,
    ),
    engine_option(
        "session_bytes",
        DISK,
        "Disk space for saved sessions, all models together.",
        "Beyond it the session that was used longest ago is removed.",
    ),
    engine_option(
        "batch",
        whole(1, 65_536, unit="tokens"),
        "Most tokens in one step.",
        "More read long prompts faster; one step takes longer.",
    ),
    engine_option(
        "ubatch",
        whole(1, 65_536, unit="tokens"),
        "Tokens llama.cpp computes at once.",
        "More need more memory for intermediate results. It is at most batch.",
    ),
    engine_option(
        "threads",
        whole(1, 1024, unit="threads", word="auto"),
        "Threads of the CPU backend.",
        "auto is one for each physical core (on Apple each fast one). One fewer leaves a core to "
        "other programs.",
        shown=True,
    ),
    engine_option(
        "gpu_layers",
        whole(0, 10_000, unit="layers", word="all", means=-1),
        "Layers given to the accelerator.",
        "Fewer need less device memory and are slower. 0 computes on the CPU.",
        shown=True,
    ),
    *PLACEMENT,
    engine_option(
        "backend",
        choice("llamacpp", "numpy"),
        "The library that computes.",
        "numpy is a toy for tests of umad itself: its answers mean nothing.",
    ),
    engine_option(
        "flash_attention",
        SWITCH,
        "Fused attention; quantized KV needs it.",
        "false takes more memory, and only f16 cells work.",
    ),
    engine_option(
        "mlock",
        SWITCH,
        "Keep the weights from being paged out.",
        "true keeps the first answer after a pause quick, where the system's limit allows it.",
    ),
    engine_option(
        "mmap",
        SWITCH,
        "Map the weights instead of reading them.",
        "false reads the file into private memory: a slower load, and no sharing.",
    ),
    engine_option(
        "repack",
        SWITCH_OR_AUTO,
        "CPU: keep weights in the order that the processor's own kernels read.",
        "Prompts of 4-bit models are read up to 1.4 times as fast. Packed weights are private "
        "memory: the system cannot drop them where memory is short. auto packs where no GPU "
        "computes, the kernels work, and they take at most half of the memory.",
    ),
    engine_option(
        "read_ahead",
        SWITCH,
        "While nobody asks, compute a chat's last answer as its next turn will show it.",
        "Templates leave out an answer's thinking, or write its calls anew. Computed ahead, the "
        "next turn starts at once. Any request ends that work. false leaves the machine at rest.",
    ),
    engine_option(
        "speculate",
        SWITCH,
        "Guess next tokens from what a text, or another one of the same app, says already.",
        "A step then verifies several tokens of a stream where that is expected to be quicker, as "
        "in edits, code and JSON. The text stays the same. Models with states or windows have no "
        "guesses. A request may say speculate: false.",
    ),
    engine_option(
        "draft",
        DRAFT,
        "A small model with the same vocabulary that guesses next tokens of those named here.",
        "It guesses where the text tells nothing, if that is quicker, and turns speculate on. It "
        "takes memory of its own. auto is the smallest model here that fits, for every model.",
    ),
    nested_option(
        "scheduler",
        "max_merge",
        count("streams"),
        "Interactive streams coalesced in one step.",
        "More streams than that take turns: each waits for some steps of the others.",
    ),
    nested_option(
        "scheduler",
        "preempt_at_token",
        SWITCH,
        "Give way at a token's boundary.",
        "None: background work always gives way between two tokens, so false changes nothing.",
    ),
    nested_option(
        "scheduler",
        "slice_ms",
        number(1, 60_000, unit="milliseconds"),
        "Longest prefill slice of an idle machine.",
        "It holds where a step cannot be cut soon. Shorter lets a newcomer in sooner and reads "
        "long prompts slower.",
    ),
    nested_option(
        "scheduler",
        "newcomer_ms",
        number(1, 100_000, unit="milliseconds"),
        "The longest gap between a running stream's tokens for newcomers' prompts.",
        "Higher brings first tokens sooner beside running streams, and makes those wait longer for "
        "a token meanwhile. Streams whose own steps take longer wait for about one step more.",
    ),
    nested_option(
        "scheduler",
        "order",
        choice("fair", "deadline"),
        "Who goes first within a lane: apps by tokens served, or the earliest deadline.",
        "fair lets fifty requests of one app not starve the one of another. deadline serves the "
        "earliest deadline_ms first, whichever app it is of. In both, what has waited ten seconds "
        "goes before the rest.",
    ),
    Option(
        name="max_tokens",
        target=("limits", "max_tokens"),
        kind=whole(1, 10_000_000, unit="tokens"),
        help="Most tokens one completion may generate.",
        effect="A request that asks for more is refused. HTTP dialects get this many instead.",
        shown=True,
    ),
    Option(
        name="max_concurrency",
        target=("limits", "queue"),
        kind=count("requests"),
        help="Most requests waiting or running at once.",
        effect="One more is refused at once, with a word to try again later.",
        shown=True,
    ),
    *LIMITS,
    *MEDIA,
    *HTTP,
    *LOGGING,
)
# Options that may be given several times: a list in YAML, a flag each, separated by commas in a
# variable.
LISTS: tuple[Option, ...] = (
    Option(
        name="model_folder",
        target=("model_folders",),
        kind=PATH,
        help="Folders of GGUF files that may be loaded by name; may be given several times.",
        effect="Every key may load what is in them. Paths are for the machine's user and for keys "
        "with role: admin.",
        example="[~/models]",
    ),
    PRELOAD,
    BACKENDS,
    *MEDIA_LISTS,
    *HTTP_LISTS,
)
# Options with structure: read from YAML nodes, or from YAML text in a variable or flag.
MODEL = Option(
    name="model",
    target=("models",),
    kind=ValueKind(
        wants="a model's name or path, or a list of them",
        metavar="MODEL",
        unit="names or paths",
        read=TEXT.read,
    ),
    help="Models to load at start.",
    effect="nano ships with umad; anything else is a name that `umad ls` lists, or the path of a "
    "GGUF file. Each model has an engine, and memory, of its own.",
)
QOS = Option(
    name="qos",
    target=("qos",),
    kind=ValueKind(
        wants="a map of lanes to {priority, floor}",
        metavar="YAML",
        unit="priorities; floors are shares of device time",
        read=TEXT.read,
    ),
    help="Lanes, as {name: {priority: N, floor: X}}.",
    effect="A higher priority is served first. A floor is what a lane always gets, so that it "
    "never starves.",
)
APPS = Option(
    name="apps",
    target=("apps",),
    kind=ValueKind(
        wants="a map of apps to lanes or {lane, latency_cap}",
        metavar="YAML",
        unit="lanes and multiples of running alone",
        read=TEXT.read,
    ),
    help="Lanes and caps of apps, as {app: lane} or {app: {lane: L, latency_cap: X}}.",
    effect="An app is the name of a process or, with a / in it, the path of its executable. Over "
    "HTTP it is the name of the key, without keys that of the User-Agent, such as claude-cli. * "
    "and ? match. A rule holds where a request does not choose.",
    example="""
nightly-index: background
zed: {latency_cap: 1.1}
/opt/batch/*: {lane: background}
""",
)
ALIASES = Option(
    name="aliases",
    target=("http", "aliases"),
    kind=ValueKind(
        wants="a map of names or patterns to models",
        metavar="YAML",
        unit="names of models",
        read=TEXT.read,
    ),
    help="Names that HTTP clients may use for models, as {pattern: model}.",
    effect="A client that asks for its maker's model by name is answered by a local one.",
    example="""
"claude-*": nano
""",
)
OPTIONS: tuple[Option, ...] = (MODEL, *SCALARS, *LISTS, KEEP, QOS, APPS, ALIASES)
