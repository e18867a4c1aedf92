"""The `anthropic` package against a real gateway on nano."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import Message, ModelInfo, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.gateway.gateways import LiveGateway

HELLO: Any = [{"role": "user", "content": "Hello there"}]
# The package no longer has an argument for it.
GREEDY: Any = {"extra_body": {"temperature": 0.0}}
WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[Anthropic]:
    with Anthropic(base_url=gateway.address, api_key="none", max_retries=0, timeout=60) as one:
        yield one


def test_a_message_has_anthropics_shape_and_counts(client: Anthropic) -> None:
    # Drawn at random it may end before its fifth token.
    message = client.messages.create(model="nano", messages=HELLO, max_tokens=5, **GREEDY)

    Message.model_validate(message.model_dump(), strict=True)
    (block,) = message.content
    assert block.type == "text"
    assert block.text
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 5
    assert message.model == "nano"


def test_a_stream_adds_up_to_the_message_that_is_sent_at_once(client: Anthropic) -> None:
    asked: Any = {
        "model": "nano",
        "messages": HELLO,
        "max_tokens": 12,
        "extra_body": {"temperature": 0.0},
    }

    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        events = list(stream)
        streamed = stream.get_final_message()

    assert [block.model_dump() for block in streamed.content] == [
        block.model_dump() for block in whole.content
    ]
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == 12
    assert streamed.usage.input_tokens + (streamed.usage.cache_read_input_tokens or 0) > 0
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"


def test_every_event_on_the_wire_is_one_of_the_packages_own(gateway: LiveGateway) -> None:
    body = {"model": "nano", "messages": HELLO, "max_tokens": 4, "stream": True}

    with gateway.http() as http:
        lines = http.post("/v1/messages", json=body).text.splitlines()

    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert names[0] == "ping"
    assert len(names) == len(data)
    for name, one in zip(names, data, strict=True):
        if name != "ping":
            assert _EVENT.validate_json(one).type == name


def test_a_stop_sequence_is_named_and_not_part_of_the_text(client: Anthropic) -> None:
    asked: Any = {
        "model": "nano",
        "messages": HELLO,
        "max_tokens": 12,
        "extra_body": {"temperature": 0.0},
    }
    (block,) = client.messages.create(**asked).content
    assert block.type == "text"
    word = block.text.split()[2]

    stopped = client.messages.create(**asked, stop_sequences=[word])

    (text,) = stopped.content
    assert text.type == "text"
    assert word not in text.text
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", word)


def test_tokens_are_counted_as_the_message_that_follows_counts_them(client: Anthropic) -> None:
    system = "You are a patient teacher."
    counted = client.messages.count_tokens(model="nano", messages=HELLO, system=system)

    message = client.messages.create(model="nano", messages=HELLO, system=system, max_tokens=1)

    usage = message.usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_claude_codes_changing_line_does_not_cost_the_prefix(client: Anthropic) -> None:
    prompt = "You are an agent that reads and writes files with great care. " * 20

    def cached(value: str) -> int:
        line = f"x-anthropic-billing-header: cc_version={value}; cc_entrypoint=cli; cch={value};"
        blocks: Any = [{"type": "text", "text": line}, {"type": "text", "text": prompt}]
        message = client.beta.messages.create(
            model="claude-any", messages=HELLO, system=blocks, max_tokens=1, betas=["some-2025"]
        )
        return message.usage.cache_read_input_tokens or 0

    cached("one")

    assert cached("two") > 100


def test_a_schema_is_followed(client: Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    config: Any = {"format": {"type": "json_schema", "schema": schema}}

    message = client.messages.create(
        model="nano", messages=HELLO, max_tokens=60, output_config=config
    )

    (block,) = message.content
    assert block.type == "text"
    assert isinstance(json.loads(block.text)["yes"], bool)


def test_a_forced_tool_is_called(client: Anthropic) -> None:
    message = client.messages.create(
        model="nano",
        messages=HELLO,
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "weather"},
        max_tokens=100,
    )

    calls = [block for block in message.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["weather"]
    assert message.stop_reason in ("tool_use", "max_tokens")


def test_tools_of_every_type_and_results_are_taken(client: Anthropic) -> None:
    asked: Any = [
        *HELLO,
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "4 degrees"}],
        },
    ]
    search: Any = {"type": "web_search_20250305", "name": "web_search"}

    # Drawn at random it may end before its third token.
    message = client.messages.create(
        model="nano", messages=asked, tools=[WEATHER, search], max_tokens=3, **GREEDY
    )

    assert message.usage.output_tokens == 3


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        ({"messages": []}, anthropic.BadRequestError, "messages"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens"),
        ({"extra_body": {"temperature": 500.0}}, anthropic.BadRequestError, "temperature"),
        ({"stop_sequences": ["x" * 600]}, anthropic.BadRequestError, "stop_sequences"),
        ({"model": "nono"}, anthropic.NotFoundError, "nano"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            anthropic.BadRequestError,
            "messages.0.content.0",
        ),
        ({"messages": [{"role": "user", "content": "x " * 9000}]}, anthropic.BadRequestError, ""),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_said_as_anthropic_says_it(
    client: Anthropic,
    wrong: dict[str, Any],
    kind: type[anthropic.APIStatusError],
    says: str,
    stream: bool,
) -> None:
    asked: Any = {"model": "nano", "messages": HELLO, "max_tokens": 4, "stream": stream, **wrong}

    with pytest.raises(kind) as refusal:
        client.messages.create(**asked)

    body: Any = refusal.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] in ("invalid_request_error", "not_found_error")
    assert says in body["error"]["message"]
    assert body["request_id"] == refusal.value.response.headers["x-request-id"]


def test_models_are_listed_in_anthropics_shape_too(client: Anthropic) -> None:
    listed = list(client.models.list())

    assert [one.display_name for one in listed] == ["nano", "gpt-4o"]
    for one in (*listed, client.models.retrieve("claude-opus-4-1")):
        ModelInfo.model_validate(one.model_dump())
        assert one.max_input_tokens
