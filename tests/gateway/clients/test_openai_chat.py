"""The `openai` package against a real gateway on nano: chat completions."""

import json

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import BaseModel, ConfigDict

from tests.gateway.gateways import LiveGateway

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello there"}]


def test_a_chat_is_answered_with_usage_and_a_reason(client: OpenAI) -> None:
    # Drawn at random it may end before its fifth token.
    whole = client.chat.completions.create(
        model="nano", messages=HELLO, max_tokens=5, temperature=0.0
    )

    ChatCompletion.model_validate(whole.model_dump())
    (choice,) = whole.choices
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 5
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 5
    assert whole.model == "nano"


def test_a_stream_says_the_same_as_the_whole_answer_and_its_usage_last(client: OpenAI) -> None:
    kwargs = {"model": "nano", "messages": HELLO, "max_tokens": 12, "temperature": 0.0}
    whole = client.chat.completions.create(**kwargs)  # type: ignore[call-overload]
    streamed = list(
        client.chat.completions.create(  # type: ignore[call-overload]
            **kwargs, stream=True, stream_options={"include_usage": True}
        )
    )

    said = [one for chunk in streamed for one in chunk.choices]
    assert "".join(one.delta.content or "" for one in said) == whole.choices[0].message.content
    assert [one.finish_reason for one in said if one.finish_reason] == ["length"]
    assert said[0].delta.role == "assistant"
    assert streamed[-1].choices == []
    assert streamed[-1].usage.completion_tokens == 12
    assert [chunk.usage for chunk in streamed[:-1]] == [None] * (len(streamed) - 1)


def test_usage_is_not_streamed_unless_asked_for(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="nano", messages=HELLO, max_tokens=3, stream=True)
    )

    assert all(chunk.choices for chunk in chunks)


def test_n_answers_differ_and_each_has_its_index(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="nano", messages=HELLO, max_tokens=16, n=3, seed=7, temperature=1.5
    )

    assert [one.index for one in whole.choices] == [0, 1, 2]
    assert len({one.message.content for one in whole.choices}) > 1
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 48


def test_the_same_seed_draws_the_same_answer(client: OpenAI) -> None:
    texts = [
        client.chat.completions.create(
            model="nano", messages=HELLO, max_tokens=12, seed=5, temperature=1.2
        )
        .choices[0]
        .message.content
        for _ in range(3)
    ]

    # The first reads its prompt, the others find it read: another sum of the same numbers.
    assert texts[1] == texts[2]


def test_logprobs_name_each_token_and_its_alternatives(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="nano", messages=HELLO, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2
    )

    (choice,) = whole.choices
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert len(choice.logprobs.content) == 4
    assert "".join(one.token for one in choice.logprobs.content) == choice.message.content
    for one in choice.logprobs.content:
        assert one.logprob <= 0
        assert len(one.top_logprobs) == 2
        assert one.top_logprobs[0].token == one.token  # greedy: the likeliest was drawn


def test_a_biased_token_is_what_is_said(client: OpenAI) -> None:
    first = client.chat.completions.create(
        model="nano", messages=HELLO, max_tokens=6, temperature=0, logit_bias={"300": 100}
    )
    second = client.chat.completions.create(
        model="nano", messages=HELLO, max_tokens=6, temperature=0
    )

    assert first.choices[0].message.content != second.choices[0].message.content


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(client: OpenAI) -> None:
    kwargs = {"model": "nano", "messages": HELLO, "max_tokens": 24, "temperature": 0.0}
    whole = client.chat.completions.create(**kwargs)  # type: ignore[call-overload]
    text = whole.choices[0].message.content
    stop = text[4:7]

    cut = client.chat.completions.create(**kwargs, stop=[stop])  # type: ignore[call-overload]

    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_an_alias_means_the_local_model(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="claude-fable-5", messages=HELLO, max_tokens=1)

    assert whole.model == "nano"


def test_the_list_of_models_has_the_alias(client: OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["nano", "gpt-4o"]
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"


def test_parts_of_text_are_one_text_and_a_developer_is_the_system(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="nano",
        max_tokens=2,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "one "}]},
        ],
    )

    assert whole.usage is not None
    assert whole.usage.prompt_tokens > 2


class Answer(BaseModel):
    # Closed, so that a model that writes anything at all comes to its end.
    model_config = ConfigDict(extra="forbid")
    yes: bool


def test_an_answer_is_parsed_as_the_type_that_was_asked_for(client: OpenAI) -> None:
    whole = client.chat.completions.parse(
        model="nano", messages=HELLO, response_format=Answer, max_tokens=200
    )
    response = client.responses.parse(
        model="nano", input="Hello", text_format=Answer, max_output_tokens=200
    )

    assert isinstance(whole.choices[0].message.parsed, Answer)
    assert isinstance(response.output_parsed, Answer)


def test_more_tokens_than_the_daemon_allows_are_as_many_as_it_does(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="nano", messages=HELLO, max_tokens=32_000, stop=[" ", ".", "e", "a", "o", "i", "u"]
    )

    assert whole.choices[0].finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("kind", "field", "change"),
    [
        (openai.NotFoundError, "model", {"model": "gpt-99"}),
        (openai.BadRequestError, "messages.0.role", {"messages": [{"role": "x", "content": ""}]}),
        (openai.BadRequestError, "temperature", {"temperature": -1}),
        (openai.BadRequestError, "temperature", {"temperature": "warm"}),
        (openai.BadRequestError, "n", {"n": 1000}),
        (openai.BadRequestError, "top_logprobs", {"logprobs": True, "top_logprobs": 99}),
        (openai.BadRequestError, "stop", {"stop": ["x"] * 99}),
        (openai.BadRequestError, "messages", {"messages": []}),
        (openai.BadRequestError, "logit_bias", {"logit_bias": {"one": "much"}}),
        (openai.BadRequestError, "lane", {"extra_body": {"lane": "fast"}}),
        (openai.BadRequestError, "response_format.json_schema.schema", {
            "response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
        (openai.BadRequestError, "messages.0.content.0.image_url.url", {"messages": [
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:,"}}]}]}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_said_with_its_status_and_field(
    client: OpenAI, kind: type[openai.APIStatusError], field: str, change: dict[str, object],
    stream: bool,
) -> None:  # fmt: skip
    body = {"model": "nano", "messages": HELLO, "max_tokens": 2, "stream": stream, **change}

    with pytest.raises(kind) as caught:
        client.chat.completions.create(**body)  # type: ignore[call-overload]

    assert caught.value.param == field, json.dumps(caught.value.body)
    assert caught.value.request_id


def test_a_prompt_that_does_not_fit_is_told_before_the_stream_begins(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="nano", messages=[{"role": "user", "content": "word " * 20_000}], stream=True
        )

    assert caught.value.code == "context_length_exceeded"


def test_bytes_of_half_characters_are_theirs(client: OpenAI, gateway: LiveGateway) -> None:
    with gateway.http() as http:
        asked = http.post("/tokenize", json={"content": "😀", "with_pieces": True}).json()["tokens"]
    pieces = [bytes(one["piece"]) for one in asked]
    forced = client.chat.completions.create(
        model="nano",
        messages=[{"role": "user", "content": "x"}],
        max_tokens=1,
        logit_bias={str(asked[0]["id"]): 100},
        logprobs=True,
    )

    assert b"".join(pieces).decode() == "😀"
    assert len(pieces) > 1
    assert forced.choices[0].logprobs is not None
    (token,) = forced.choices[0].logprobs.content or []
    assert bytes(token.bytes or ()) == pieces[0]
