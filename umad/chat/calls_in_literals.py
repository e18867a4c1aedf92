"""Reads calls whose arguments are in notations close to JSON: Gemma 4, FunctionGemma, LFM2.

    <|tool_call>call:NAME{city:<|"|>Oslo<|"|>}<tool_call|>
    <start_function_call>call:NAME{city:<escape>Oslo<escape>}<end_function_call>
    <|tool_call_start|>[NAME(city='Oslo'), NAME()]<|tool_call_end|>

Sources: `umad.chat.formats`. How a reader works: `call_run`. Values: `literals`.
"""

import json

from umad.chat.call_run import CallReader, CallTeller, text_until
from umad.chat.calls import call_object, objects
from umad.chat.json_scan import SPACES, Malformed, Scan, literal, skip_spaces
from umad.chat.literals import Notation, literal_value, members

GEMMA_QUOTE = '<|"|>'
FUNCTION_GEMMA_QUOTE = "<escape>"
_PYTHON = Notation(is_python=True)
# What may stand in a name besides letters and digits.
_IN_NAMES = "_-."


def _called(quote: str) -> CallReader:
    """A reader of call:NAME{…} whose texts stand between `quote` marks."""
    notation = Notation(mark=quote)

    def read(call: CallTeller, c: str) -> Scan:
        c = yield from skip_spaces(c)
        c = yield from literal(c, "call:")
        name = (yield from text_until(c, "{")).strip()
        if any(space in name for space in SPACES):
            raise Malformed
        call.begin(name)
        c = yield from members("{", call.arguments, notation, lambda key: call.types(name, key))
        call.has_arguments = True
        call.end()
        return c

    return read


gemma4: CallReader = _called(GEMMA_QUOTE)
function_gemma: CallReader = _called(FUNCTION_GEMMA_QUOTE)


def lfm2(call: CallTeller, c: str) -> Scan:
    """[NAME(KEY=VALUE, …), …], one call without a list, or JSON, as its system prompt may ask."""
    c = yield from skip_spaces(c)
    is_list = c == "["
    if is_list:
        c = yield
        c = yield from skip_spaces(c)
    if c == "{":
        return (yield from (objects if is_list else call_object)(call, c))
    while True:
        c = yield from _python_call(call, c)
        c = yield from skip_spaces(c)
        if not is_list:
            return c
        if c == "]":
            c = yield
            return c
        c = yield from literal(c, ",")
        c = yield from skip_spaces(c)


def _python_call(call: CallTeller, c: str) -> Scan:
    """NAME(KEY=VALUE, …)"""
    name = (yield from text_until(c, "(")).strip()
    if not all(one.isalnum() or one in _IN_NAMES for one in name):
        raise Malformed
    call.begin(name)
    so_far = "{"
    c = yield
    while True:
        c = yield from skip_spaces(c)
        if c == ")":
            break
        key = (yield from text_until(c, "=")).strip()
        call.arguments(f"{so_far}{json.dumps(key, ensure_ascii=False)}: ")
        so_far = ", "
        c = yield
        c = yield from skip_spaces(c)
        c = yield from literal_value(c, call.arguments, _PYTHON, call.types(name, key))
        c = yield from skip_spaces(c)
        if c == ",":
            c = yield
        elif c != ")":
            raise Malformed
    call.arguments("{}" if so_far == "{" else "}")
    call.has_arguments = True
    call.end()
    c = yield
    return c
