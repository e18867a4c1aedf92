"""Histories as each dialect's clients send them: answered, with all that was said in them."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.gateway.scripted_service import Scripted, post
from umad.conversation import ChatMessage, ToolCall
from umad.engine.chats.unseen import as_seen

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
OLLAMA = "/api/chat"
NATIVE = "/generate"
PICTURE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa"}}
BLOCK: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a"}}
HI: Any = {"role": "user", "content": "UA"}
A_CAT: Any = {"role": "assistant", "content": "A cat."}
NO_IMAGE = "[an image stood here; this model reads only text]"


def asked(path: str, turns: list[Any]) -> tuple[ChatMessage, ...]:
    """The turns that the engine is asked with. Fails unless the history is answered."""
    service = Scripted(["Yes."])
    field = "input" if path == RESPONSES else "messages"
    body: dict[str, Any] = {"model": "scripted", field: turns, "stream": False}
    if path == MESSAGES:
        body["max_tokens"] = 50
    if path == RESPONSES:
        body["store"] = False
    answer = post(service, path, body)
    assert answer.status_code == 200, answer.text
    # As an engine reads them whose model has no eyes.
    return as_seen(service.asked[0].messages or (), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """turns: as a client sends them. said: the content of the last turn. arguments: of the first
    past call."""

    path: str
    turns: list[Any]
    said: str | None = None
    arguments: str | None = None


def openai_call(**function: Any) -> list[Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "look", **function}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "RA"}
    return [HI, {"role": "assistant", "content": None, "tool_calls": [call]}, result]


def response_call(output: Any = "RA", **fields: Any) -> list[Any]:
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}", **fields}
    return [HI, call, {"type": "function_call_output", "call_id": "c1", "output": output}]


def anthropic_call(input_: Any = None, content: Any = "RA", *beside: Any) -> list[Any]:
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": input_}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": content}
    return [
        HI,
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result, *beside]},
    ]


def ollama_call(arguments: Any, **result: Any) -> list[Any]:
    call = {"function": {"name": "look", "arguments": arguments}}
    answer = {"role": "tool", "tool_name": "look", "content": "RA", **result}
    return [HI, {"role": "assistant", "content": "", "tool_calls": [call]}, answer]


def tool(content: Any) -> list[Any]:
    return [
        *openai_call(arguments="{}")[:2],
        {"role": "tool", "tool_call_id": "c1", "content": content},
    ]


CUT = '{"city": "Os'
ROWS = {
    # -- chat completions
    "chat: arguments that were cut off": Row(
        path=CHAT, turns=openai_call(arguments=CUT), arguments=CUT
    ),
    "chat: an object for arguments": Row(
        path=CHAT, turns=openai_call(arguments={"city": "Oslo"}), arguments='{"city": "Oslo"}'
    ),
    "chat: null for arguments": Row(path=CHAT, turns=openai_call(arguments=None), arguments="{}"),
    "chat: no arguments": Row(path=CHAT, turns=openai_call(), arguments="{}"),
    "chat: a list for arguments": Row(
        path=CHAT, turns=openai_call(arguments=["Oslo"]), arguments='["Oslo"]'
    ),
    "chat: a call of a custom tool": Row(
        path=CHAT,
        turns=[
            HI,
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c1", "type": "custom", "custom": {"name": "look", "input": "Oslo"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "RA"},
        ],
        arguments='{"input": "Oslo"}',
    ),
    "chat: the older function_call": Row(
        path=CHAT,
        turns=[
            HI,
            {"role": "assistant", "content": None, "function_call": {"name": "look"}},
            {"role": "function", "name": "look", "content": "RA"},
        ],
        arguments="{}",
        said="RA",
    ),
    "chat: a picture in a tool's result": Row(
        path=CHAT, turns=tool([{"type": "text", "text": "RA "}, PICTURE]), said=f"RA {NO_IMAGE}"
    ),
    "chat: a sound in a tool's result": Row(
        path=CHAT,
        turns=tool([{"type": "input_audio", "input_audio": {"data": "a", "format": "wav"}}]),
        said="[a sound stood here; this model reads only text]",
    ),
    "chat: a part of tomorrow in a tool's result": Row(
        path=CHAT,
        turns=tool([{"type": "hologram"}]),
        said="[a part of type 'hologram' stood here; this model reads only text]",
    ),
    "chat: an empty result": Row(path=CHAT, turns=tool([]), said=""),
    "chat: null for a result": Row(path=CHAT, turns=tool(None), said=""),
    "chat: a picture that another model was shown": Row(
        path=CHAT,
        turns=[
            {"role": "user", "content": [PICTURE]},
            A_CAT,
            HI,
        ],
        said="UA",
    ),
    "chat: a question behind one that was refused for its picture": Row(
        path=CHAT, turns=[{"role": "user", "content": [PICTURE]}, HI], said="UA"
    ),
    "chat: a refusal in place of content": Row(
        path=CHAT,
        turns=[HI, {"role": "assistant", "content": None, "refusal": "No."}, HI],
        said="UA",
    ),
    "chat: empty contents": Row(
        path=CHAT,
        turns=[{"role": "system", "content": []}, HI, {"role": "assistant", "content": []}, HI],
        said="UA",
    ),
    # -- responses
    "responses: arguments that were cut off": Row(
        path=RESPONSES, turns=response_call(arguments=CUT, status="incomplete"), arguments=CUT
    ),
    "responses: null for arguments": Row(
        path=RESPONSES, turns=response_call(arguments=None), arguments="{}"
    ),
    "responses: an empty text for arguments": Row(
        path=RESPONSES, turns=response_call(arguments=""), arguments="{}"
    ),
    "responses: an object for arguments": Row(
        path=RESPONSES, turns=response_call(arguments={"a": 1}), arguments='{"a": 1}'
    ),
    "responses: a picture in a result": Row(
        path=RESPONSES,
        turns=response_call([{"type": "input_image", "image_url": "data:,"}]),
        said=NO_IMAGE,
    ),
    "responses: a file in a result": Row(
        path=RESPONSES,
        turns=response_call([{"type": "input_file", "file_id": "f"}]),
        said="[a file stood here; this model reads only text]",
    ),
    "responses: an object for a result": Row(
        path=RESPONSES, turns=response_call({"t": 4}), said='{"t": 4}'
    ),
    "responses: a picture that another model was shown": Row(
        path=RESPONSES,
        turns=[
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "A cat."}]},
            HI,
        ],
        said="UA",
    ),
    # -- messages
    "messages: null for input": Row(path=MESSAGES, turns=anthropic_call(), arguments="{}"),
    "messages: a text for input": Row(path=MESSAGES, turns=anthropic_call(CUT), arguments=CUT),
    "messages: a list for input": Row(
        path=MESSAGES, turns=anthropic_call(["Oslo"]), arguments='["Oslo"]'
    ),
    "messages: a picture in a result": Row(
        path=MESSAGES, turns=anthropic_call({}, [BLOCK]), said=NO_IMAGE
    ),
    "messages: a picture beside a result": Row(
        path=MESSAGES, turns=anthropic_call({}, "RA", BLOCK), said=NO_IMAGE
    ),
    "messages: a picture that another model was shown": Row(
        path=MESSAGES,
        turns=[
            {"role": "user", "content": [BLOCK]},
            A_CAT,
            HI,
        ],
        said="UA",
    ),
    "messages: a question behind one that was refused for its picture": Row(
        path=MESSAGES,
        turns=[{"role": "user", "content": [BLOCK]}, HI],
        said="UA",
    ),
    "messages: no content in a result": Row(path=MESSAGES, turns=anthropic_call({}, []), said=""),
    # -- ollama
    "ollama: null for arguments": Row(path=OLLAMA, turns=ollama_call(None), arguments="{}"),
    "ollama: a text for arguments": Row(path=OLLAMA, turns=ollama_call(CUT), arguments=CUT),
    "ollama: a picture in a result": Row(
        path=OLLAMA, turns=ollama_call({}, images=["aa"]), said=f"{NO_IMAGE}RA"
    ),
    "ollama: a picture that another model was shown": Row(
        path=OLLAMA,
        turns=[{**HI, "images": ["aa"]}, A_CAT, HI],
        said="UA",
    ),
    # -- umad's own
    "native: arguments that were cut off": Row(
        path=NATIVE, turns=openai_call(arguments=CUT), arguments=CUT
    ),
    "native: a picture in a result": Row(path=NATIVE, turns=tool([PICTURE]), said=NO_IMAGE),
}


@pytest.mark.parametrize("meant", ROWS)
def test_a_history_is_answered_with_what_was_said_in_it(meant: str) -> None:
    row = ROWS[meant]

    turns = asked(row.path, row.turns)

    if row.said is not None:
        assert turns[-1].content == row.said
    if row.arguments is not None:
        (call,) = [call for turn in turns for call in turn.tool_calls]
        assert isinstance(call, ToolCall)
        assert (call.name, call.arguments) == ("look", row.arguments)


PIXEL = "iVBORw0KGgo="
NOW: list[tuple[str, Any, str]] = [
    (
        CHAT,
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        "messages.0.content.0.image_url.url",
    ),
    (
        NATIVE,
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        "messages.0.content.0.image_url.url",
    ),
    (
        RESPONSES,
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
        "input.0.content.0.image_url",
    ),
    (
        MESSAGES,
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        "messages.0.content.0.source.data",
    ),
    (OLLAMA, PIXEL, "messages.0.images.0"),
]
WRONG: Any = {
    PIXEL: "*no base64*",
    f"data:image/png;base64,{PIXEL}": "https://example.com/cat.png",
}


def now(path: str, part: Any) -> dict[str, Any]:
    """A body that asks about a picture."""
    turn = {**HI, "images": [part]} if path == OLLAMA else {"role": "user", "content": [part]}
    if path == RESPONSES:
        return {"input": [turn], "store": False}
    body: dict[str, Any] = {"model": "scripted", "messages": [turn], "stream": False}
    return body if path == OLLAMA else {**body, "max_tokens": 9}


@pytest.mark.parametrize(("path", "part", "place"), NOW)
def test_a_picture_that_is_asked_about_now_reaches_the_engine_with_its_place(
    path: str, part: Any, place: str
) -> None:
    service = Scripted(["Yes."])

    answer = post(service, path, now(path, part))

    assert answer.status_code == 200, answer.text
    (turn,) = service.asked[0].messages or ()
    assert [(one.at, one.file.kind, one.file.data) for one in turn.media] == [
        (0, "image", b"\x89PNG\r\n\x1a\n")
    ]
    assert turn.media[0].file.place == place


@pytest.mark.parametrize(("path", "part", "place"), NOW)
def test_a_picture_that_is_written_wrong_is_refused_by_its_place_where_it_is_asked_about(
    path: str, part: Any, place: str
) -> None:
    text = json.dumps(now(path, part))
    for right, wrong in WRONG.items():
        text = text.replace(json.dumps(right), json.dumps(wrong))

    answer = post(Scripted(), path, json.loads(text))

    assert answer.status_code == 400
    assert "base64" in answer.text
    assert place in answer.text
