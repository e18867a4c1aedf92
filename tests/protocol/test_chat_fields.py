"""Chats and constraints from outside: what is wrong is named, what is right arrives as meant."""

from typing import Any

import msgpack
import pytest

from umad.constraint import Constraint
from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall, from_json, to_json
from umad.errors import BadRequest
from umad.protocol.messages import Generate, encode_request, parse_request
from umad.request import GenerateRequest, SamplingParams

TURNS = [{"role": "user", "content": "hi"}]
TOOL = {"name": "f", "description": "d", "parameters": {"type": "object"}}
CHAT = {"type": "chat", "id": 1, "messages": TURNS}
GENERATE = {"type": "generate", "id": 1, "prompt": "x"}


def parsed(body: dict[str, Any]) -> GenerateRequest:
    request = parse_request(msgpack.packb(body))
    assert isinstance(request, Generate)
    return request.request


def turn(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": "", **fields}]}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        (turn(name=""), "messages[0].name"),
        (turn(tool_call_id=1), "messages[0].tool_call_id"),
        (turn(reasoning=[1]), "messages[0].reasoning"),
        (turn(tool_calls={}), "messages[0].tool_calls"),
        (turn(tool_calls=[1]), "messages[0].tool_calls[0]"),
        (turn(tool_calls=[{"name": "f"}]), "messages[0].tool_calls[0].arguments"),
        (
            turn(tool_calls=[{"name": "f", "arguments": {}}]),
            "messages[0].tool_calls[0].arguments",
        ),
        (
            turn(tool_calls=[{"name": "f", "arguments": "", "args": 1}]),
            "messages[0].tool_calls[0]",
        ),
        ({"tools": {}}, "tools"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": [{"description": "d"}]}, "tools[0].name"),
        ({"tools": [{**TOOL, "name": 1}]}, "tools[0].name"),
        ({"tools": [{**TOOL, "parameters": "{"}]}, "tools[0].parameters"),
        ({"tools": [{**TOOL, "parameters": "[]"}]}, "tools[0].parameters"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"name": "f"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_name": "g", "tools": [TOOL]}, "tool_name"),
        ({"tool_name": "f", "tools": [TOOL], "tool_choice": "none"}, "tool_name"),
        ({"template_kwargs": "x"}, "template_kwargs"),
        ({"template_kwargs": [1]}, "template_kwargs"),
        ({"template_kwargs": {"messages": []}}, "template_kwargs.messages"),
        ({"continue_final": 1}, "continue_final"),
        ({"continue_final": True}, "continue_final"),
        ({"markup": "yes"}, "markup"),
        ({"special": True}, "special"),
        ({"tool_name": "f", "tools": [TOOL], "json_schema": {}}, "json_schema"),
    ],
    ids=repr,
)
def test_what_is_wrong_in_a_chat_is_named(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed({**CHAT, **fields})

    assert caught.value.field == place
    assert caught.value.request_id == 1


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"tools": []}, "tools"),
        ({"special": "no"}, "special"),
        ({"grammar": ""}, "grammar"),
        ({"grammar": 1}, "grammar"),
        ({"grammar": {"abnf": "x"}}, "grammar"),
        ({"grammar": {"lark": 1}}, "grammar.lark"),
        ({"grammar": {"lark": "x", "regex": "x"}}, "grammar"),
        ({"grammar": "x" * (2**20 + 1)}, "grammar"),
        ({"json_schema": "{"}, "json_schema"),
        ({"json_schema": "[]"}, "json_schema"),
        ({"json_schema": "[" * 100_000}, "json_schema"),
        ({"json_schema": [1]}, "json_schema"),
        ({"json_schema": {}, "grammar": "x"}, "json_schema"),
        ({"json_schema": {}, "ignore_eos": True}, "ignore_eos"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_wrong_in_a_constraint_is_named(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed({**GENERATE, **fields})

    assert caught.value.field == place


def test_a_misspelt_choice_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean required"):
        parsed({**CHAT, "tools": [TOOL], "tool_choice": "require"})


def test_a_grammar_that_is_a_string_is_gbnf() -> None:
    request = parsed({**GENERATE, "grammar": "root ::= [a-z]"})

    assert request.constraint == Constraint(kind="gbnf", text="root ::= [a-z]")


def test_a_schema_deeper_than_a_message_may_be_comes_as_text() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(40):
        schema = {"type": "object", "properties": {"x": schema}}
    request = GenerateRequest(
        messages=(ChatMessage(role="user", content="hi"),),
        chat=ChatOptions(tools=(Tool(name="f", parameters=schema),)),
        constraint=Constraint.json_schema(schema),
    )

    arrived = parse_request(encode_request(Generate(id=1, request=request)))

    assert arrived == Generate(id=1, request=request)


def test_a_conversation_reaches_the_engine_as_it_was() -> None:
    call = ToolCall(name="f", arguments='{"x": "\u00e9"}', id="c1")
    messages = (
        ChatMessage(role="assistant", content="", tool_calls=(call,), reasoning="hm"),
        ChatMessage(role="tool", content="5", name="f", tool_call_id="c1"),
    )
    options = ChatOptions(
        tools=(Tool(name="f", description="d"),),
        tool_name="f",
        template_kwargs={"enable_thinking": False},
        markup=True,
    )

    assert from_json(to_json(messages, options)) == (messages, options)


def test_sampling_is_as_it_was_beside_a_constraint() -> None:
    sampling = SamplingParams(temperature=0.0, max_tokens=5)
    request = GenerateRequest(prompt="x", sampling=sampling, constraint=Constraint.json_schema({}))

    assert parse_request(encode_request(Generate(id=1, request=request))) == Generate(
        id=1, request=request
    )
