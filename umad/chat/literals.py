"""Reads values in notations close to JSON, and writes them as JSON while they are read.

    Gemma 4      {city:<|"|>Oslo<|"|>,days:3}      texts between marks, keys without quotes
    LFM2         f(city='Oslo', days=[1, True])    Python's literals, or JSON's

A text goes out while it is written. A word without quotes goes out when it is whole: it is a
number, true, false, null, Python's words for them, or else a text. How a reader works: `call_run`.
Not: what stands around the values (`calls_in_literals`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from string import hexdigits

from umad.chat.argument_types import ANY_TYPE, Types, as_json
from umad.chat.call_run import text_before
from umad.chat.json_scan import SPACES, Malformed, Scan, skip_spaces

# Values nested deeper are no arguments. Every character goes through a generator for each level.
MAX_NESTED = 32
MAX_KEY_CHARS = 256
_ENDS_BARE = frozenset(",}])")
_BRACKETS = {"{": "}", "[": "]", "(": ")"}
_HEX_DIGITS = {"x": 2, "u": 4}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}

Out = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """How one family writes texts."""

    # The mark on both sides of a text, which knows no escapes; "" for none.
    mark: str = ""
    # Texts between single quotes count as texts, and a quote in a text need not be escaped.
    is_python: bool = False

    @property
    def quotes(self) -> str:
        """The characters that begin a text, besides the mark."""
        return "\"'" if self.is_python else '"'


def literal_value(
    c: str, out: Out, notation: Notation, types: Types = ANY_TYPE, depth: int = 0
) -> Scan:
    """Read past one value. types: those that a word without quotes may have."""
    if depth > MAX_NESTED:
        raise Malformed
    if c == "{":
        return (yield from members(c, out, notation, depth=depth))
    if c in _BRACKETS and (c == "[" or notation.is_python):
        return (yield from _items(c, out, notation, depth))
    if c and c in notation.quotes:
        return (yield from _quoted(c, out, notation))
    before = ""
    if notation.mark and c == notation.mark[0]:
        for wanted in notation.mark:
            if c != wanted:
                break
            before += c
            c = yield
        if before == notation.mark:
            return (yield from _marked(c, out, notation.mark))
    return (yield from _bare(c, out, types, before))


def members(
    c: str,
    out: Out,
    notation: Notation,
    types_of: Callable[[str], Types] | None = None,
    depth: int = 0,
) -> Scan:
    """Read past {key: value, …}. types_of: the types of a key's value."""
    if c != "{":
        raise Malformed
    so_far = "{"
    c = yield
    while True:
        c = yield from skip_spaces(c)
        if c == "}":
            break
        key: list[str] = []
        c = yield from _key(c, key.append, notation)
        name = "".join(key)
        out(f"{so_far}{json.dumps(name, ensure_ascii=False)}: ")
        so_far = ", "
        c = yield from skip_spaces(c)
        types = ANY_TYPE if types_of is None else types_of(name)
        c = yield from literal_value(c, out, notation, types, depth + 1)
        c = yield from skip_spaces(c)
        if c == ",":
            c = yield
        elif c != "}":
            raise Malformed
    out("{}" if so_far == "{" else "}")
    c = yield
    return c


def _key(c: str, out: Out, notation: Notation) -> Scan:
    """Read past a key and its colon. A key may stand between quotes or marks, or without any."""
    if c and (c in notation.quotes or (notation.mark and c == notation.mark[0])):
        pieces: list[str] = []
        c = yield from literal_value(c, pieces.append, notation)
        try:
            out(str(json.loads("".join(pieces))))
        except ValueError as error:
            raise Malformed from error
        c = yield from skip_spaces(c)
    else:
        key = ""
        while c != ":":
            if not c or c in _ENDS_BARE or len(key) > MAX_KEY_CHARS:
                raise Malformed
            key += c
            c = yield
        out(key.strip())
    if c != ":":
        raise Malformed
    c = yield
    return c


def _items(c: str, out: Out, notation: Notation, depth: int) -> Scan:
    """Read past [value, …]. Python's tuples are lists, too."""
    closing = _BRACKETS[c]
    so_far = "["
    c = yield
    while True:
        c = yield from skip_spaces(c)
        if c == closing:
            break
        out(so_far)
        so_far = ", "
        c = yield from literal_value(c, out, notation, depth=depth + 1)
        c = yield from skip_spaces(c)
        if c == ",":
            c = yield
        elif c != closing:
            raise Malformed
    out("[]" if so_far == "[" else "]")
    c = yield
    return c


def _bare(c: str, out: Out, types: Types, before: str) -> Scan:
    """Read past a word without quotes. before: what was read of it already."""
    word = [before]
    while c not in _ENDS_BARE:
        if not c:
            raise Malformed
        word.append(c)
        c = yield
    text = "".join(word).strip()
    if not text:
        raise Malformed
    out(as_json(text, types))
    return c


def _marked(c: str, out: Out, mark: str) -> Scan:
    """Read past a text and the mark behind it."""
    out('"')
    yield from text_before(c, mark, lambda one: _told(out, one))
    out('"')
    c = yield
    return c


def _quoted(c: str, out: Out, notation: Notation) -> Scan:
    """Read past a text between quotes."""
    quote = c
    out('"')
    c = yield
    while True:
        if not c:
            raise Malformed
        if c == "\\":
            c = yield
            c = yield from _escaped(c, out, quote)
        elif c != quote:
            _told(out, c)
            c = yield
        elif not notation.is_python:
            c = yield
            break
        else:
            # Some templates show texts with quotes in them that are not escaped. A quote ends its
            # text where the value can end.
            spaces = ""
            c = yield
            while c and c in SPACES:
                spaces += c
                c = yield
            if c in _ENDS_BARE or c in (":", ""):
                break
            _told(out, quote + spaces)
    out('"')
    return c


def _escaped(c: str, out: Out, quote: str) -> Scan:
    """Read past what stands behind a backslash."""
    if not c:
        raise Malformed
    if c not in _HEX_DIGITS:
        _told(out, _ESCAPES.get(c, c if c in ("\\", "/", "'", '"', quote) else "\\" + c))
        c = yield
        return c
    kind, digits = c, ""
    c = yield
    while c and c in hexdigits and len(digits) < _HEX_DIGITS[kind]:
        digits += c
        c = yield
    if len(digits) == _HEX_DIGITS[kind]:
        # Halves of a surrogate pair come one after the other, so they stay escapes.
        out(f"\\u{digits:0>4}")
    else:
        _told(out, f"\\{kind}{digits}")
    return c


def _told(out: Out, text: str) -> None:
    if text:
        out(json.dumps(text, ensure_ascii=False)[1:-1])
