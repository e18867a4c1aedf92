"""Reads a chat's fields from outside, and writes them for a client: turns, tools, grammars.

As in `umad.protocol.fields`: (name, value) -> checked value, or a `BadRequest` that names the place
and never quotes a value. A schema may come as a map or as JSON text. The text may be nested deeper
than a message may be.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from umad.constraint import GRAMMAR_KINDS, Constraint
from umad.conversation import MAX_JSON_CHARS, TOOL_CHOICES, ChatMessage, Tool, ToolCall
from umad.errors import BadRequest
from umad.protocol.content_fields import read_content, write_content
from umad.protocol.fields import (
    nearest,
    quoted,
    read_flag,
    read_integer,
    read_name,
    read_text,
    read_token_ids,
    text_of,
    wrong,
)

MAX_MESSAGES = 4096
MAX_ROLE_CHARS = 64
MAX_CALLS = 256

_read_role = text_of(MAX_ROLE_CHARS)


def read_messages(name: str, value: Any) -> tuple[ChatMessage, ...]:
    """An array of turns."""
    turns = _array(name, value, "{role, content}")
    if len(turns) > MAX_MESSAGES:
        raise BadRequest(f"{name} has at most {MAX_MESSAGES} turns", field=name)
    return tuple([read_turn(f"{name}[{at}]", turn) for at, turn in enumerate(turns)])


def read_tools(name: str, value: Any) -> tuple[Tool, ...]:
    """An array of {name, description, parameters, strict}."""
    tools = _array(name, value, "{name, description, parameters}")
    return tuple([read_tool(f"{name}[{at}]", tool) for at, tool in enumerate(tools)])


def read_tool_choice(name: str, value: Any) -> str:
    """auto, none or required."""
    return _one_of(name, value, TOOL_CHOICES)


def read_json_map(name: str, value: Any) -> Mapping[str, Any]:
    """A map, or JSON text of one."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise BadRequest(f"{name} has string keys", field=name)
        return value
    if not isinstance(value, str):
        raise wrong(name, "a map or JSON text", value)
    if len(value) > MAX_JSON_CHARS:
        raise BadRequest(f"{name} has at most {MAX_JSON_CHARS} characters", field=name)
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{name} is not JSON", field=name) from error
    if not isinstance(parsed, dict):
        raise BadRequest(f"{name} must be JSON of an object", field=name)
    return parsed


def read_grammar(name: str, value: Any) -> Constraint:
    """{gbnf: text}, {lark: text} or {regex: text}; a string is GBNF."""
    if isinstance(value, str):
        return Constraint(kind="gbnf", text=value)
    if not isinstance(value, dict) or len(value) != 1:
        raise wrong(name, "a string or a map of one of gbnf, lark and regex", value)
    ((kind, text),) = value.items()
    _one_of(name, kind, GRAMMAR_KINDS)
    return Constraint(kind=kind, text=read_text(f"{name}.{kind}", text))


def read_json_schema(name: str, value: Any) -> Constraint:
    """A map, or JSON text."""
    if isinstance(value, dict):
        return Constraint.json_schema(value)
    if not isinstance(value, str):
        raise wrong(name, "a map or JSON text", value)
    return Constraint(kind="json_schema", text=value)


def _array(name: str, value: Any, of: str) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(name, f"an array of {of} maps", value)
    return value


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise wrong(name, f"one of {', '.join(known)}", value)
    if value not in known:
        raise BadRequest(f"{name} is one of {', '.join(known)}{nearest(value, known)}", field=name)
    return value


def _checked_map(
    name: str, value: Any, known: tuple[str, ...], required: tuple[str, ...]
) -> Mapping[str, Any]:
    """`value`, checked to hold only `known` keys, without those that are null."""
    if not isinstance(value, dict):
        raise wrong(name, f"a map of {', '.join(required)}", value)
    for key in value:
        if key not in known:
            raise BadRequest(
                f"{name} has {', '.join(known)} and nothing else, not {quoted(key)}"
                f"{nearest(key, known)}",
                field=name,
            )
    for part in required:
        if part not in value:
            raise BadRequest(f"{name}.{part} is missing", field=f"{name}.{part}")
    # A required field that is null stays, so that its reader refuses it.
    return {key: one for key, one in value.items() if one is not None or key in required}


_TURN = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning")
_CALL = ("name", "arguments", "id")
_TOOL = ("name", "description", "parameters", "strict")


def read_turn(name: str, value: Any) -> ChatMessage:
    """Read one turn; `name` is its place in the request."""
    turn = _checked_map(name, value, _TURN, ("role", "content"))
    only_calls = turn["content"] is None and "tool_calls" in turn
    content, media = ("", ()) if only_calls else read_content(f"{name}.content", turn["content"])
    parts: dict[str, Any] = {
        "role": _read_role(f"{name}.role", turn["role"]),
        "content": content,
        "media": media,
    }
    for part in ("name", "tool_call_id"):
        if part in turn:
            parts[part] = read_name(f"{name}.{part}", turn[part])
    if "reasoning" in turn:
        parts["reasoning"] = read_text(f"{name}.reasoning", turn["reasoning"])
    if "tool_calls" in turn:
        place = f"{name}.tool_calls"
        calls = _array(place, turn["tool_calls"], "{name, arguments}")
        if len(calls) > MAX_CALLS:
            raise BadRequest(f"{place} has at most {MAX_CALLS} calls", field=place)
        parts["tool_calls"] = tuple(
            [_read_call(f"{place}[{at}]", call) for at, call in enumerate(calls)]
        )
    return ChatMessage(**parts)


def _read_call(name: str, value: Any) -> ToolCall:
    call = _checked_map(name, value, _CALL, ("name", "arguments"))
    return ToolCall(
        name=read_name(f"{name}.name", call["name"]),
        arguments=read_text(f"{name}.arguments", call["arguments"]),
        id=read_name(f"{name}.id", call["id"]) if "id" in call else None,
    )


def read_tool(name: str, value: Any) -> Tool:
    """Read one tool; `name` is its place in the request."""
    tool = _checked_map(name, value, _TOOL, ("name",))
    parts: dict[str, Any] = {"name": read_name(f"{name}.name", tool["name"])}
    if "description" in tool:
        parts["description"] = read_text(f"{name}.description", tool["description"])
    if "parameters" in tool:
        parts["parameters"] = read_json_map(f"{name}.parameters", tool["parameters"])
    if "strict" in tool:
        parts["strict"] = read_flag(f"{name}.strict", tool["strict"])
    return Tool(**parts)


READERS = {
    "tools": read_tools,
    "tool_choice": read_tool_choice,
    "tool_name": read_name,
    "template_kwargs": read_json_map,
    "continue_final": read_flag,
    "markup": read_flag,
    "parallel_tool_calls": read_flag,
    "fenced_calls": read_flag,
    "thinking_tokens": read_integer,
    "context": read_token_ids,
}


# -- client: values to fields --------------------------------------------------------------------


def write_turn(turn: ChatMessage) -> dict[str, Any]:
    """A turn as a map, without what is not set."""
    content = write_content(turn.content, turn.media)
    fields: dict[str, Any] = {"role": turn.role, "content": content}
    for part in ("name", "tool_call_id", "reasoning"):
        if (given := getattr(turn, part)) is not None:
            fields[part] = given
    if turn.tool_calls:
        fields["tool_calls"] = [_written(call, _CALL) for call in turn.tool_calls]
    return fields


def write_tools(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Tools as maps, their schemas as JSON text."""
    return [
        {
            "name": tool.name,
            "description": tool.description,
            "parameters": write_json(tool.parameters, "tools"),
            **({"strict": True} if tool.strict else {}),
        }
        for tool in tools
    ]


def write_json(value: Mapping[str, Any], name: str) -> str:
    """JSON text of a map. Raises `BadRequest` for what JSON cannot say."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"{name} holds a non-JSON value", field=name) from error


def write_constraint(constraint: Constraint) -> dict[str, Any]:
    """The one field that holds the constraint."""
    if constraint.kind == "json_schema":
        return {"json_schema": constraint.text}
    return {"grammar": {constraint.kind: constraint.text}}


def _written(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given for name in names if (given := getattr(value, name)) is not None}
