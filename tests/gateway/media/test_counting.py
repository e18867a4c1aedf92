"""What clients find out before they send an image: whether it is read, and how many tokens it is.

Tokens are counted by an image's size, without a pixel.
"""

from typing import Any

import pytest

from tests.e2e.test_media import ROWS, n_encoded, photo
from tests.gateway.gateways import LiveGateway
from tests.gateway.media.seeing import base64_of, posted


def counted(gateway: LiveGateway, path: str, body: dict[str, Any]) -> int:
    answer = posted(gateway, path, {"model": "nano", **body})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["input_tokens"])


def bodies(data: bytes) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """By dialect: where tokens are counted, where the same body is answered, and the body."""
    url = f"data:image/png;base64,{base64_of(data)}"
    source = {"type": "base64", "media_type": "image/png", "data": base64_of(data)}
    text, question = {"type": "text", "text": "What is it?"}, {"role": "user"}
    image = {"type": "image_url", "image_url": {"url": url}}
    chat = {"messages": [{**question, "content": [text, image]}], "max_tokens": 1}
    asked = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": url},
    ]
    block = [text, {"type": "image", "source": source}]
    return {
        "chat": ("/v1/chat/completions/input_tokens", "/v1/chat/completions", chat),
        "responses": (
            "/v1/responses/input_tokens",
            "/v1/responses",
            {"input": [{**question, "content": asked}], "max_output_tokens": 16},
        ),
        "messages": (
            "/v1/messages/count_tokens",
            "/v1/messages",
            {"messages": [{**question, "content": block}], "max_tokens": 1},
        ),
    }


def used(usage: dict[str, Any]) -> int:
    """Tokens of the prompt, as the dialect tells them."""
    if "prompt_tokens" in usage:
        return int(usage["prompt_tokens"])
    return int(usage["input_tokens"]) + int(usage.get("cache_read_input_tokens") or 0)


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_as_many_tokens_are_counted_as_the_answer_reads(seeing: LiveGateway, dialect: str) -> None:
    count, answers, body = bodies(photo(31))[dialect]
    n_before = n_encoded(seeing.daemon)

    n_counted = counted(seeing, count, body)

    assert n_encoded(seeing.daemon) == n_before
    assert n_counted > ROWS
    answer = posted(seeing, answers, {"model": "nano", **body})
    assert answer.status_code == 200, answer.text
    assert used(answer.json()["usage"]) == n_counted


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_an_image_whose_pixels_are_broken_is_counted_by_its_head(
    seeing: LiveGateway, dialect: str
) -> None:
    whole = photo(32)
    count, answers, body = bodies(whole[: len(whole) // 2])[dialect]

    assert counted(seeing, count, body) == counted(seeing, count, bodies(whole)[dialect][2])
    assert posted(seeing, answers, {"model": "nano", **body}).status_code == 400


def test_a_list_of_models_says_which_read_images(seeing: LiveGateway) -> None:
    with seeing.http() as http:
        listed = http.get("/v1/models").json()

    assert listed["data"][0]["architecture"]["input_modalities"] == ["text", "image"]
    assert "multimodal" in listed["models"][0]["capabilities"]
