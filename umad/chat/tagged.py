"""Reads calls written between tags: Qwen3-Coder and Seed-OSS, GLM, MiniMax.

    <function=NAME> <parameter=KEY>VALUE</parameter> … </function>

Values have no quotes there; the tool's schema tells their types (`argument_types`). A text goes out
while it is written, any other value when it is whole. Sources: `umad.chat.formats`.
"""

import json
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass

from umad.chat.argument_types import TEXT, Types, as_json
from umad.chat.call_run import CallTeller, text_until
from umad.chat.calls import call_object, closing_tag
from umad.chat.json_scan import Malformed, Scan, literal, skip_spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tags:
    """How one family writes arguments between tags."""

    # Reads from behind an opening tag to where the value begins, and returns the key.
    key: Callable[[str], Generator[None, str, str]]
    # The tag behind a value.
    closing: str
    # The tags that end the call, without brackets.
    ends: tuple[str, ...]
    # Values stand on lines of their own.
    has_lines: bool = False


def _key_in_tag(pattern: str) -> Callable[[str], Generator[None, str, str]]:
    """The key is the group of `pattern`."""
    compiled = re.compile(pattern)

    def key(tag: str) -> Generator[None, str, str]:
        found = compiled.fullmatch(tag)
        if found is None:
            raise Malformed
        yield from ()
        return found[1]

    return key


def _key_between_tags(tag: str) -> Generator[None, str, str]:
    """<arg_key>KEY</arg_key> <arg_value>"""
    if tag != "arg_key":
        raise Malformed
    c = yield
    key = (yield from text_until(c, "</arg_key>")).strip()
    c = yield
    if (yield from text_until(c, "<arg_value>")).strip():
        raise Malformed
    return key


_QWEN_CODER = _Tags(
    key=_key_in_tag(r"parameter=(.+)"),
    closing="</parameter>",
    ends=("/function", "/tool_call"),  # models forget the inner tag now and then
    has_lines=True,
)
_GLM = _Tags(key=_key_between_tags, closing="</arg_value>", ends=("/tool_call",))
_MINIMAX = _Tags(
    key=_key_in_tag(r'parameter name="([^"]+)"'), closing="</parameter>", ends=("/invoke",)
)


def qwen_coder(call: CallTeller, c: str) -> Scan:
    """<tool_call> <function=NAME>…</function> </tool_call>, or JSON, as its siblings write."""
    c = yield from skip_spaces(c)
    if c == "{":
        c = yield from call_object(call, c)
        c = yield from skip_spaces(c)
        return (yield from closing_tag(c))
    c = yield from literal(c, "<function=")
    name = yield from text_until(c, ">")
    return (yield from _arguments(call, name.strip(), _QWEN_CODER))


def bare_function(call: CallTeller, c: str) -> Scan:
    """Read <function=NAME>…</function> without a mark before it: it is a call only if NAME is a
    tool on offer.
    """
    name = (yield from text_until(c, ">")).strip()
    if not call.offers(name):
        raise Malformed
    return (yield from _arguments(call, name, _QWEN_CODER))


def glm(call: CallTeller, c: str) -> Scan:
    """<tool_call>NAME <arg_key>KEY</arg_key> <arg_value>VALUE</arg_value> … </tool_call>"""
    name = (yield from text_until(c, "<")).strip()
    if not name or any(space in name for space in " \n"):
        raise Malformed
    return (yield from _arguments(call, name, _GLM, opened=True))


def minimax(call: CallTeller, c: str) -> Scan:
    """<minimax:tool_call> <invoke name="NAME"> <parameter name="KEY">VALUE</parameter> …"""
    n_before = call.n_calls
    while True:
        c = yield from skip_spaces(c)
        c = yield from literal(c, "<")
        tag = yield from text_until(c, ">")
        if tag == "/minimax:tool_call" and call.n_calls > n_before:
            c = yield
            return c
        name = re.fullmatch(r'invoke name="([^"]+)"', tag)
        if name is None:
            raise Malformed
        c = yield from _arguments(call, name[1], _MINIMAX)


def _arguments(call: CallTeller, name: str, tags: _Tags, *, opened: bool = False) -> Scan:
    """Everything behind a name up to the tag that ends the call; opened: its bracket was read."""
    so_far = "{"
    c = yield
    while True:
        if not opened:
            c = yield from skip_spaces(c)
            c = yield from literal(c, "<")
        opened = False
        tag = yield from text_until(c, ">")
        if tag in tags.ends:
            break
        key = yield from tags.key(tag)
        c = yield
        if not call.began:
            call.begin(name)
        call.arguments(f"{so_far}{json.dumps(key, ensure_ascii=False)}: ")
        c = yield from _value(call, c, call.types(name, key), tags)
        so_far = ", "
    if not call.began:
        call.begin(name)
    call.arguments("{}" if so_far == "{" else "}")
    call.end()
    c = yield
    return c


def _value(call: CallTeller, c: str, types: Types, tags: _Tags) -> Scan:
    if types == TEXT:
        call.arguments('"')
        c = yield from _bare(
            c, tags, lambda one: call.arguments(json.dumps(one, ensure_ascii=False)[1:-1])
        )
        call.arguments('"')
        return c
    pieces: list[str] = []
    c = yield from _bare(c, tags, pieces.append)
    call.arguments(as_json("".join(pieces), types))
    return c


def _bare(c: str, tags: _Tags, out: Callable[[str], None]) -> Scan:
    """Read past a value and the tag behind it; a line break at either end may be layout."""
    if tags.has_lines and c == "\n":
        c = yield
    ends = (tags.closing, "\n" + tags.closing) if tags.has_lines else (tags.closing,)
    held = ""
    while True:
        if not c:
            out(held)
            raise Malformed
        held += c
        while held and not any(end.startswith(held) for end in ends):
            out(held[0])
            held = held[1:]
        c = yield
        if held in ends:
            return c
