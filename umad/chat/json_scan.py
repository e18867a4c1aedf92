"""Scans JSON that is still being written, one character at a time, with generators.

A scanner takes its first character as its argument and then is sent one character at a time ("" at
the end of the text). It returns the first character that is not part of its value. So its result
cannot depend on how the text is divided. `Malformed` ends it. Not: values; a caller that needs one
reads the text with `json.loads`.
"""

from collections.abc import Callable, Generator

Scan = Generator[None, str, str]
SPACES = frozenset(" \t\r\n")
_BARE_END = frozenset(",]}: \t\r\n")
_CLOSES = {"{": "}", "[": "]"}
# Arguments nested deeper are no arguments; nothing here recurses.
MAX_DEPTH = 256


class Malformed(Exception):
    """The text cannot be what its beginning promised."""


def skip_spaces(c: str) -> Scan:
    """Read past any whitespace."""
    while c in SPACES:
        c = yield
    return c


def literal(c: str, text: str) -> Scan:
    """Read past `text`. Raises `Malformed` if other text stands there."""
    for wanted in text:
        if c != wanted:
            raise Malformed
        c = yield
    return c


def string(c: str, out: Callable[[str], None]) -> Scan:
    """Read past a string; all of it, quotes included, goes to `out`."""
    if c != '"':
        raise Malformed
    out(c)
    while True:
        c = yield
        if not c:
            raise Malformed
        out(c)
        if c == "\\":
            c = yield
            if not c:
                raise Malformed
            out(c)
        elif c == '"':
            c = yield
            return c


def value(c: str, out: Callable[[str], None]) -> Scan:
    """Read past one value of any kind. Brackets must match; commas and colons are not checked."""
    if c == '"':
        return (yield from string(c, out))
    if c not in _CLOSES:
        if not c or c in _BARE_END:
            raise Malformed
        while c and c not in _BARE_END:
            out(c)
            c = yield
        return c
    open_: list[str] = []
    while True:
        if not c:
            raise Malformed
        if c == '"':
            c = yield from string(c, out)
            continue
        if c in "]}" and c != open_.pop():
            raise Malformed
        out(c)
        if c in _CLOSES:
            open_.append(_CLOSES[c])
            if len(open_) > MAX_DEPTH:
                raise Malformed
        elif not open_:
            c = yield
            return c
        c = yield
