"""Every option of umad, once: its name, what it accepts, where it goes in `Settings`.

A name is the YAML key; dots nest (`scheduler.slice_ms`). The variable and the flag follow from it:
`UMAD_SCHEDULER_SLICE_MS`, `--scheduler-slice-ms`. Values are read from text alone, so that one
spelling means the same in a file, a variable and a flag.
Not here: files, the environment, line numbers (`umad.config_file`). Pure.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LEVELS = ("debug", "info", "warning", "error")
LANE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")

_GBPS = re.compile(r"([0-9]*\.?[0-9]+)\s*(?:(k|m|g|t)b(?:ps|/s))?", re.IGNORECASE)
_BYTES = re.compile(r"([0-9]+)\s*(?:(ki|mi|gi|k|m|g)?b?)", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://[^/\s]+/?", re.IGNORECASE)
_IN_GBPS = {None: 1.0, "k": 1e-6, "m": 1e-3, "g": 1.0, "t": 1e3}
_IN_BYTES = {None: 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What an option accepts. `read` raises `ValueError` for anything else; `wants` completes
    the sentence "must be …". `flag`: given by its presence alone."""

    wants: str
    metavar: str
    read: Callable[[str], Any]
    flag: bool = False


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


def _whole(low: int, high: int, *, word: str | None = None, means: int | None = None) -> Kind:
    def read(text: str) -> int | None:
        if word is not None and text == word:
            return means
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    wants = f"a whole number from {low} to {high}" + (f", or {word}" if word else "")
    return Kind(wants=wants, metavar=f"N|{word}" if word else "N", read=read)


def _number(low: float, high: float) -> Kind:
    def read(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(text)
        return value

    return Kind(wants=f"a number from {low:g} to {high:g}", metavar="X", read=read)


def _choice(*words: str) -> Kind:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Kind(wants="one of " + ", ".join(words), metavar="|".join(words), read=read)


def _read_gbps(text: str) -> float | str:
    if text == "auto":
        return text
    found = _GBPS.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    value = float(found[1]) * _IN_GBPS[found[2].lower() if found[2] else None]
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def _read_bytes(text: str) -> int:
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    value = int(found[1]) * _IN_BYTES[found[2].lower() if found[2] else None]
    if not 1024 <= value <= 2**32:
        raise ValueError(text)
    return value


def _read_room(text: str) -> int | None:
    if text == "auto":
        return None
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    value = int(found[1]) * _IN_BYTES[found[2].lower() if found[2] else None]
    if value and not 2**20 <= value <= 2**40:
        raise ValueError(text)
    return value


def _read_switch(text: str) -> bool:
    # YAML 1.1's words, and 1 and 0 for variables.
    lowered = text.lower()
    if lowered in ("true", "yes", "on", "1"):
        return True
    if lowered in ("false", "no", "off", "0"):
        return False
    raise ValueError(text)


def _read_text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(text)
    return text


def _read_lane(text: str) -> str:
    if not LANE_NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _read_listen(text: str) -> str | None:
    if text == "off":
        return None
    if text.startswith("unix:") and len(text) > len("unix:"):
        return text
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise ValueError(text)
    return text


def _read_origin(text: str) -> str:
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise ValueError(text)
    return text


LISTEN = Kind(
    wants="off, HOST:PORT or unix:PATH", metavar="off|HOST:PORT|unix:PATH", read=_read_listen
)
ORIGIN = Kind(wants="an origin such as https://example.org", metavar="ORIGIN", read=_read_origin)
GBPS = Kind(
    wants="auto, or a rate above zero such as 320GBps", metavar="auto|RATE", read=_read_gbps
)
BYTES = Kind(wants="a size from 1KiB to 4GiB such as 16MiB", metavar="SIZE", read=_read_bytes)
ROOM = Kind(
    wants="auto, 0 for none, or a size from 1MiB to 1024GiB such as 2GiB",
    metavar="auto|SIZE",
    read=_read_room,
)
SWITCH = Kind(wants="true or false", metavar="", read=_read_switch, flag=True)
TEXT = Kind(wants="a text", metavar="TEXT", read=_read_text)
PATH = Kind(wants="a path", metavar="PATH", read=_read_text)
LANE = Kind(wants="a lane's name: a-z, 0-9, - and _", metavar="LANE", read=_read_lane)
PRIORITY = _whole(0, 1000)
FLOOR = _number(0.0, 0.9)
CAP = _number(1.0, 100.0)

_SECONDS = _number(0.01, 86400)
_COUNT = _whole(1, 1_000_000)


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
    _engine("kv_type", _choice("f16", "q8", "q6", "q4"), "Type of the KV cache.", shown=True),
    _engine("kv_pack", _choice("unified", "head-major"), "Layout of the KV cache.", shown=True),
    _engine(
        "ctx_size",
        _whole(256, 16_777_216),
        "KV cells of the pool all streams share; also the longest prompt.",
        shown=True,
    ),
    _engine("max_seqs", _whole(1, 256), "Streams and kept prefixes at once.", shown=True),
    _engine(
        "park_bytes",
        ROOM,
        "Memory for streams and prefixes the KV pool has no room for.",
        shown=True,
    ),
    _engine("batch", _whole(1, 65_536), "Most tokens in one step."),
    _engine("ubatch", _whole(1, 65_536), "Tokens llama.cpp computes at once."),
    _engine("threads", _whole(1, 1024, word="auto"), "Threads of the CPU backend.", shown=True),
    _engine(
        "gpu_layers",
        _whole(0, 10_000, word="all", means=-1),
        "Layers given to the accelerator.",
        shown=True,
    ),
    _engine("flash_attention", SWITCH, "Fused attention; quantized KV needs it."),
    _engine("mlock", SWITCH, "Keep the weights from being paged out."),
    _engine("mmap", SWITCH, "Map the weights instead of reading them."),
    _engine("repack", SWITCH, "CPU: a second, faster copy of the weights in memory."),
    _nested("scheduler", "max_merge", _COUNT, "Interactive streams coalesced in one step."),
    _nested("scheduler", "preempt_at_token", SWITCH, "Give way at a token's boundary."),
    _nested(
        "scheduler", "slice_ms", _number(1, 60_000), "Longest prefill slice of an idle machine."
    ),
    _nested(
        "scheduler",
        "newcomer_steps",
        _number(0.1, 100),
        "A newcomer's prefill slice beside others, in multiples of their step.",
    ),
    Option(
        name="max_tokens",
        target=("limits", "max_tokens"),
        kind=_whole(1, 10_000_000),
        help="Most tokens one completion may generate.",
        shown=True,
    ),
    Option(
        name="max_concurrency",
        target=("limits", "queue"),
        kind=_COUNT,
        help="Most requests waiting or running at once.",
        shown=True,
    ),
    _nested("limits", "frame_bytes", BYTES, "Longest frame a client may send."),
    _nested("limits", "connections", _COUNT, "Most connections at once."),
    _nested("limits", "requests_per_connection", _COUNT, "Most requests of one connection."),
    _nested(
        "limits", "prompt_tokens", _whole(1, 16_777_216, word="none"), "Longest prompt allowed."
    ),
    _nested("limits", "half_frame_s", _SECONDS, "How long half a frame is held."),
    _nested("limits", "hello_s", _SECONDS, "How long a connection may wait to say hello."),
    _nested("limits", "send_queue_bytes", BYTES, "Unread output that pauses a client's streams."),
    _nested("limits", "load_s", _SECONDS, "How long a model may take to load."),
    _nested("limits", "drain_s", _SECONDS, "How long running requests may end after a stop."),
    _nested("limits", "stall_s", _SECONDS, "Silence after which an engine is restarted."),
    _nested("limits", "choice_s", _SECONDS, "How long a client may take to choose a token."),
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
    _gateway("body_bytes", BYTES, "Largest HTTP body."),
    _gateway("body_s", _SECONDS, "How long an HTTP body may take to arrive."),
    _gateway("concurrency", _COUNT, "HTTP requests worked on at once."),
    _gateway("keep_alive_s", _SECONDS, "Longest silence of an HTTP stream."),
    _gateway("settle_s", _SECONDS, "How long a stream's status waits for a bad prompt."),
    _gateway("store", PATH, "File that responses are kept in."),
    _gateway("store_bytes", BYTES, "How much of responses is kept."),
    Option(
        name="log_level",
        target=("logging", "level"),
        kind=_choice(*LEVELS),
        help="What is logged to stderr.",
        shown=True,
        alias="logging.level",
    ),
    _nested("logging", "scorecard_interval_s", _SECONDS, "Time between rows of the scorecard."),
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
    kind=Kind(wants="a model's name or path, or a list of them", metavar="MODEL", read=_read_text),
    help="Models to load at start.",
)
QOS = Option(
    name="qos",
    target=("qos",),
    kind=Kind(wants="a map of lanes to {priority, floor}", metavar="YAML", read=_read_text),
    help="Lanes, as {name: {priority: N, floor: X}}.",
)
APPS = Option(
    name="apps",
    target=("apps",),
    kind=Kind(
        wants="a map of apps to lanes or {lane, latency_cap}", metavar="YAML", read=_read_text
    ),
    help="Lanes and caps of apps, as {app: lane} or {app: {lane: L, latency_cap: X}}.",
)
ALIASES = Option(
    name="aliases",
    target=("http", "aliases"),
    kind=Kind(wants="a map of names or patterns to models", metavar="YAML", read=_read_text),
    help="Names that HTTP clients may use for models, as {pattern: model}.",
)
OPTIONS: tuple[Option, ...] = (MODEL, *SCALARS, *LISTS, QOS, APPS, ALIASES)
