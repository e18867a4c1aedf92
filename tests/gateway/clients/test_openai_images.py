"""The `openai` package with images, against a real gateway on nano with a projector."""

import base64
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.e2e.test_media import ROWS, photo
from tests.engine.projector_files import write_gemma3
from tests.gateway.gateways import LiveGateway, live_gateway


@pytest.fixture(scope="module")
def seeing() -> Iterator[LiveGateway]:
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    try:
        projector = write_gemma3(folder / "mmproj-nano.gguf")
        with live_gateway(folder, "nano", "--mmproj", str(projector)) as gateway:
            yield gateway
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client(seeing: LiveGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{seeing.address}/v1", api_key="none", max_retries=0, timeout=60) as one:
        yield one


def asked_about(data: bytes) -> Any:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    image = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]


def test_a_chat_about_an_image_is_answered_and_its_rows_count_as_tokens(client: OpenAI) -> None:
    about = client.chat.completions.create(
        model="nano", messages=asked_about(photo(1)), max_tokens=4
    )
    plain = client.chat.completions.create(
        model="nano", messages=[{"role": "user", "content": "What is it?"}], max_tokens=4
    )

    assert about.choices[0].message.content is not None
    assert about.usage is not None
    assert plain.usage is not None
    assert about.usage.prompt_tokens >= plain.usage.prompt_tokens + ROWS


def test_a_broken_image_is_a_bad_request_that_names_its_part(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="nano", messages=asked_about(photo(1)[:300]), max_tokens=4
        )

    assert refused.value.param == "messages.0.content.1.image_url.url"


def test_a_model_tells_that_it_sees(seeing: LiveGateway) -> None:
    with seeing.http() as http:
        (listed,) = [one for one in http.get("/v1/models").json()["data"] if one["id"] == "nano"]
        shown = http.post("/api/show", json={"model": "nano"}).json()
        props = http.get("/props").json()

    assert listed["architecture"]["input_modalities"] == ["text", "image"]
    assert "vision" in shown["capabilities"]
    assert props["modalities"] == {"vision": True, "video": False, "audio": False}
