"""Translates the items of a response's conversation into a chat's turns.

An assistant's turn is a run of items: thinking, text, calls. Items of unknown types are skipped:
agents send those of tools that only OpenAI has. An item's id has that of its response in it, so
that a reference to an item is followed without a list of all items.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from umad.conversation import ChatMessage, ToolCall, asked_now
from umad.errors import BadRequest
from umad.gateway.bodies.openai_responses import Item
from umad.gateway.bodies.past_turns import json_text
from umad.gateway.dialects.openai.turns import Content, content_of, given_text

_RESPONSE = "resp_"
_ITEM_ID = re.compile(r"[a-z]+_([0-9a-f]{32})_[0-9]+")
_RESULTS = ("function_call_output", "custom_tool_call_output")


def item_id(kind: str, response_id: str, at: int) -> str:
    """The id of the item `at` of a response's output; `kind` is how it begins."""
    return f"{kind}_{response_id.removeprefix(_RESPONSE)}_{at}"


def response_of(item_id: str) -> str | None:
    """The id of the response that an item is of; None if umad did not make the item."""
    found = _ITEM_ID.fullmatch(item_id)
    return None if found is None else f"{_RESPONSE}{found[1]}"


def turns_of(items: Sequence[Item], instructions: str | None) -> tuple[ChatMessage, ...]:
    """The chat. Raises `BadRequest` naming the item that is wrong."""
    turns: list[ChatMessage] = []
    if instructions:
        turns.append(ChatMessage(role="system", content=instructions))
    names: dict[str, str] = {}
    thinking: str | None = None
    now = asked_now([one.role or "" if one.type == "message" else one.type for one in items])
    for at, item in enumerate(items):
        field = f"input.{at}"
        if item.type == "message":
            turn = _message(item, field, is_asked=at == now)
            if turn.role == "assistant":
                turn, thinking = replace(turn, reasoning=thinking), None
            turns.append(turn)
        elif item.type == "reasoning":
            if isinstance(item.content, list):
                thinking = "".join(part.text or "" for part in item.content) or None
        elif (call := _call(item, field)) is not None:
            names[call.id or ""] = call.name
            if turns and turns[-1].role == "assistant":
                turns[-1] = replace(turns[-1], tool_calls=(*turns[-1].tool_calls, call))
            else:
                turn = ChatMessage(
                    role="assistant", content="", tool_calls=(call,), reasoning=thinking
                )
                turns.append(turn)
                thinking = None
        elif item.type in _RESULTS:
            said, media = _output(item, f"{field}.output")
            turns.append(
                ChatMessage(
                    role="tool",
                    content=said,
                    media=media,
                    tool_call_id=item.call_id,
                    name=names.get(item.call_id or ""),
                )
            )
    return tuple(turns)


def _message(item: Item, field: str, *, is_asked: bool) -> ChatMessage:
    if item.role is None:
        raise BadRequest(f"{field}: a message has a role", field=f"{field}.role")
    role = "system" if item.role == "developer" else item.role
    content, media = content_of(item.content, f"{field}.content", is_asked=is_asked)
    return ChatMessage(role=role, content=content, media=media)


def _output(item: Item, field: str) -> Content:
    if isinstance(item.output, dict):
        return str(json_text(item.output)), ()
    return content_of(item.output, field, is_asked=False)


def _call(item: Item, field: str) -> ToolCall | None:
    if item.type == "function_call":
        arguments = item.arguments or "{}"
    elif item.type == "custom_tool_call":
        arguments = given_text(item.input)
    else:
        return None
    if not item.name:
        raise BadRequest(f"{field}: a call has a name", field=f"{field}.name")
    return ToolCall(name=item.name, arguments=arguments, id=item.call_id or item.id)
