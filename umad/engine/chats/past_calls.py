"""Reads calls of earlier turns: their arguments as an object, or call and result as text.

Clients send back what a model wrote, and models write arguments that are empty, cut off or no
object. Templates walk through an object. Pure. Not: calls that a model writes now (`umad.chat`).
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from umad.conversation import ChatMessage, ToolCall

# The name under which a model is shown arguments that are no object.
RAW = "raw"
# The ends of a result as a user's words.
RESULT_BEGINS, RESULT_ENDS = "<tool_response>\n", "\n</tool_response>"
_NOTHING = ("", "null")


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments as an object. Nothing is {}, and an object that was encoded twice is itself.
    Anything else is {"raw": …}: its value, or the text of what is no JSON.
    """
    if text.strip() in _NOTHING:
        return {}
    value = _value(text)
    if isinstance(value, str):
        inner = _value(value)
        value = inner if isinstance(inner, dict) else value
    return value if isinstance(value, dict) else {RAW: value}


def arguments_text(text: str) -> str:
    """The arguments as they were written; {} for nothing."""
    return "{}" if text.strip() in _NOTHING else text


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
        # Half of a surrogate pair is JSON, and no character that could be tokenized.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return text
    return value


def in_words(turns: Iterable[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The turns with calls and results as text, in Hermes' way, for templates that have no word for
    them.
    """
    return tuple(_turn_in_words(turn) for turn in turns)


def _turn_in_words(turn: ChatMessage) -> ChatMessage:
    if turn.role == "tool":
        return result_in_words(turn)
    if not turn.tool_calls:
        return turn
    said = [turn.content] if turn.content else []
    calls = [_call_in_words(call) for call in turn.tool_calls]
    return replace(turn, content="\n".join([*said, *calls]), tool_calls=())


def result_in_words(turn: ChatMessage) -> ChatMessage:
    """A tool's result as a user's words."""
    return ChatMessage(role="user", content=f"{RESULT_BEGINS}{turn.content}{RESULT_ENDS}")


def _call_in_words(call: ToolCall) -> str:
    is_object = isinstance(_value(call.arguments), dict)
    arguments = (
        call.arguments
        if is_object
        else json.dumps(arguments_of(call.arguments), ensure_ascii=False)
    )
    return (
        f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {arguments}}}\n</tool_call>'
    )
