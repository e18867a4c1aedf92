"""Tool calls and thinking in OpenAI's shapes, from a model whose words are scripted."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from tests.gateway.scripted_service import TOOL, Scripted, post


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


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


def test_logprobs_of_a_response_are_of_its_text_and_not_of_thinking_or_calls(
    scripted: Scripted,
) -> None:
    body = {
        "input": "Weather?",
        "tools": [{"type": "function", **TOOL}],
        "store": False,
        "include": ["message.output_text.logprobs"],
    }
    answer = post(scripted, "/v1/responses", body)

    (message,) = (one for one in answer.json()["output"] if one["type"] == "message")
    listed = message["content"][0]["logprobs"]
    assert [one["token"] for one in listed] == ["weather.</think>\n\nLet me look."]


@pytest.mark.parametrize(
    ("kind", "given"), [("string", "5"), ("integer", 5)], ids=["text", "number"]
)
def test_a_bare_value_is_what_the_offered_tool_takes(kind: str, given: object) -> None:
    words = ("<tool_call>\n<function=set>\n<para", "meter=to>\n5\n</parameter>\n", "</function>")
    parameters = {"type": "object", "properties": {"to": {"type": kind}}}
    tool = {"type": "function", "function": {"name": "set", "parameters": parameters}}
    body = {"messages": CHAT["messages"], "tools": [tool]}

    answer = post(Scripted(words, family="qwen_coder"), "/v1/chat/completions", body)

    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"to": given}
