"""The `openai` package with images, against a real gateway on nano with a projector."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.test_media import ROWS, photo
from tests.gateway.gateways import LiveGateway

WORDS: Any = {"type": "text", "text": "What is it?"}
SHORT: Any = {"model": "nano", "max_tokens": 4, "temperature": 0.0}
BRIEF: Any = {"model": "nano", "max_output_tokens": 4, "temperature": 0.0}


@pytest.fixture
def client(seeing: LiveGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{seeing.address}/v1", api_key="none", max_retries=0, timeout=60) as one:
        yield one


def address(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def image(data: bytes, **more: Any) -> Any:
    return {"type": "image_url", "image_url": {"url": address(data), **more}}


def input_image(data: bytes) -> Any:
    return {"type": "input_image", "image_url": address(data), "detail": "auto"}


def asked_about(*parts: Any) -> Any:
    return [{"role": "user", "content": [WORDS, *parts]}]


def prompt_tokens(client: OpenAI, messages: Any) -> int:
    answer = client.chat.completions.create(messages=messages, **SHORT)
    return int(answer.usage.prompt_tokens)


# -- chat completions ------------------------------------------------------------------------------


def test_a_chat_about_images_is_answered_and_their_rows_count_as_tokens(client: OpenAI) -> None:
    about = client.chat.completions.create(messages=asked_about(image(photo(1))), **SHORT)

    assert about.choices[0].message.content is not None
    plain = prompt_tokens(client, asked_about())
    one = prompt_tokens(client, asked_about(image(photo(1), detail="high")))
    two = prompt_tokens(client, asked_about(image(photo(1)), image(photo(2))))
    assert plain + ROWS <= one
    # The marks before and behind an image are as many.
    assert two - one == one - plain


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_formats_of_openais_page_are_seen(client: OpenAI, kind: str) -> None:
    url = address(photo(1, kind=kind), kind.lower())
    part = {"type": "image_url", "image_url": {"url": url}}

    assert prompt_tokens(client, asked_about(part)) > ROWS


def test_an_answer_about_an_image_streams_and_adds_up(client: OpenAI) -> None:
    # Its own, since what is read before decides which sums are made.
    messages = asked_about(image(photo(11)))
    client.chat.completions.create(messages=messages, **SHORT)

    whole = client.chat.completions.create(messages=messages, **SHORT)
    with client.chat.completions.create(messages=messages, stream=True, **SHORT) as stream:
        pieces = [one.choices[0].delta.content or "" for one in stream if one.choices]

    assert "".join(pieces) == whole.choices[0].message.content


def test_a_second_turn_finds_the_image_read(client: OpenAI) -> None:
    turns = asked_about(image(photo(12)))
    first = client.chat.completions.create(messages=turns, **SHORT)
    said = first.choices[0].message.content
    turns += [{"role": "assistant", "content": said}, {"role": "user", "content": "Sure?"}]

    usage = client.chat.completions.create(messages=turns, **SHORT).usage

    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) > ROWS


def test_what_a_tool_brings_is_seen(client: OpenAI) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "shot", "arguments": "{}"}}
    turns: Any = [
        {"role": "user", "content": "Look at the screen"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    result = {"role": "tool", "tool_call_id": "1", "content": [WORDS]}
    seen = {**result, "content": [WORDS, image(photo(2))]}

    assert prompt_tokens(client, [*turns, seen]) >= prompt_tokens(client, [*turns, result]) + ROWS


def test_an_asynchronous_client_asks_about_several_images_at_once(seeing: LiveGateway) -> None:
    async def ask() -> list[Any]:
        base = f"{seeing.address}/v1"
        async with AsyncOpenAI(base_url=base, api_key="none", max_retries=0, timeout=60) as one:
            return await asyncio.gather(
                *(
                    one.chat.completions.create(messages=asked_about(image(photo(seed))), **SHORT)
                    for seed in range(20, 24)
                )
            )

    answers = asyncio.run(ask())

    assert [one.usage.completion_tokens for one in answers] == [4] * 4


@pytest.mark.parametrize(
    ("part", "place"),
    [
        (image(photo(1)[:300]), "messages.0.content.1.image_url.url"),
        (image(b"%PDF-1.7" + bytes(100)), "messages.0.content.1.image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            "messages.0.content.1.image_url.url",
        ),
    ],
    ids=["broken", "a PDF", "an address"],
)
def test_what_cannot_be_seen_is_a_bad_request_that_names_its_part(
    client: OpenAI, part: Any, place: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(messages=asked_about(part), **SHORT)

    assert refused.value.param == place


# -- responses -------------------------------------------------------------------------------------


def asked_of_responses(*parts: Any) -> Any:
    words = {"type": "input_text", "text": "What is it?"}
    return [{"role": "user", "content": [words, *parts]}]


def test_a_response_about_an_image_is_given_and_goes_on_by_its_id(client: OpenAI) -> None:
    first = client.responses.create(input=asked_of_responses(input_image(photo(3))), **BRIEF)
    second = client.responses.create(input="Sure?", previous_response_id=first.id, **BRIEF)
    plain = client.responses.create(input=asked_of_responses(), **BRIEF)

    assert first.usage is not None
    assert plain.usage is not None
    assert second.usage is not None
    assert first.usage.input_tokens >= plain.usage.input_tokens + ROWS
    assert second.usage.input_tokens > first.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens > ROWS


def test_an_image_sent_as_a_file_is_an_image(client: OpenAI) -> None:
    part = {"type": "input_file", "filename": "a.png", "file_data": address(photo(3))}

    sent = client.responses.create(input=asked_of_responses(part), **BRIEF)
    plain = client.responses.create(input=asked_of_responses(), **BRIEF)

    assert sent.usage is not None
    assert plain.usage is not None
    assert sent.usage.input_tokens >= plain.usage.input_tokens + ROWS


def test_a_screenshot_in_the_output_of_a_call_is_seen(client: OpenAI) -> None:
    call = {"type": "function_call", "call_id": "1", "name": "shot", "arguments": "{}"}
    asked: Any = [{"role": "user", "content": "Look at the screen"}, call]
    words = {"type": "input_text", "text": "Here:"}

    def tokens(*output: Any) -> int:
        result = {"type": "function_call_output", "call_id": "1", "output": list(output)}
        turns: Any = [*asked, result]
        return int(client.responses.create(input=turns, **BRIEF).usage.input_tokens)

    assert tokens(words, input_image(photo(4))) >= tokens(words) + ROWS


def test_a_response_about_an_image_streams(client: OpenAI) -> None:
    asked = asked_of_responses(input_image(photo(5)))

    with client.responses.create(input=asked, stream=True, **BRIEF) as stream:
        *_, last = stream

    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 4


def test_an_image_of_openais_own_store_of_files_is_refused_by_its_place(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(
            input=asked_of_responses({"type": "input_image", "file_id": "file-1"}), **BRIEF
        )

    assert (refused.value.param or "").startswith("input.0.content.1")


# -- what a model tells ----------------------------------------------------------------------------


def test_a_model_tells_that_it_sees(seeing: LiveGateway) -> None:
    with seeing.http() as http:
        (listed,) = [one for one in http.get("/v1/models").json()["data"] if one["id"] == "nano"]
        shown = http.post("/api/show", json={"model": "nano"}).json()
        props = http.get("/props").json()

    assert listed["architecture"]["input_modalities"] == ["text", "image"]
    assert "vision" in shown["capabilities"]
    assert props["modalities"] == {"vision": True, "video": False, "audio": False}


def test_a_model_without_eyes_says_so_where_it_is_asked_about_an_image(
    gateway: LiveGateway,
) -> None:
    base = f"{gateway.address}/v1"
    with (
        OpenAI(base_url=base, api_key="none", max_retries=0, timeout=60) as blind,
        pytest.raises(openai.APIStatusError, match="image") as refused,
    ):
        blind.chat.completions.create(messages=asked_about(image(photo(1))), **SHORT)

    assert refused.value.param == "messages.0.content.1.image_url.url"
