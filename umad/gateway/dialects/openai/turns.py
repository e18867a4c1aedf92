"""Translates OpenAI's messages and tools into umad's, for chat completions and responses."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from umad.content import Piece, PlacedFile, joined
from umad.conversation import TOOL_CHOICES, ChatMessage, Tool, ToolCall, asked_now
from umad.errors import BadRequest
from umad.gateway.bodies.openai_chat import ChatToolCall, ChatTurn, ContentPart
from umad.gateway.bodies.past_turns import unread
from umad.gateway.written_files import WrittenFile, from_base64, from_url, kind_of_url

_TEXTS = ("text", "input_text", "output_text")
_IMAGES = ("image_url", "input_image")
_FILES = ("file", "input_file")
Content = tuple[str, tuple[PlacedFile, ...]]
_ROLES = {"developer": "system", "function": "tool"}


def content_of(
    content: str | Sequence[ContentPart] | None, field: str, *, is_asked: bool = True
) -> Content:
    """A message's text, and the images and sounds in it. Of parts that no model reads, the text has
    the name. is_asked: it is to be answered now; then raise `BadRequest` for such a part.
    """
    if content is None:
        return "", ()
    if isinstance(content, str):
        return content, ()
    return joined(_piece(one, f"{field}.{at}", is_asked) for at, one in enumerate(content))


def _piece(part: ContentPart, field: str, is_asked: bool) -> Piece:
    if part.type in _TEXTS and part.text is not None:
        return part.text
    if part.type == "refusal":
        return part.refusal or ""
    file = _file(part, field)
    if file is not None:
        return file
    if is_asked:
        raise _unread(part, field)
    return "" if part.type in _TEXTS else unread(part.type)


def _file(part: ContentPart, field: str) -> WrittenFile | None:
    """The image or sound of a part; None where it has none."""
    if part.type in _IMAGES:
        place = f"{field}.image_url"
        if isinstance(part.image_url, dict):
            return from_url("image", part.image_url.get("url"), f"{place}.url")
        return from_url("image", part.image_url, place)
    if part.type == "input_audio":
        given = part.input_audio if isinstance(part.input_audio, dict) else {}
        place = f"{field}.input_audio"
        if given.get("data") is None and given.get("url") is not None:  # llama-server's other name
            return from_url("audio", given["url"], f"{place}.url")
        return from_base64("audio", given.get("data"), f"{place}.data")
    if part.type in _FILES:
        inside = part.file if isinstance(part.file, dict) else None
        data = part.file_data if inside is None else inside.get("file_data")
        kind = kind_of_url(data)
        name = "file_data" if inside is None else "file.file_data"
        return None if kind is None else from_url(kind, data, f"{field}.{name}")
    return None


def _unread(part: ContentPart, field: str) -> BadRequest:
    if part.type in _TEXTS:
        return BadRequest(f"{field}: a text is missing", field=f"{field}.text")
    return BadRequest(
        f"{field}: text, images and sounds are read, not {part.type[:32]!r}", field=f"{field}.type"
    )


def turns_of(messages: Sequence[ChatTurn]) -> tuple[ChatMessage, ...]:
    """All turns as umad's. Raises `BadRequest` naming the message that is wrong."""
    now = asked_now([one.role for one in messages])
    return tuple(
        _turn(one, f"messages.{at}", is_asked=at == now) for at, one in enumerate(messages)
    )


def _turn(message: ChatTurn, field: str, *, is_asked: bool) -> ChatMessage:
    calls = [
        _call(call, f"{field}.tool_calls.{at}") for at, call in enumerate(message.tool_calls or ())
    ]
    if message.function_call is not None:
        call = message.function_call
        calls.append(ToolCall(name=call.name, arguments=call.arguments))
    content, media = content_of(message.content, f"{field}.content", is_asked=is_asked)
    return ChatMessage(
        role=_ROLES.get(message.role, message.role),
        content=content or message.refusal or "",
        name=message.name,
        tool_calls=tuple(calls),
        tool_call_id=message.tool_call_id,
        reasoning=message.reasoning_content,
        media=media,
    )


def _call(call: ChatToolCall, field: str) -> ToolCall:
    if call.function is not None:
        return ToolCall(name=call.function.name, arguments=call.function.arguments, id=call.id)
    if call.custom is not None:
        return ToolCall(name=call.custom.name, arguments=given_text(call.custom.input), id=call.id)
    raise BadRequest(f"{field}: a call has a function", field=f"{field}.function")


def given_text(text: str | None) -> str:
    """The arguments of a tool that takes a text."""
    return json.dumps({"input": text or ""}, ensure_ascii=False)


def begins_answer(turns: Sequence[ChatMessage]) -> bool:
    """Whether the last turn is an answer to continue: an assistant's turn without a call."""
    last = turns[-1]
    return last.role == "assistant" and bool(last.content) and not last.tool_calls


def tools_of(
    given: Iterable[tuple[str, str | None, Mapping[str, Any] | None, bool]],
) -> tuple[Tool, ...]:
    """(name, description, parameters, strict) as tools."""
    return tuple(
        Tool(
            name=name,
            description=description or "",
            parameters=parameters or {"type": "object"},
            strict=strict,
        )
        for name, description, parameters, strict in given
    )


def choice_of(
    given: str | Mapping[str, Any] | None, tools: tuple[Tool, ...], field: str
) -> dict[str, Any]:
    """`tool_choice` in any of its shapes, as fields of `ChatOptions`."""
    if given is None or not tools:
        # A call is forced, but every tool has a type that is skipped, so none can be called.
        return {}
    if isinstance(given, str):
        if given not in TOOL_CHOICES:
            raise BadRequest(
                f"{field} is one of {', '.join(TOOL_CHOICES)}, or names a function", field=field
            )
        return {"tool_choice": given}
    if given.get("type") == "allowed_tools":
        return _allowed(given.get("allowed_tools", given), tools, field)
    name = _name_of(given)
    if name is None:
        raise BadRequest(f"{field} names a function", field=field)
    return {"tool_name": name}


def _name_of(given: Any) -> str | None:
    """A function's name, from the form of chat completions or from that of responses."""
    function = given.get("function", given) if isinstance(given, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _allowed(given: Any, tools: tuple[Tool, ...], field: str) -> dict[str, Any]:
    """Some of the tools on offer are callable, the others only shown."""
    if not isinstance(given, Mapping):
        raise BadRequest(f"{field} names the tools allowed", field=field)
    rows = given.get("tools")
    names = [_name_of(row) for row in (rows if isinstance(rows, list) else [])]
    mode = given.get("mode", "auto")
    return {
        "tools": tuple(tool for tool in tools if tool.name in names),
        "tool_choice": mode if mode in ("auto", "required") else "auto",
    }
