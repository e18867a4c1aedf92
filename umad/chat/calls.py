"""Reads calls written as JSON: Hermes, Llama 3, Mistral, DeepSeek, Kimi, and lists of objects.

Sources: `umad.chat.formats`. How a reader works: `call_run`.
"""

import json

from umad.chat.call_run import CallTeller, text_until
from umad.chat.json_scan import Malformed, Scan, literal, skip_spaces, string, value

_ARGUMENTS = ("arguments", "parameters")
# What a call may have besides; anything else in a bare object means that it is no call.
_KEYS = ("name", "id", "type", *_ARGUMENTS)

# How tags that close a call begin.
_CLOSERS = ("tool", "function")

DEEPSEEK_SEP = "<\uff5ctool\u2581sep\uff5c>"
DEEPSEEK_END = "<\uff5ctool\u2581call\u2581end\uff5c>"
KIMI_ARGUMENTS = "<|tool_call_argument_begin|>"


def _arguments(call: CallTeller, name: str, c: str) -> Scan:
    """A call's arguments. A string is taken for arguments that were encoded twice."""
    if c != '"':
        if c == "<":
            raise Malformed  # the mark that closes the call
        call.begin(name)
        c = yield from value(c, call.arguments)
        call.has_arguments = True
        return c
    pieces: list[str] = []
    c = yield from string(c, pieces.append)
    text = _decoded("".join(pieces))
    call.begin(name)
    call.arguments(text)
    call.has_arguments = True
    return c


def _decoded(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Malformed from error
    if not isinstance(found, str):
        raise Malformed
    return found


def call_object(call: CallTeller, c: str, *, bare: bool = False) -> Scan:
    """Read {"name": …, "arguments": {…}}, in any order. `bare`: it may be an answer instead of a
    call.
    """
    c = yield from literal(c, "{")
    name: str | None = None
    early: list[str] = []
    while True:
        c = yield from skip_spaces(c)
        pieces: list[str] = []
        c = yield from string(c, pieces.append)
        key = _decoded("".join(pieces))
        if bare and (key not in _KEYS or (key in _ARGUMENTS and name is None)):
            raise Malformed
        c = yield from skip_spaces(c)
        c = yield from literal(c, ":")
        c = yield from skip_spaces(c)
        if key == "name":
            pieces = []
            c = yield from string(c, pieces.append)
            name = _decoded("".join(pieces))
        elif key in _ARGUMENTS and name is not None and not call.began:
            c = yield from _arguments(call, name, c)
        else:
            pieces = []
            c = yield from value(c, pieces.append)
            if key in _ARGUMENTS:
                early = pieces
        c = yield from skip_spaces(c)
        if c == "}":
            break
        c = yield from literal(c, ",")
    if not call.began:
        if name is None or bare:
            raise Malformed
        call.begin(name)
        text = "".join(early) or "{}"
        call.arguments(_decoded(text) if text.startswith('"') else text)
    call.end()
    c = yield
    while c == "}":  # small models lose count
        c = yield
    return c


def hermes(call: CallTeller, c: str) -> Scan:
    """Read <tool_call>{…}</tool_call>; the closing tag may be missing or misspelt."""
    c = yield from skip_spaces(c)
    c = yield from call_object(call, c)
    c = yield from skip_spaces(c)
    return (yield from closing_tag(c))


def closing_tag(c: str) -> Scan:
    """Read past a tag that closes a call, however it is spelt: </tool_call>, </tool>, and any of
    them cut off. Other text is left as it is.
    """
    if c != "<":
        return c
    c = yield
    if not c:
        return c
    if c != "/":
        raise Malformed  # the next call, or text
    name = ""
    c = yield
    while c.isalnum() or c in ("_", ":"):
        name += c
        c = yield
    if c not in ("", ">") or not any(
        one.startswith(name) or name.startswith(one) for one in _CLOSERS
    ):
        raise Malformed
    if c:
        c = yield
    return (yield from skip_spaces(c))


def llama3(call: CallTeller, c: str) -> Scan:
    """{…}; {…}"""
    while True:
        c = yield from skip_spaces(c)
        c = yield from call_object(call, c, bare=True)
        c = yield from skip_spaces(c)
        if c != ";":
            return c
        c = yield


def mistral(call: CallTeller, c: str) -> Scan:
    """[TOOL_CALLS][{…}, {…}], or since version 11 name[CALL_ID]id[ARGS]{…}, and no list."""
    c = yield from skip_spaces(c)
    if c != "[":
        head = yield from text_until(c, "{")
        name = head.removesuffix("[ARGS]").partition("[CALL_ID]")[0].strip()
        c = yield from _arguments(call, name, "{")
        call.end()
        return c
    return (yield from _list(call, c))


def objects(call: CallTeller, c: str) -> Scan:
    """Read {…}, {…}] behind the bracket that opens the list."""
    while True:
        c = yield from skip_spaces(c)
        c = yield from call_object(call, c)
        c = yield from skip_spaces(c)
        if c == "]":
            c = yield
            return c
        c = yield from literal(c, ",")


def _list(call: CallTeller, c: str) -> Scan:
    """[{…}, {…}]"""
    c = yield from literal(c, "[")
    return (yield from objects(call, c))


def listed(call: CallTeller, c: str) -> Scan:
    """[{…}, {…}] or only {…}, behind whatever mark."""
    c = yield from skip_spaces(c)
    if c != "[":
        return (yield from call_object(call, c))
    return (yield from _list(call, c))


def listed_lines(call: CallTeller, c: str) -> Scan:
    """[{…}, {…}], or objects one under the other."""
    c = yield from listed(call, c)
    c = yield from skip_spaces(c)
    while c == "{":
        c = yield from call_object(call, c)
        c = yield from skip_spaces(c)
    return c


def deepseek(call: CallTeller, c: str) -> Scan:
    """function<sep>name, fenced JSON (V3, R1), or name<sep>{…} (V3.1)."""
    name = (yield from text_until(c, DEEPSEEK_SEP)).strip()
    c = yield
    fenced = name == "function"
    if fenced:
        name = (yield from text_until(c, "\n")).strip()
        c = yield
        c = yield from skip_spaces(c)
        c = yield from literal(c, "```json")
    c = yield from skip_spaces(c)
    c = yield from _arguments(call, name, c)
    call.end()
    c = yield from skip_spaces(c)
    if fenced:
        c = yield from literal(c, "```")
    return c


def kimi(call: CallTeller, c: str) -> Scan:
    """functions.NAME:0<|tool_call_argument_begin|>{…}, the number counting the chat's calls."""
    made = (yield from text_until(c, KIMI_ARGUMENTS)).strip().removeprefix("functions.")
    name, _, number = made.rpartition(":")
    c = yield
    c = yield from skip_spaces(c)
    c = yield from _arguments(call, name if number.isdecimal() else made, c)
    call.end()
    return (yield from skip_spaces(c))
