"""Reads calls of Kimi K3, whose tags stand between tokens.

    <|open|>call tool="NAME" index="1"<|sep|>
    <|open|>argument key="KEY" type="string"<|sep|>VALUE<|close|>argument<|sep|> …
    <|close|>call<|sep|>

A tag says the type of its value: a text is written as it is, all else as JSON. Arguments may stand
in one block of JSON instead. Sources: `umad.chat.formats`. How a reader works: `call_run`.
"""

import json
import re
from collections.abc import Generator

from umad.chat.argument_types import TEXT, as_json
from umad.chat.call_run import CallTeller, text_before, text_until
from umad.chat.json_scan import Malformed, Scan, skip_spaces, value

OPEN, CLOSE, SEP = "<|open|>", "<|close|>", "<|sep|>"
CALL = f'{OPEN}call tool="'
CALL_END = f"{CLOSE}call{SEP}"
_ARGUMENT = re.compile(r'argument key="([^"]*)"(?: type="([^"]*)")?[^"]*')
_ARGUMENT_END = f"{CLOSE}argument{SEP}"


def kimi_k3(call: CallTeller, c: str) -> Scan:
    """Read from behind the quote that begins the name to the end of the call."""
    name = _unescaped((yield from text_until(c, '"')))
    c = yield
    yield from text_until(c, SEP)  # its index
    call.begin(name)
    so_far = "{"
    while True:
        c = yield
        c = yield from skip_spaces(c)
        tag = yield from _tag(c)
        if tag == "/call":
            break
        if tag.startswith("json") and so_far == "{":
            c = yield
            c = yield from skip_spaces(c)
            c = yield from value(c, call.arguments)
            yield from text_until(c, f"{CLOSE}json{SEP}")
            so_far = ""
            continue
        found = _ARGUMENT.fullmatch(tag)
        if found is None or not so_far:
            raise Malformed
        key = _unescaped(found[1])
        call.arguments(f"{so_far}{json.dumps(key, ensure_ascii=False)}: ")
        so_far = ", "
        c = yield
        if found[2] == "string" or (found[2] is None and call.types(name, key) == TEXT):
            call.arguments('"')
            yield from text_before(c, _ARGUMENT_END, call.text)
            call.arguments('"')
        else:
            pieces: list[str] = []
            yield from text_before(c, _ARGUMENT_END, pieces.append)
            types = call.types(name, key)
            call.arguments(as_json("".join(pieces), types - TEXT or types))
    if so_far:
        call.arguments("{}" if so_far == "{" else "}")
    call.end()
    c = yield
    return c


def _tag(c: str) -> Generator[None, str, str]:
    """The words of the next tag; "/" stands before them where it closes."""
    text = yield from text_until(c, SEP)
    for mark, before in ((OPEN, ""), (CLOSE, "/")):
        if text.startswith(mark):
            return before + text.removeprefix(mark)
    raise Malformed


def _unescaped(text: str) -> str:
    return text.replace("&quot;", '"').replace("&amp;", "&")
