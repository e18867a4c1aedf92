"""The `anthropic` package with images, against a real gateway on nano with a projector.

What is asked is asked as in Anthropic's pages on vision and on tools.
"""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message

from tests.e2e.test_media import ROWS, photo
from tests.gateway.gateways import LiveGateway

SHORT: Any = {"model": "nano", "max_tokens": 4, "extra_body": {"temperature": 0.0}}


@pytest.fixture
def client(seeing: LiveGateway) -> Iterator[Anthropic]:
    with Anthropic(base_url=seeing.address, api_key="none", max_retries=0, timeout=60) as one:
        yield one


def image(data: bytes, kind: str = "image/png", **more: Any) -> Any:
    packed = base64.b64encode(data).decode()
    source = {"type": "base64", "media_type": kind, "data": packed}
    return {"type": "image", "source": source, **more}


def text(words: str) -> Any:
    return {"type": "text", "text": words}


def asked_about(*images: Any) -> Any:
    return [{"role": "user", "content": [*images, text("What is it?")]}]


def read(message: Message) -> int:
    usage = message.usage
    return usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_a_message_about_an_image_is_answered_and_its_rows_count_as_tokens(
    client: Anthropic,
) -> None:
    about = client.messages.create(messages=asked_about(image(photo(1))), **SHORT)
    plain = client.messages.create(messages=asked_about(), **SHORT)

    Message.model_validate(about.model_dump(), strict=True)
    assert about.usage.output_tokens == 4
    assert read(about) >= read(plain) + ROWS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_formats_of_anthropics_page_are_seen(client: Anthropic, kind: str) -> None:
    part = image(photo(1, kind=kind), f"image/{kind.lower()}")

    assert read(client.messages.create(messages=asked_about(part), **SHORT)) > ROWS


def test_several_images_with_words_between_them_are_seen(client: Anthropic) -> None:
    content = [
        text("Image 1:"),
        image(photo(1)),
        text("Image 2:"),
        image(photo(2)),
        text("How are these images different?"),
    ]
    several = client.messages.create(
        messages=[{"role": "user", "content": content}], system="Answer in German.", **SHORT
    )

    assert read(several) > 2 * ROWS


def test_a_stream_about_an_image_adds_up_to_the_message(client: Anthropic) -> None:
    asked = asked_about(image(photo(3), cache_control={"type": "ephemeral"}))
    client.messages.create(messages=asked, **SHORT)

    whole = client.messages.create(messages=asked, **SHORT)
    with client.messages.stream(messages=asked, **SHORT) as stream:
        streamed = stream.get_final_message()

    assert [one.model_dump() for one in streamed.content] == [
        one.model_dump() for one in whole.content
    ]


def test_a_second_turn_finds_the_image_read(client: Anthropic) -> None:
    turns = asked_about(image(photo(4)))
    first = client.messages.create(messages=turns, **SHORT)
    turns += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "Are you sure?"},
    ]

    second = client.messages.create(messages=turns, **SHORT)

    assert (second.usage.cache_read_input_tokens or 0) > ROWS


def test_a_screenshot_that_a_tool_brings_is_seen(client: Anthropic) -> None:
    tool: Any = {"name": "shot", "input_schema": {"type": "object", "properties": {}}}

    def tokens(*content: Any) -> int:
        use = {"type": "tool_use", "id": "toolu_1", "name": "shot", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": list(content)}
        turns: Any = [
            {"role": "user", "content": "What is on the screen?"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ]
        return read(client.messages.create(messages=turns, tools=[tool], **SHORT))

    assert tokens(text("Here:"), image(photo(5))) >= tokens(text("Here:")) + ROWS


def test_images_are_counted_as_they_are_read(client: Anthropic) -> None:
    asked = asked_about(image(photo(6)))

    counted = client.messages.count_tokens(model="nano", messages=asked)

    assert counted.input_tokens == read(client.messages.create(messages=asked, **SHORT)) > ROWS


def test_an_asynchronous_client_asks_about_several_images_at_once(seeing: LiveGateway) -> None:
    async def ask() -> list[Message]:
        address = seeing.address
        async with AsyncAnthropic(
            base_url=address, api_key="none", max_retries=0, timeout=60
        ) as one:
            return await asyncio.gather(
                *(
                    one.messages.create(messages=asked_about(image(photo(seed))), **SHORT)
                    for seed in range(20, 24)
                )
            )

    assert [one.usage.output_tokens for one in asyncio.run(ask())] == [4] * 4


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (image(photo(1)[:300]), "messages.0.content.0.source.data"),
        (image(b"%PDF-1.7" + bytes(100), "image/jpeg"), "PDF"),
        (
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}},
            "messages.0.content.0.source.url",
        ),
        (
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            "messages.0.content.0.source",
        ),
    ],
    ids=["broken", "a PDF", "an address", "a stored file"],
)
def test_what_cannot_be_seen_is_a_bad_request_that_says_which(
    client: Anthropic, part: Any, said: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=said):
        client.messages.create(messages=asked_about(part), **SHORT)


def test_a_model_tells_that_it_sees(client: Anthropic) -> None:
    (listed,) = client.models.list().data

    assert listed.id == "nano"
    assert (listed.model_extra or {})["architecture"]["input_modalities"] == ["text", "image"]
