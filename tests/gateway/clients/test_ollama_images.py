"""The `ollama` package with images, against a real gateway on nano with a projector."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest
from ollama import AsyncClient, Client, Image

from tests.e2e.test_media import ROWS, photo
from tests.gateway.gateways import LiveGateway

GREEDY: dict[str, Any] = {"temperature": 0.0, "num_predict": 4}


@pytest.fixture
def client(seeing: LiveGateway) -> Iterator[Client]:
    with Client(host=seeing.address) as one:
        yield one


def asked_about(*images: Any) -> list[dict[str, Any]]:
    turn: dict[str, Any] = {"role": "user", "content": "What is in this image?"}
    return [{**turn, "images": list(images)} if images else turn]


def read(client: Client, messages: list[dict[str, Any]]) -> int:
    return client.chat("nano", messages=messages, options=GREEDY).prompt_eval_count or 0


def test_an_image_is_a_path_bytes_or_base64(client: Client, tmp_path: Path) -> None:
    data = photo(1)
    path = tmp_path / "image.png"
    path.write_bytes(data)
    plain = read(client, asked_about())

    counts = {
        read(client, asked_about(one))
        for one in (str(path), path, data, base64.b64encode(data).decode(), Image(value=path))
    }

    # The same image each time.
    assert len(counts) == 1
    assert counts.pop() >= plain + ROWS


def test_two_images_are_two(client: Client) -> None:
    plain, one, two = (
        read(client, asked_about(*[photo(seed) for seed in range(number)])) for number in range(3)
    )

    assert two - one == one - plain >= ROWS


def test_a_chat_about_an_image_streams_and_adds_up(client: Client) -> None:
    messages = asked_about(photo(3))
    client.chat("nano", messages=messages, options=GREEDY)

    whole = client.chat("nano", messages=messages, options=GREEDY)
    pieces = list(client.chat("nano", messages=messages, options=GREEDY, stream=True))

    assert "".join(one.message.content or "" for one in pieces) == whole.message.content
    assert pieces[-1].eval_count == 4


def test_a_conversation_about_an_image_goes_on(client: Client) -> None:
    messages: list[Any] = asked_about(photo(4))
    first = client.chat("nano", messages=messages, options=GREEDY)
    messages += [first.message, {"role": "user", "content": "Are you sure?"}]

    second = client.chat("nano", messages=messages, options=GREEDY)

    assert (second.prompt_eval_count or 0) > (first.prompt_eval_count or 0)


def test_a_prompt_with_an_image_is_answered(client: Client) -> None:
    with_image = client.generate(
        "nano", "Explain this comic:", images=[photo(5)], options=GREEDY, stream=False
    )
    plain = client.generate("nano", "Explain this comic:", options=GREEDY)

    assert with_image.response
    assert (with_image.prompt_eval_count or 0) >= (plain.prompt_eval_count or 0) + ROWS
    *_, last = client.generate(
        "nano", "Explain this comic:", images=[photo(5)], options=GREEDY, stream=True
    )
    assert last.prompt_eval_count == with_image.prompt_eval_count


def test_an_asynchronous_client_asks_about_several_images_at_once(seeing: LiveGateway) -> None:
    async def ask() -> list[Any]:
        async with AsyncClient(host=seeing.address) as one:
            return await asyncio.gather(
                *(
                    one.chat("nano", messages=asked_about(photo(seed)), options=GREEDY)
                    for seed in range(20, 24)
                )
            )

    assert [one.eval_count for one in asyncio.run(ask())] == [4] * 4


def test_a_broken_image_is_a_bad_request_that_names_it(client: Client) -> None:
    with pytest.raises(ollama.ResponseError, match=r"messages\.0\.images\.0") as refused:
        client.chat("nano", messages=asked_about(photo(1)[:300]), options=GREEDY)

    assert refused.value.status_code == 400


def test_a_model_tells_that_it_sees(client: Client) -> None:
    assert "vision" in (client.show("nano").capabilities or [])
