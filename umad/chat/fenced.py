"""Reads calls that small models write as a fenced block of JSON instead of with their marks.

    ```json
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    ```

Such a block is a call only if it holds exactly the name of a tool on offer and arguments that fit
the tool's schema; a list of such objects is several calls. Everything else is the answer's text,
and goes out as soon as it cannot become a call any more. Nothing is told before the whole block is
known. How a reader works: `call_run`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from umad.chat.call_run import CallTeller
from umad.chat.json_scan import Malformed, Scan, literal, skip_spaces, string, value

FENCE = "```"
_LANGUAGES = ("json", "tool_call")
_ARGUMENTS = ("arguments", "parameters")
_KEYS = ("name", *_ARGUMENTS, "id", "type", "function")
# What may stand beside a function that has the name and the arguments.
_BESIDE = frozenset(("id", "type", "function"))

_Call = tuple[str, str]


def fenced(call: CallTeller, c: str) -> Scan:
    """Read from behind the opening fence to behind the closing one, which the end of the reply may
    stand for.
    """
    c = yield from _language(c)
    c = yield from skip_spaces(c)
    made: list[_Call] = []
    if c == "[":
        c = yield from _list(call, c, made)
    else:
        while c == "{":
            c = yield from _object(call, c, made)
            c = yield from skip_spaces(c)
    if not made:
        raise Malformed
    c = yield from skip_spaces(c)
    for at, wanted in enumerate(FENCE if c else ""):
        if c != wanted:
            raise Malformed
        if at == len(FENCE) - 1:
            break
        c = yield
    for name, arguments in made:
        call.begin(name)
        call.arguments(arguments)
        call.end()
    if c:
        c = yield
    return c


def _language(c: str) -> Scan:
    """Read past the block's language, if it has one."""
    said = ""
    while c.isalpha() or c == "_":
        said += c.lower()
        if not any(one.startswith(said) for one in _LANGUAGES):
            raise Malformed
        c = yield
    if said and said not in _LANGUAGES:
        raise Malformed
    return c


def _list(call: CallTeller, c: str, made: list[_Call]) -> Scan:
    """[{…}, {…}]"""
    c = yield from literal(c, "[")
    while True:
        c = yield from skip_spaces(c)
        c = yield from _object(call, c, made)
        c = yield from skip_spaces(c)
        if c == "]":
            c = yield
            return c
        c = yield from literal(c, ",")


def _object(call: CallTeller, c: str, made: list[_Call], *, inside: bool = False) -> Scan:
    """{"name": …, "arguments": {…}}, in any order, or with both inside {"function": {…}}."""
    c = yield from literal(c, "{")
    found: dict[str, str] = {}
    while True:
        c = yield from skip_spaces(c)
        key: list[str] = []
        c = yield from string(c, _one_of(_KEYS, key))
        name = json.loads("".join(key))
        if name in found or (inside and name == "function"):
            raise Malformed
        c = yield from skip_spaces(c)
        c = yield from literal(c, ":")
        c = yield from skip_spaces(c)
        if name == "function":
            c = yield from _object(call, c, made, inside=True)
            found[name] = ""
        else:
            pieces: list[str] = []
            out = _one_of(call.names, pieces) if name == "name" else pieces.append
            c = yield from (string if name == "name" else value)(c, out)
            found[name] = "".join(pieces)
        c = yield from skip_spaces(c)
        if c == "}":
            break
        c = yield from literal(c, ",")
    if "function" not in found:
        made.append(_checked(call, found))
    elif not _BESIDE.issuperset(found):
        raise Malformed
    c = yield
    return c


def _checked(call: CallTeller, found: dict[str, str]) -> _Call:
    given = [found[name] for name in _ARGUMENTS if name in found]
    if "name" not in found or len(given) != 1:
        raise Malformed
    name, arguments = json.loads(found["name"]), _value(given[0])
    text = given[0]
    if isinstance(arguments, str):  # encoded twice
        text, arguments = arguments, _value(arguments)
    if not isinstance(arguments, dict) or not call.fits(name, arguments):
        raise Malformed
    return name, text


def _one_of(words: Sequence[str], pieces: list[str]) -> Callable[[str], None]:
    """Takes a string in piece by piece, while it may become one of `words`."""
    texts = [json.dumps(word, ensure_ascii=False) for word in words]

    def take(piece: str) -> None:
        pieces.append(piece)
        so_far = "".join(pieces)
        if not any(text.startswith(so_far) for text in texts):
            raise Malformed

    return take


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise Malformed from error


def _no_json(name: str) -> NoReturn:
    raise ValueError(name)
