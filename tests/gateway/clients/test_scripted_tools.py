"""Tool calls through the packages, of a model that writes them by script."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from ollama import Client
from openai import OpenAI

from tests.gateway.scripted import LAST_WORDS, MODEL, hermes_call, scripted_gateway

QUESTION: Any = {"role": "user", "content": "What is the weather in Oslo?"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ANTHROPIC_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}
OPENAI_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("scripted")
    with scripted_gateway(folder, hermes_call("weather", {"city": "Oslo"})) as (url, _):
        yield url


def test_anthropics_package_gets_a_call_in_pieces_and_an_answer_to_its_result(
    address: str,
) -> None:
    with Anthropic(base_url=address, api_key="none", max_retries=0) as client:
        asked: Any = {"model": MODEL, "max_tokens": 500, "tools": [ANTHROPIC_TOOL]}
        with client.messages.stream(messages=[QUESTION], **asked) as stream:
            deltas = [event.delta.type for event in stream if event.type == "content_block_delta"]
            called = stream.get_final_message()
        text, call = called.content
        assert call.type == "tool_use"
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "4 degrees"}
        turns: Any = [
            QUESTION,
            {"role": "assistant", "content": [block.model_dump() for block in called.content]},
            {"role": "user", "content": [result]},
        ]
        answered = client.messages.create(messages=turns, **asked)

    assert text.type == "text"
    assert text.text.strip() == "One moment."
    assert (call.name, call.input) == ("weather", {"city": "Oslo"})
    assert deltas.count("input_json_delta") > 1
    assert called.stop_reason == "tool_use"
    (last,) = answered.content
    assert last.type == "text"
    assert last.text == LAST_WORDS
    assert answered.stop_reason == "end_turn"


def test_openais_package_gets_a_call_in_pieces_and_an_answer_to_its_result(address: str) -> None:
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        asked: Any = {"model": MODEL, "tools": [OPENAI_TOOL]}
        with client.chat.completions.stream(messages=[QUESTION], **asked) as stream:
            kinds = [event.type for event in stream]
            called = stream.get_final_completion().choices[0]
        (call,) = called.message.tool_calls or []
        result = {"role": "tool", "tool_call_id": call.id, "content": "4 degrees"}
        turns: Any = [QUESTION, called.message.model_dump(exclude_none=True), result]
        answered = client.chat.completions.create(messages=turns, **asked).choices[0]

    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Oslo"},
    )
    assert kinds.count("tool_calls.function.arguments.delta") > 1
    assert kinds.count("tool_calls.function.arguments.done") == 1
    assert called.finish_reason == "tool_calls"
    assert (answered.message.content, answered.finish_reason) == (LAST_WORDS, "stop")


def test_a_response_calls_and_the_next_one_only_brings_the_result(address: str) -> None:
    tool = {"type": "function", "strict": False, **OPENAI_TOOL["function"]}
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        asked: Any = {"model": MODEL, "tools": [tool]}
        with client.responses.stream(input="Weather in Oslo?", **asked) as stream:
            kinds = [event.type for event in stream]
            called = stream.get_final_response()
        (call,) = (item for item in called.output if item.type == "function_call")
        result: Any = {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": "4 degrees",
        }
        answered = client.responses.create(input=[result], previous_response_id=called.id, **asked)

    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Oslo"})
    assert kinds.count("response.function_call_arguments.delta") > 1
    assert answered.output_text == LAST_WORDS


@pytest.mark.parametrize("stream", [False, True])
def test_ollamas_package_gets_a_whole_call_and_an_answer_to_its_result(
    address: str, stream: bool
) -> None:
    with Client(host=address) as client:
        asked: Any = {"model": MODEL, "messages": [QUESTION], "tools": [OPENAI_TOOL]}
        told: Any = client.chat(**asked, stream=stream)
        answers = list(told) if stream else [told]
        calls = [call for one in answers for call in one.message.tool_calls or ()]
        turns: Any = [
            QUESTION,
            {"role": "assistant", "tool_calls": [call.model_dump() for call in calls]},
            {"role": "tool", "tool_name": "weather", "content": "4 degrees"},
        ]
        answered = client.chat(MODEL, messages=turns, tools=[OPENAI_TOOL])

    (call,) = calls
    assert (call.function.name, dict(call.function.arguments)) == ("weather", {"city": "Oslo"})
    assert answers[-1].done_reason == "stop"
    assert answered.message.content == LAST_WORDS
