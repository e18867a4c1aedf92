"""Writes turns and tools as templates know them, every string guarded.

Pure. Not: which turns there are (`chat_template`, `turn_forms`, `family_turns`).
"""

from collections.abc import Mapping
from typing import Any

from umad.conversation import ChatMessage, ChatOptions
from umad.engine.chats.family_turns import CallWords
from umad.engine.chats.past_calls import arguments_of, arguments_text
from umad.engine.chats.turn_forms import Guard


def offers_tools(options: ChatOptions) -> bool:
    """Whether the model is told of tools."""
    return bool(options.tools) and options.tool_choice != "none"


def turn_values(
    turn: ChatMessage, guard: Guard, *, objects: bool, words: CallWords | None
) -> dict[str, Any]:
    """Write a turn as templates know it. A field that is not set is left out. words: writes calls
    into the turn's words, for a template that knows no calls.
    """
    values: dict[str, Any] = {"role": guard(turn.role), "content": guard(turn.content)}
    for name in ("name", "tool_call_id"):
        if (given := getattr(turn, name)) is not None:
            values[name] = guard(given)
    if turn.reasoning is not None:
        # Qwen and DeepSeek use the first name, gpt-oss the second.
        values["reasoning_content"] = values["thinking"] = guard(turn.reasoning)
    if turn.tool_calls and words is not None:
        values["content"] += words(turn.tool_calls, guard)
    elif turn.tool_calls:
        values["tool_calls"] = [
            {
                "type": "function",
                "id": guard(call.id or ""),
                "function": {
                    "name": guard(call.name),
                    "arguments": _arguments(call.arguments, guard, objects=objects),
                },
            }
            for call in turn.tool_calls
        ]
    return values


def _arguments(text: str, guard: Guard, *, objects: bool) -> Any:
    return guarded(arguments_of(text), guard) if objects else guard(arguments_text(text))


def tool_values(options: ChatOptions, guard: Guard) -> list[dict[str, Any]] | None:
    if not offers_tools(options):
        return None
    return [
        {
            "type": "function",
            "function": {
                "name": guard(tool.name),
                "description": guard(tool.description),
                "parameters": guarded(tool.parameters, guard),
            },
        }
        for tool in options.tools
    ]


def guarded(value: Any, guard: Guard) -> Any:
    if isinstance(value, str):
        return guard(value)
    if isinstance(value, Mapping):
        return {guard(str(key)): guarded(one, guard) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [guarded(one, guard) for one in value]
    return value
