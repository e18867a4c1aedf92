"""The `openai` package with sounds in chats, against a real gateway on nano with a projector."""

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.gateway.gateways import LiveGateway
from tests.speech.recordings import noise_bytes

# A sound of up to half a minute is 375 rows.
ROWS = 375
WORDS: Any = {"type": "text", "text": "What is said?"}
SHORT: Any = {"model": "nano", "max_tokens": 4, "temperature": 0.0}


@pytest.fixture
def client(listening: LiveGateway) -> Iterator[OpenAI]:
    base = f"{listening.address}/v1"
    with OpenAI(base_url=base, api_key="none", max_retries=0, timeout=60) as one:
        yield one


def asked_about(*sounds: bytes, kind: str = "wav") -> Any:
    parts = [
        {
            "type": "input_audio",
            "input_audio": {"data": base64.b64encode(one).decode(), "format": kind},
        }
        for one in sounds
    ]
    return [{"role": "user", "content": [WORDS, *parts]}]


def test_a_chat_about_a_sound_is_answered_and_its_rows_count_as_tokens(client: OpenAI) -> None:
    about = client.chat.completions.create(messages=asked_about(noise_bytes(3.0)), **SHORT)
    plain = client.chat.completions.create(messages=asked_about(), **SHORT)

    assert about.choices[0].message.content is not None
    assert about.usage is not None
    assert plain.usage is not None
    assert about.usage.prompt_tokens >= plain.usage.prompt_tokens + ROWS


def test_an_answer_about_a_sound_streams(client: OpenAI) -> None:
    asked = asked_about(noise_bytes(2.0), kind="mp3")  # whatever is said, the file tells

    with client.chat.completions.create(
        messages=asked, stream=True, stream_options={"include_usage": True}, **SHORT
    ) as stream:
        *_, last = stream

    assert last.usage is not None
    assert (last.usage.completion_tokens, last.usage.prompt_tokens > ROWS) == (4, True)


def test_a_broken_sound_is_a_bad_request_that_names_its_part(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(messages=asked_about(b"no sound"), **SHORT)

    assert refused.value.param == "messages.0.content.1.input_audio.data"


def test_a_model_tells_that_it_hears_and_that_it_does_not_see(
    client: OpenAI, listening: LiveGateway
) -> None:
    with listening.http() as http:
        (listed,) = http.get("/v1/models").json()["data"]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}

    assert listed["architecture"]["input_modalities"] == ["text", "audio"]
    with pytest.raises(openai.APIStatusError, match="image") as refused:
        client.chat.completions.create(
            messages=[{"role": "user", "content": [WORDS, picture]}],  # type: ignore[misc,list-item]
            **SHORT,
        )
    assert refused.value.param == "messages.0.content.1.image_url.url"
