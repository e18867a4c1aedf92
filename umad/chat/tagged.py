"""Reads calls written between tags: Qwen3-Coder and Seed-OSS, GLM, MiniMax, Hunyuan 3, DeepSeek.

    <function=NAME> <parameter=KEY>VALUE</parameter> … </function>

Values have no quotes there; the tool's schema tells their types (`argument_types`). A text goes out
while it is written, any other value when it is whole. Sources: `umad.chat.formats`.
"""

import json
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass

from umad.chat.argument_types import TEXT, Types, as_json
from umad.chat.call_run import CallTeller, text_before, text_until
from umad.chat.calls import call_object, closing_tag
from umad.chat.json_scan import SPACES, Malformed, Scan, literal, skip_spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tags:
    """How one family writes arguments between tags."""

    # Reads from behind an opening tag to where the value begins, and returns the key and, where
    # the tag says so, whether the value is a text.
    key: Callable[[str], Generator[None, str, tuple[str, bool | None]]]
    # The tag behind a value.
    closing: str
    # The tags that end the call, without brackets.
    ends: tuple[str, ...]
    # Values stand on lines of their own. Then the tag that closes a value may stand in it, too: it
    # ends the value on a line of its own, or where one of these tags begins behind it.
    follows: tuple[str, ...] = ()


def _key_in_tag(pattern: str) -> Callable[[str], Generator[None, str, tuple[str, bool | None]]]:
    """The key is the first group of `pattern`; a second says whether the value is a text."""
    compiled = re.compile(pattern)

    def key(tag: str) -> Generator[None, str, tuple[str, bool | None]]:
        found = compiled.fullmatch(tag)
        if found is None:
            raise Malformed
        yield from ()
        return found[1], found[2] == "true" if compiled.groups > 1 else None

    return key


def _key_between_tags(
    suffix: str = "",
) -> Callable[[str], Generator[None, str, tuple[str, bool | None]]]:
    """<arg_key>KEY</arg_key> <arg_value>, all with `suffix` behind their names."""

    def read(tag: str) -> Generator[None, str, tuple[str, bool | None]]:
        if tag != f"arg_key{suffix}":
            raise Malformed
        c = yield
        key = (yield from text_until(c, f"</arg_key{suffix}>")).strip()
        c = yield
        if (yield from text_until(c, f"<arg_value{suffix}>")).strip():
            raise Malformed
        return key, None

    return read


DSML = "\uff5cDSML\uff5c"
HUNYUAN_SUFFIX = ":opensource"
HUNYUAN_SEP = f"<tool_sep{HUNYUAN_SUFFIX}>"
_QWEN_CODER = _Tags(
    key=_key_in_tag(r"parameter=(.+)"),
    closing="</parameter>",
    ends=("/function", "/tool_call"),  # models forget the inner tag now and then
    follows=("<parameter=", "</function", "</tool_call"),
)
_GLM = _Tags(key=_key_between_tags(), closing="</arg_value>", ends=("/tool_call",))
_HUNYUAN_V3 = _Tags(
    key=_key_between_tags(HUNYUAN_SUFFIX),
    closing=f"</arg_value{HUNYUAN_SUFFIX}>",
    ends=(f"/tool_call{HUNYUAN_SUFFIX}",),
)
_MINIMAX = _Tags(
    key=_key_in_tag(r'parameter name="([^"]+)"'), closing="</parameter>", ends=("/invoke",)
)
_DEEPSEEK = _Tags(
    key=_key_in_tag(DSML + r'parameter name="([^"]+)"(?: string="(true|false)")?'),
    closing=f"</{DSML}parameter>",
    ends=(f"/{DSML}invoke",),
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


def hunyuan_v3(call: CallTeller, c: str) -> Scan:
    """<tool_call:opensource>NAME<tool_sep:opensource> and arguments as GLM writes them."""
    name = (yield from text_until(c, HUNYUAN_SEP)).strip()
    if not name or any(space in name for space in " \n"):
        raise Malformed
    return (yield from _arguments(call, name, _HUNYUAN_V3))


def minimax(call: CallTeller, c: str) -> Scan:
    """<minimax:tool_call> <invoke name="NAME"> <parameter name="KEY">VALUE</parameter> …"""
    return (yield from _block(call, c, _MINIMAX, prefix="", end="/minimax:tool_call"))


def deepseek_v4(call: CallTeller, c: str) -> Scan:
    """Read what MiniMax writes, with a token in each tag. Each tag says whether it is a text."""
    return (yield from _block(call, c, _DEEPSEEK, prefix=DSML, end=f"/{DSML}tool_calls"))


def deepseek_v32(call: CallTeller, c: str) -> Scan:
    """As the version after it, and the block has another name."""
    return (yield from _block(call, c, _DEEPSEEK, prefix=DSML, end=f"/{DSML}function_calls"))


def _block(call: CallTeller, c: str, tags: _Tags, *, prefix: str, end: str) -> Scan:
    """Calls, each between tags that have its name, up to the tag `end`."""
    n_before = call.n_calls
    while True:
        c = yield from skip_spaces(c)
        c = yield from literal(c, "<")
        tag = yield from text_until(c, ">")
        if tag == end and call.n_calls > n_before:
            c = yield
            return c
        name = re.fullmatch(prefix + r'invoke name="([^"]+)"', tag)
        if name is None:
            raise Malformed
        c = yield from _arguments(call, name[1], tags)


def _arguments(call: CallTeller, name: str, tags: _Tags, *, opened: bool = False) -> Scan:
    """Everything behind a name up to the tag that ends the call; opened: its bracket was read."""
    so_far = "{"
    begun = "<" if opened else ""
    c = yield
    while True:
        if not begun:
            c = yield from skip_spaces(c)
            c = yield from literal(c, "<")
            begun = "<"
        tag = begun[1:] + (yield from text_until(c, ">"))
        if tag in tags.ends:
            break
        key, is_text = yield from tags.key(tag)
        c = yield
        if not call.began:
            call.begin(name)
        call.arguments(f"{so_far}{json.dumps(key, ensure_ascii=False)}: ")
        types = _said(call.types(name, key), is_text=is_text)
        begun, c = yield from _value(call, c, types, tags)
        so_far = ", "
    if not call.began:
        call.begin(name)
    call.arguments("{}" if so_far == "{" else "}")
    call.end()
    c = yield
    return c


def _said(types: Types, *, is_text: bool | None) -> Types:
    """Of the types that a schema allows, those that the tag allows; it may contradict itself."""
    if is_text is None:
        return types
    return (types & TEXT if is_text else types - TEXT) or types


# The beginning of the next tag, as far as it was read, and the character behind it.
_Next = Generator[None, str, tuple[str, str]]


def _value(call: CallTeller, c: str, types: Types, tags: _Tags) -> _Next:
    bare = _line if tags.follows else _bare
    if types == TEXT:
        call.arguments('"')
        following = yield from bare(c, tags, call.text)
        call.arguments('"')
        return following
    pieces: list[str] = []
    following = yield from bare(c, tags, pieces.append)
    call.arguments(as_json("".join(pieces), types))
    return following


def _bare(c: str, tags: _Tags, out: Callable[[str], None]) -> _Next:
    """Read past a value and the tag behind it."""
    yield from text_before(c, tags.closing, out)
    c = yield
    return "", c


def _line(c: str, tags: _Tags, out: Callable[[str], None]) -> _Next:
    """Read past a value on lines of its own, and the tag behind it. A line break at either end may
    be layout.
    """
    if c == "\n":
        c = yield
    ends = ("\n" + tags.closing, tags.closing)
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
        if held not in ends:
            continue
        if c in ("", "\n") and held == ends[0]:
            return "", c
        seen = ""
        while c in SPACES:
            seen += c
            c = yield
        n_spaces = len(seen)
        while c and any(tag.startswith(seen[n_spaces:] + c) for tag in tags.follows):
            seen += c
            c = yield
        if not c or seen[n_spaces:] in tags.follows:
            return seen[n_spaces:], c
        # The tag belongs to the value. What stands behind it may be the tag that ends it.
        out(held)
        held = ""
        for one in seen:
            held += one
            while held and not any(end.startswith(held) for end in ends):
                out(held[0])
                held = held[1:]
