"""Tool calls and thinking in OpenAI's shapes, from a model whose words are scripted."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from typing_extensions import override

from umad.client import AsyncClient
from umad.config import HttpSettings
from umad.gateway.app import create_app
from umad.request import GenerateRequest, Timings, Usage
from umad.service import Accepted, Done, Event, Tokens

TOOL = {"name": "get_weather", "parameters": {"type": "object"}}
WORDS = (
    "<think>",
    "It is about ",
    "weather.</think>\n\nLet me look.",
    '\n<tool_call>\n{"name": "get_weather", "argu',
    'ments": {"city": "Par',
    'is"}}\n</tool_call>',
)
USAGE = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=6)


class Scripted(AsyncClient):
    """Says `WORDS` to everybody; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__("/nowhere.sock")
        self.asked: list[GenerateRequest] = []

    @override
    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        self.asked.append(request)
        yield Accepted(request="r1", model="scripted", lane="interactive", queue_position=0)
        for at, words in enumerate(WORDS):
            yield Tokens(index=0, text=words, ids=(at,))
        yield Done(
            index=0,
            finish_reason="stop",
            usage=USAGE,
            timings=Timings(queued_ms=0.0, first_token_ms=1.0, total_ms=2.0),
        )

    @override
    async def models(self) -> list[Mapping[str, Any]]:
        facts = {"chat_family": "hermes", "thinking": ("<think>", "</think>"), "takes_tools": True}
        return [{"name": "scripted", "state": "ready", **facts}]


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


def post(service: Scripted, path: str, body: dict[str, Any]) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(HttpSettings(), service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post(path, json=body)

    return asyncio.run(ask())


CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Weather in Paris?"}],
    "tools": [{"type": "function", "function": TOOL}, {"type": "web_search"}],
}


def test_a_call_thinking_and_text_are_told_apart(scripted: Scripted) -> None:
    answer = post(scripted, "/v1/chat/completions", CHAT)

    whole = ChatCompletion.model_validate(answer.json())
    (choice,) = whole.choices
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content or "").strip() == "Let me look."
    assert answer.json()["choices"][0]["message"]["reasoning_content"] == "It is about weather."
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "get_weather",
        {"city": "Paris"},
    )
    assert whole.usage is not None
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 4


def test_a_stream_brings_the_arguments_as_deltas_under_one_id(scripted: Scripted) -> None:
    answer = post(scripted, "/v1/chat/completions", {**CHAT, "stream": True})

    rows = [json.loads(one[6:]) for one in answer.text.split("\n") if one.startswith("data: {")]
    chunks = [ChatCompletionChunk.model_validate(one) for one in rows]
    calls = [
        call
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or ()
    ]
    assert [call.id for call in calls if call.id] == [calls[0].id]
    pieces = [call.function.arguments for call in calls if call.function]
    assert len(pieces) > 2
    assert json.loads("".join(one or "" for one in pieces)) == {"city": "Paris"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert answer.text.endswith("data: [DONE]\n\n")


def test_without_tools_what_looks_like_a_call_is_text(scripted: Scripted) -> None:
    answer = post(scripted, "/v1/chat/completions", {"messages": CHAT["messages"]})

    message = answer.json()["choices"][0]["message"]
    assert "get_weather" in message["content"]
    assert "tool_calls" not in message


@pytest.mark.parametrize(
    ("choice", "tool_choice", "tool_name"),
    [
        ("auto", "auto", None),
        ("none", "none", None),
        ("required", "required", None),
        ({"type": "function", "function": {"name": "get_weather"}}, "auto", "get_weather"),
    ],
)
def test_the_choice_of_tools_reaches_the_engine(
    scripted: Scripted, choice: Any, tool_choice: str, tool_name: str | None
) -> None:
    post(scripted, "/v1/chat/completions", {**CHAT, "tool_choice": choice})

    (request,) = scripted.asked
    assert [tool.name for tool in request.chat.tools] == ["get_weather"]
    assert (request.chat.tool_choice, request.chat.tool_name) == (tool_choice, tool_name)


def test_a_begun_answer_is_gone_on_with(scripted: Scripted) -> None:
    turns = [*CHAT["messages"], {"role": "assistant", "content": "In Paris"}]
    post(scripted, "/v1/chat/completions", {"messages": turns})

    assert scripted.asked[0].chat.continue_final


def test_a_schema_is_what_the_engine_holds_the_answer_to(scripted: Scripted) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    given = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    post(scripted, "/v1/chat/completions", {"messages": CHAT["messages"], "response_format": given})

    constraint = scripted.asked[0].constraint
    assert constraint is not None
    assert json.loads(constraint.text) == schema


def test_a_response_has_an_item_for_thinking_text_and_call(scripted: Scripted) -> None:
    body = {"input": "Weather?", "tools": [{"type": "function", **TOOL}], "store": False}
    answer = post(scripted, "/v1/responses", body)

    response = Response.model_validate(answer.json())
    assert [one.type for one in response.output] == ["reasoning", "message", "function_call"]
    assert response.status == "completed"
    assert json.loads(answer.json()["output"][2]["arguments"]) == {"city": "Paris"}
