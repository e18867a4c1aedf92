"""Reads calls of MiniMax M3, whose values are written as tags inside tags.

    ]<]minimax[>[<tool_call>
    ]<]minimax[>[<invoke name="NAME">]<]minimax[>[<KEY>VALUE]<]minimax[>[</KEY> …
    ]<]minimax[>[</invoke>
    ]<]minimax[>[</tool_call>

A token stands before each tag, so the tags in a text are no tags. An object is its members' tags,
and a list is tags named item. The schema tells a text from a number, and a list from an object with
one member named item. Sources: `umad.chat.formats`. How a reader works: `call_run`.
"""

import json
import re
from collections.abc import Callable, Generator, Mapping
from typing import Any

from umad.chat.argument_types import TEXT, as_json, resolved, types_of
from umad.chat.call_run import CallTeller, text_before, text_until
from umad.chat.json_scan import SPACES, Malformed, Scan, skip_spaces

TOKEN = "]<]minimax[>["
_INVOKE = re.compile(r'invoke name="([^"]+)"')
# Each level is a generator that every character goes through.
_MAX_NESTED = 32


def minimax_m3(call: CallTeller, c: str) -> Scan:
    """Read from behind the mark that opens the block to behind the one that closes it."""
    n_before = call.n_calls
    while True:
        c = yield from skip_spaces(c)
        tag = yield from _tag(c)
        if tag == "/tool_call" and call.n_calls > n_before:
            c = yield
            return c
        name = _INVOKE.fullmatch(tag)
        if name is None:
            raise Malformed
        call.begin(name[1])
        c = yield
        c = yield from skip_spaces(c)
        tag = yield from _tag(c)
        nested = _Nested(call, call.parameters(name[1]))
        yield from nested.members(tag, "/invoke", nested.root, is_list=False, depth=0)
        call.end()
        c = yield


def _tag(c: str) -> Generator[None, str, str]:
    """The words of the next tag."""
    for wanted in f"{TOKEN}<":
        if c != wanted:
            raise Malformed
        c = yield
    return (yield from text_until(c, ">"))


class _Nested:
    """Reads the values of one call. root: the schema of its arguments."""

    def __init__(self, call: CallTeller, root: Mapping[str, Any]) -> None:
        self._call = call
        self.root = root

    def members(
        self, tag: str, end: str, schema: object, *, is_list: bool, depth: int
    ) -> Generator[None, str, None]:
        """Read the members of an object, or of a list, up to the tag `end`. tag: the first one's,
        which was read.
        """
        if depth > _MAX_NESTED:
            raise Malformed
        out = self._call.arguments
        so_far = "[" if is_list else "{"
        while tag != end:
            if tag.startswith("/") or (is_list and tag != "item"):
                raise Malformed
            out(so_far if is_list else f"{so_far}{json.dumps(tag, ensure_ascii=False)}: ")
            so_far = ", "
            c = yield
            yield from self._value(c, tag, _member(schema, tag, self.root), depth)
            c = yield
            c = yield from skip_spaces(c)
            tag = yield from _tag(c)
        brackets = "[]" if is_list else "{}"
        out(brackets if so_far != ", " else brackets[1])

    def _value(self, c: str, key: str, schema: object, depth: int) -> Generator[None, str, None]:
        """Read one value and the tag that closes it."""
        types = types_of(schema, self.root)
        closing = f"{TOKEN}</{key}>"
        if types == TEXT:
            self._call.arguments('"')
            yield from text_before(c, closing, self._call.text)
            self._call.arguments('"')
            return
        before = ""
        while c and c in SPACES:
            before += c
            c = yield
        n_spaces = len(before)
        while c and f"{TOKEN}<".startswith(before[n_spaces:] + c):
            before += c
            c = yield
        if before[n_spaces:] != f"{TOKEN}<":
            pieces: list[str] = []
            yield from _again(before, c, lambda first: text_before(first, closing, pieces.append))
            self._call.arguments(as_json("".join(pieces), types))
            return
        tag = yield from text_until(c, ">")
        if tag == f"/{key}":
            self._call.arguments(next(word for kind, word in _EMPTY if kind in types))
            return
        is_list = "array" in types and ("object" not in types or tag == "item")
        yield from self.members(tag, f"/{key}", schema, is_list=is_list, depth=depth + 1)


def _again(
    text: str, c: str, scan: Callable[[str], Generator[None, str, None]]
) -> Generator[None, str, None]:
    """Scan `text`, which was read already, and then `c` and what follows."""
    first, *rest = [*text, c]
    scanning = scan(first)
    try:
        next(scanning)
        for one in rest:
            scanning.send(one)
        while True:
            scanning.send((yield))
    except StopIteration:
        return


# A value of which nothing is written.
_EMPTY = (
    ("string", '""'),
    ("array", "[]"),
    ("object", "{}"),
    ("null", "null"),
    ("number", '""'),
    ("integer", '""'),
    ("boolean", '""'),
)


def _member(schema: object, key: str, root: Mapping[str, Any]) -> object:
    """The schema of a member, whether of an object or of a list; {} where it is not known."""
    schema = resolved(schema, root)
    if not isinstance(schema, Mapping):
        return {}
    if key == "item" and isinstance(schema.get("items"), Mapping):
        return schema["items"]
    properties = schema.get("properties")
    return properties.get(key, {}) if isinstance(properties, Mapping) else {}
