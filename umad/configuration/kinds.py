"""Kinds of values an option accepts: a number in bounds, a choice, a size, a rate, a path.

A kind reads text and nothing else, so that one spelling means the same in a file, a variable and a
flag. Not: which option is of which kind (`umad.configuration.options`). Pure.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LANE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")

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


def whole(low: int, high: int, *, word: str | None = None, means: int | None = None) -> Kind:
    """Integers from low to high, or `word`, which stands for `means`."""

    def read(text: str) -> int | None:
        if word is not None and text == word:
            return means
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    wants = f"a whole number from {low} to {high}" + (f", or {word}" if word else "")
    return Kind(wants=wants, metavar=f"N|{word}" if word else "N", read=read)


def number(low: float, high: float) -> Kind:
    """Finite numbers from low to high."""

    def read(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(text)
        return value

    return Kind(wants=f"a number from {low:g} to {high:g}", metavar="X", read=read)


def choice(*words: str) -> Kind:
    """One of the words."""

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


def _read_text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(text)
    return text


def _read_lane(text: str) -> str:
    if not _LANE_NAME.fullmatch(text):
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
DISK = Kind(wants="a size from 1MiB to 1024GiB such as 4GiB", metavar="SIZE", read=_read_disk)
SWITCH = Kind(wants="true or false", metavar="", read=_read_switch, flag=True)
TEXT = Kind(wants="a text", metavar="TEXT", read=_read_text)
PATH = Kind(wants="a path", metavar="PATH", read=_read_text)
LANE = Kind(wants="a lane's name: a-z, 0-9, - and _", metavar="LANE", read=_read_lane)
PRIORITY = whole(0, 1000)
FLOOR = number(0.0, 0.9)
CAP = number(1.0, 100.0)
SECONDS = number(0.01, 86400)
COUNT = whole(1, 1_000_000)
