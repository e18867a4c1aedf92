"""The `openai` package against a real gateway on nano: responses."""

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.gateway.gateways import LiveGateway

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def test_a_response_has_its_text_usage_and_status(client: OpenAI) -> None:
    # Drawn at random it may end before its sixth token.
    response = client.responses.create(
        model="nano", input="Hello", max_output_tokens=6, temperature=0.0
    )

    Response.model_validate(response.model_dump())
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output_text
    assert response.usage is not None
    assert response.usage.output_tokens == 6


def test_the_next_one_goes_on_from_the_one_before(client: OpenAI) -> None:
    # Drawn at random the first may be empty, and would be no turn of the second.
    asked: Any = {"model": "nano", "max_output_tokens": 6, "temperature": 0.0}
    first = client.responses.create(**asked, input="Hello")
    apart = client.responses.create(**asked, input="And then?")

    second = client.responses.create(**asked, input="And then?", previous_response_id=first.id)

    assert second.previous_response_id == first.id
    assert second.usage is not None
    assert apart.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens >= apart.usage.input_tokens + first.usage.input_tokens
    items = client.responses.input_items.list(second.id, order="asc")
    assert [item.type for item in items] == ["message"] * 3
    assert [item.role for item in items if item.type == "message"] == ["user", "assistant", "user"]


def test_a_kept_response_can_be_had_again_until_it_is_deleted(client: OpenAI) -> None:
    made = client.responses.create(model="nano", input="Hello", max_output_tokens=3)

    assert client.responses.retrieve(made.id).output_text == made.output_text
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="nano", input="on", previous_response_id=made.id)
    assert caught.value.param == "previous_response_id"


def test_items_are_listed_page_by_page(client: OpenAI) -> None:
    turns: Any = [{"role": "user", "content": f"Turn {at}"} for at in range(5)]
    made = client.responses.create(model="nano", input=turns, max_output_tokens=2)

    def said(**more: object) -> list[str]:
        items = client.responses.input_items.list(made.id, limit=2, **more)  # type: ignore[arg-type]
        return [item.content[0].text for item in items if item.type == "message"]  # type: ignore[union-attr]

    assert said(order="asc") == [f"Turn {at}" for at in range(5)]
    assert said() == [f"Turn {at}" for at in reversed(range(5))]
    for wrong in ({"order": "up"}, {"limit": 1000}, {"after": "item_99"}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.input_items.list(made.id, **wrong)
        assert caught.value.param == next(iter(wrong))


def test_logprobs_come_where_they_are_asked_for(client: OpenAI) -> None:
    asked: Any = {"model": "nano", "input": "Hello", "max_output_tokens": 5, "temperature": 0}
    included: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}

    whole = client.responses.create(**asked, **included)
    without = client.responses.create(**asked, top_logprobs=2)
    streamed = list(client.responses.create(**asked, **included, stream=True))

    def part_of(response: Response) -> Any:
        (item,) = response.output
        return item.content[0]  # type: ignore[union-attr,index]

    listed = part_of(whole).logprobs
    assert "".join(one.token for one in listed) == whole.output_text
    assert [len(one.top_logprobs) for one in listed] == [2] * 5
    assert not part_of(without).logprobs
    deltas = [event for event in streamed if event.type == "response.output_text.delta"]
    assert [one.token for event in deltas for one in event.logprobs] == [
        one.token for one in listed
    ]
    last = part_of(streamed[-1].response)
    assert [(one.token, one.logprob) for one in last.logprobs] == [
        (one.token, one.logprob) for event in deltas for one in event.logprobs
    ]


def test_what_was_streamed_once_is_not_streamed_again(client: OpenAI) -> None:
    made = client.responses.create(model="nano", input="Hello", max_output_tokens=2)

    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.retrieve(made.id, stream=True)

    assert (caught.value.status_code, caught.value.param) == (501, "stream")


def test_one_that_is_not_to_be_stored_is_not(client: OpenAI) -> None:
    made = client.responses.create(model="nano", input="Hi", max_output_tokens=2, store=False)

    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_events_come_in_their_order_and_add_up_to_the_whole(client: OpenAI) -> None:
    with client.responses.create(
        model="nano", input="Hello", max_output_tokens=6, stream=True, temperature=0
    ) as stream:
        events = list(stream)

    for event in events:
        EVENT.validate_python(event.model_dump())
    kinds = [event.type for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert [kind for kind in kinds if kind != "response.output_text.delta"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == "".join(deltas)
    assert client.responses.retrieve(last.response.id).output_text == "".join(deltas)


def test_a_turn_of_an_agent_with_calls_and_types_of_its_own_is_read(client: OpenAI) -> None:
    response = client.responses.create(  # type: ignore[call-overload]
        model="nano",
        instructions="You are an agent.",
        max_output_tokens=4,
        tools=[
            {"type": "local_shell"},
            {"type": "custom", "name": "apply_patch", "format": {"type": "text"}},
            {"type": "function", "name": "shell", "parameters": {"type": "object"}},
        ],
        tool_choice="auto",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "list files"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
            {"type": "thing_of_tomorrow", "id": "t_1"},
        ],
    )

    assert response.usage.output_tokens >= 1


@pytest.mark.parametrize(
    ("field", "status", "change"),
    [
        ("input", 400, {"input": []}),
        ("input.0.role", 400, {"input": [{"role": "nobody", "content": "x"}]}),
        ("background", 501, {"background": True}),
        ("conversation", 501, {"conversation": "conv_1"}),
        ("prompt", 501, {"prompt": {"id": "pmpt_1"}}),
        ("top_logprobs", 400, {"top_logprobs": 99, "include": ["message.output_text.logprobs"]}),
        ("temperature", 400, {"temperature": 1000}),
        ("tools.0.name", 400, {"tools": [{"type": "function"}]}),
        ("model", 404, {"model": "gpt-99"}),
        ("input.0.content.0.image_url", 400, {"input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_field(
    gateway: LiveGateway, field: str, status: int, change: dict[str, object]
) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/responses", json={"model": "nano", "input": "x", **change})

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == field, json.dumps(answer.json())
