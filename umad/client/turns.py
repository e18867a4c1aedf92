"""Converts the turns and tools of a chat to values, from any form that has one obvious meaning.

A turn is a `ChatMessage`, or a map with the same fields. Maps written for OpenAI's interface are
taken too (parts of text as content, calls and tools inside a "function"). Between texts a content
may have images and sounds (`umad.client.pictures`). An unknown field or a
wrong type is refused by name; nothing is dropped.
Not: fields of the wire (`umad.protocol.chat_fields`), which checks the result of this module too.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from umad.content import MediaFile
from umad.conversation import ChatMessage, Tool
from umad.errors import BadRequest, Unsupported
from umad.protocol.chat_fields import read_tool, read_turn
from umad.protocol.fields import wrong

Turn = ChatMessage | Mapping[str, Any]


def turns_of(value: Sequence[Turn] | str) -> tuple[ChatMessage, ...]:
    """The turns of a chat; a text becomes a user's turn. Raises `BadRequest` naming the turn."""
    if isinstance(value, str):
        return (ChatMessage(role="user", content=value),)
    if isinstance(value, ChatMessage | Mapping) or not isinstance(value, Sequence):
        raise BadRequest("messages must be a text or an array of turns", field="messages")
    return tuple([_turn(f"messages[{at}]", one) for at, one in enumerate(value)])


def tools_of(value: Sequence[Tool | Mapping[str, Any]]) -> tuple[Tool, ...]:
    """The tools on offer. Raises `BadRequest` naming the tool."""
    if isinstance(value, str | Tool | Mapping) or not isinstance(value, Sequence):
        raise BadRequest("tools must be an array of tools", field="tools")
    return tuple([_tool(f"tools[{at}]", one) for at, one in enumerate(value)])


def _turn(name: str, value: Any) -> ChatMessage:
    if isinstance(value, ChatMessage):
        return value
    if not isinstance(value, Mapping):
        raise wrong(name, "a map of role and content, or a ChatMessage", value)
    turn = dict(value)
    if turn.get("content") is None and turn.get("tool_calls"):
        turn["content"] = ""  # a turn that only calls tools has no text
    elif isinstance(turn.get("content"), Sequence) and not isinstance(turn["content"], str):
        is_result = turn.get("role") == "tool"
        content = turn["content"]
        if any(isinstance(one, MediaFile) for one in content):
            turn["content"] = _parts(content)
        else:
            turn["content"] = _text(f"{name}.content", content, is_result=is_result)
    calls = turn.get("tool_calls")
    if isinstance(calls, Sequence) and not isinstance(calls, str):
        turn["tool_calls"] = [
            _call(f"{name}.tool_calls[{at}]", call) for at, call in enumerate(calls)
        ]
    return read_turn(name, turn)


def _parts(parts: Sequence[Any]) -> list[Any]:
    """The parts as the protocol has them: texts alone and files become maps."""
    return [
        {"type": "text", "text": one}
        if isinstance(one, str)
        else {"type": one.kind, "data": one.data}
        if isinstance(one, MediaFile)
        else dict(one)
        if isinstance(one, Mapping)
        else one
        for one in parts
    ]


def _text(name: str, parts: Sequence[Any], *, is_result: bool) -> str:
    """The text of all parts. In a tool's result, a part of another type is named."""
    texts = []
    for at, part in enumerate(parts):
        place = f"{name}[{at}]"
        if not isinstance(part, Mapping) or set(part) != {"type", "text"}:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if isinstance(kind, str) and kind != "text" and is_result:
                texts.append(f"[a part of type {kind!r} stood here; this model reads only text]")
                continue
            if isinstance(kind, str) and kind != "text":
                raise Unsupported(
                    f"{place} is of type {kind!r}; give texts, Image.open(…) and Audio.open(…)",
                    field=place,
                )
            raise BadRequest(f"{place} must be a map of type and text", field=place)
        if part["type"] != "text" or not isinstance(part["text"], str):
            raise BadRequest(f'{place} must have the type "text" and a text', field=place)
        texts.append(part["text"])
    return "".join(texts)


def _call(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):  # a `ToolCall` from an earlier answer
        parts = ("name", "arguments", "id")
        if not all(hasattr(value, part) for part in parts):
            return value
        value = {part: getattr(value, part) for part in parts}
    call = _unwrapped(name, value, {"id"})
    if isinstance(call.get("arguments"), Mapping):
        call["arguments"] = json.dumps(dict(call["arguments"]), ensure_ascii=False)
    return call


def _tool(name: str, value: Any) -> Tool:
    if isinstance(value, Tool):
        return value
    if not isinstance(value, Mapping):
        raise wrong(name, "a map of name, description and parameters, or a Tool", value)
    return read_tool(name, _unwrapped(name, value, set()))


def _unwrapped(name: str, value: Mapping[str, Any], beside: set[str]) -> dict[str, Any]:
    """The fields inside "function" together with those `beside` it, or the map itself."""
    if "function" not in value:
        return dict(value)
    inside = value["function"]
    others = set(value) - beside - {"type", "function"}
    if not isinstance(inside, Mapping) or others or value.get("type", "function") != "function":
        raise BadRequest(
            f'{name} must be {{"type": "function", "function": {{…}}}} and nothing else', field=name
        )
    return {**{key: value[key] for key in beside if key in value}, **inside}
