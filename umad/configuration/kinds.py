"""Defines the kinds of values an option accepts: a number in bounds, a choice, a size, a rate, a
path.

A kind reads only text, so that one spelling means the same in a file, a variable and a flag. It
also writes a value as that text and names its unit.
Not: choosing an option's kind (`umad.configuration.options`). Pure, but that the home of a path's
`~` is looked up.
"""

import ipaddress
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from umad.web_origin import OriginPattern

_LANE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")

_GBPS = re.compile(r"([0-9]*\.?[0-9]+)\s*(?:(k|m|g|t)b(?:ps|/s))?", re.IGNORECASE)
_BYTES = re.compile(r"([0-9]+)\s*(?:(ki|mi|gi|k|m|g)?b?)", re.IGNORECASE)
_TIME = re.compile(r"-[0-9]+[smh]?|([0-9]*\.?[0-9]+)\s*([smh])?", re.ASCII)
_IN_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}
_MOST_KEEP_S = 10 * 366 * 86_400
_IN_GBPS = {None: 1.0, "k": 1e-6, "m": 1e-3, "g": 1.0, "t": 1e3}
_IN_BYTES = {None: 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueKind:
    """The values an option accepts, their unit, and their conversion from and to text."""

    wants: str  # completes the sentence "must be …"
    metavar: str  # the value in `--flag VALUE`
    unit: str  # of the value, for the generated config/umad.yaml
    read: Callable[[str], Any]  # raises ValueError for what is not accepted
    write: Callable[[Any], str] = str  # the text that `read` takes back to the same value
    flag: bool = False  # given on a command line by its presence alone


def whole(
    low: int,
    high: int,
    *,
    unit: str,
    word: str | None = None,
    means: int | None = None,
    also: str | None = None,
) -> ValueKind:
    """Integers from low to high, or `word`, which stands for `means`. A number that `means` is may
    be written too, as llama.cpp's programs take it, and so may `also`, which they take for `word`.
    """

    def read(text: str) -> int | None:
        if word is not None and (text == word or (means is not None and text == str(means))):
            return means
        if also is not None and text == also:
            return means
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    def write(value: int | None) -> str:
        return word if word is not None and value == means else str(value)

    wants = f"a whole number from {low} to {high}" + (f", or {word}" if word else "")
    metavar = f"N|{word}" if word else "N"
    return ValueKind(wants=wants, metavar=metavar, unit=unit, read=read, write=write)


def count(of: str, *, most: int = 1_000_000) -> ValueKind:
    """A number of things, at least one."""
    return whole(1, most, unit=of)


def number(low: float, high: float, *, unit: str) -> ValueKind:
    """Finite numbers from low to high."""

    def read(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(text)
        return value

    wants = f"a number from {low:g} to {high:g}"
    return ValueKind(wants=wants, metavar="X", unit=unit, read=read, write=_write_number)


def from_file(low: float, high: float, *, unit: str, means: float) -> ValueKind:
    """Finite numbers from low to high, or `auto` for the one in the model's file. llama-server's
    command lines say the number `means` for that.
    """
    plain = number(low, high, unit=unit)

    def read(text: str) -> float | None:
        if text == "auto" or float(text) == means:
            return None
        value: float = plain.read(text)
        return value

    def write(value: float | None) -> str:
        return "auto" if value is None else plain.write(value)

    wants = f"{plain.wants}, or auto"
    return ValueKind(wants=wants, metavar="X|auto", unit=unit, read=read, write=write)


def _write_number(value: float) -> str:
    short = f"{value:g}"  # 250 rather than 250.0
    return short if float(short) == value else repr(value)


def choice(*words: str, word: str | None = None) -> ValueKind:
    """One of the words, or `word`, which stands for none of them."""
    known = words if word is None else (word, *words)

    def read(text: str) -> str | None:
        if text not in known:
            raise ValueError(text)
        return None if text == word else text

    def write(value: str | None) -> str:
        return word if word is not None and value is None else str(value)

    return ValueKind(
        wants="one of " + ", ".join(known),
        metavar="|".join(known),
        unit="a word",
        read=read,
        write=write,
    )


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


def _size_bytes(text: str) -> int:
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    return int(found[1]) * _IN_BYTES[found[2].lower() if found[2] else None]


def _read_bytes(text: str) -> int:
    value = _size_bytes(text)
    if not 1024 <= value <= 2**32:
        raise ValueError(text)
    return value


def _read_room(text: str) -> int | None:
    if text == "auto":
        return None
    value = _size_bytes(text)
    if value and not 2**20 <= value <= 2**40:
        raise ValueError(text)
    return value


def _read_disk(text: str) -> int:
    room = _read_room(text)
    if not room:
        raise ValueError(text)
    return room


def _read_switch(text: str) -> bool:
    # YAML 1.1's words, and 1 and 0 for variables.
    lowered = text.lower()
    if lowered in ("true", "yes", "on", "1"):
        return True
    if lowered in ("false", "no", "off", "0"):
        return False
    raise ValueError(text)


def _read_metric_prefix(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,63}", text):
        raise ValueError(text)
    return text


def _read_text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(text)
    return text


def _read_path(text: str) -> str:
    text = _read_text(text)
    # A ~ that names nobody's home stays. Whoever opens the path later would have no words for it.
    if os.path.expanduser(text).startswith("~"):
        raise ValueError(text)
    return text


def _read_projector(text: str) -> str | None:
    return None if text == "auto" else _read_path(text)


def _write_or_auto(value: str | None) -> str:
    return "auto" if value is None else value


def _read_lane(text: str) -> str:
    if not _LANE_NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _read_listen(text: str) -> str | None:
    if text == "off":
        return None
    if text.startswith("unix:"):
        return "unix:" + _read_path(text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise ValueError(text)
    return text


def _read_origin(text: str) -> str:
    OriginPattern.read(text)
    return text


def _read_network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


def _write_gbps(value: float | str) -> str:
    return value if isinstance(value, str) else f"{_write_number(value)}GBps"


def _write_bytes(value: int) -> str:
    for factor, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value and value % factor == 0:
            return f"{value // factor}{name}"
    return str(value)


def _write_room(value: int | None) -> str:
    return "auto" if value is None else _write_bytes(value)


def _write_switch(value: bool) -> str:
    return "true" if value else "false"


def _write_listen(value: str | None) -> str:
    return "off" if value is None else value


def _read_keep_alive(text: str) -> float:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    if found[1] is None:
        return math.inf
    value = float(found[1]) * _IN_SECONDS[found[2]]
    if value > _MOST_KEEP_S:
        raise ValueError(text)
    return value


def _write_keep_alive(value: float) -> str:
    if value == math.inf:
        return "-1"
    for unit, seconds in (("h", 3600), ("m", 60)):
        if value and value % seconds == 0:
            return f"{value / seconds:.0f}{unit}"
    return _write_number(value)


LISTEN = ValueKind(
    wants="off, HOST:PORT or unix:PATH",
    metavar="off|HOST:PORT|unix:PATH",
    unit="an address",
    read=_read_listen,
    write=_write_listen,
)
ORIGIN = ValueKind(
    wants="an origin such as https://example.org, app://obsidian.md, http://localhost:* or "
    "https://*.example.org, or *",
    metavar="ORIGIN",
    unit="origins",
    read=_read_origin,
)
NETWORK = ValueKind(
    wants="a network such as 192.168.1.0/24, or one address",
    metavar="NETWORK",
    unit="networks",
    read=_read_network,
)
KEEP_ALIVE = ValueKind(
    wants="a time such as 30m or 1h, seconds, or -1 for ever",
    metavar="TIME",
    unit="seconds, or a number with s, m or h",
    read=_read_keep_alive,
    write=_write_keep_alive,
)
GBPS = ValueKind(
    wants="auto, or a rate above zero such as 320GBps",
    metavar="auto|RATE",
    unit="gigabytes a second",
    read=_read_gbps,
    write=_write_gbps,
)
BYTES = ValueKind(
    wants="a size from 1KiB to 4GiB such as 16MiB",
    metavar="SIZE",
    unit="bytes",
    read=_read_bytes,
    write=_write_bytes,
)
ROOM = ValueKind(
    wants="auto, 0 for none, or a size from 1MiB to 1024GiB such as 2GiB",
    metavar="auto|SIZE",
    unit="bytes",
    read=_read_room,
    write=_write_room,
)
DISK = ValueKind(
    wants="a size from 1MiB to 1024GiB such as 4GiB",
    metavar="SIZE",
    unit="bytes",
    read=_read_disk,
    write=_write_bytes,
)
SWITCH = ValueKind(
    wants="true or false",
    metavar="",
    unit="true or false",
    read=_read_switch,
    write=_write_switch,
    flag=True,
)
# As a flag it is on or off; `auto` stands where it is not given.
SWITCH_OR_AUTO = ValueKind(
    wants="true, false or auto",
    metavar="",
    unit="true, false or auto",
    read=lambda text: None if text == "auto" else _read_switch(text),
    write=lambda value: "auto" if value is None else _write_switch(value),
    flag=True,
)
METRIC_PREFIX = ValueKind(
    wants='the beginning of a metric\'s name, such as "vllm:"',
    metavar="PREFIX",
    unit="the beginning of names",
    read=_read_metric_prefix,
)
TEXT = ValueKind(wants="a text", metavar="TEXT", unit="a text", read=_read_text)
PATH = ValueKind(wants="a path", metavar="PATH", unit="a path", read=_read_path)
LIBRARY = ValueKind(
    wants="a path, or auto", metavar="PATH|auto", unit="a path, or auto", read=_read_path
)
DEVICE = ValueKind(
    wants="auto, none, or names of devices with commas between",
    metavar="auto|none|NAME",
    unit="auto, none or names",
    read=lambda text: None if text == "auto" else _read_text(text),
    write=_write_or_auto,
)
PROJECTOR = ValueKind(
    wants="a path, auto or none",
    metavar="PATH|auto|none",
    unit="a path, auto or none",
    read=_read_projector,
    write=_write_or_auto,
)
DRAFT = ValueKind(
    wants="a model, auto or none",
    metavar="MODEL|auto|none",
    unit="a model, auto or none",
    read=lambda text: None if text == "none" else _read_path(text),
    write=lambda value: "none" if value is None else str(value),
)
LANE = ValueKind(
    wants="a lane's name: a-z, 0-9, - and _", metavar="LANE", unit="a lane", read=_read_lane
)
PRIORITY = whole(0, 1000, unit="priority")
FLOOR = number(0.0, 0.9, unit="share of device time")
CAP = number(1.0, 100.0, unit="multiple of running alone")
SECONDS = number(0.01, 86400, unit="seconds")
