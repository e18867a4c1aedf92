"""Tool calls through the packages, of a model that writes them by script."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from ollama import Client

from tests.gateway.scripted import LAST_WORDS, MODEL, hermes_call, scripted_gateway

QUESTION: Any = {"role": "user", "content": "What is the weather in Oslo?"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ANTHROPIC_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}
OLLAMA_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


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


@pytest.mark.parametrize("stream", [False, True])
def test_ollamas_package_gets_a_whole_call_and_an_answer_to_its_result(
    address: str, stream: bool
) -> None:
    with Client(host=address) as client:
        asked: Any = {"model": MODEL, "messages": [QUESTION], "tools": [OLLAMA_TOOL]}
        told: Any = client.chat(**asked, stream=stream)
        answers = list(told) if stream else [told]
        calls = [call for one in answers for call in one.message.tool_calls or ()]
        turns: Any = [
            QUESTION,
            {"role": "assistant", "tool_calls": [call.model_dump() for call in calls]},
            {"role": "tool", "tool_name": "weather", "content": "4 degrees"},
        ]
        answered = client.chat(MODEL, messages=turns, tools=[OLLAMA_TOOL])

    (call,) = calls
    assert (call.function.name, dict(call.function.arguments)) == ("weather", {"city": "Oslo"})
    assert answers[-1].done_reason == "stop"
    assert answered.message.content == LAST_WORDS
