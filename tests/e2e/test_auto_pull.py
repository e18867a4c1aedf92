"""`auto_pull`: a request fetches the model that it names, from a hub on loopback, and is answered.

A real daemon, a real gateway, the real process of the job, the hub's real client, a real engine.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.test_jobs import FILE, REFERENCE, REPOSITORY, House, surroundings
from tests.gateway.gateways import live_gateway
from umad import nano

NAME = FILE.removesuffix(".gguf")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with surroundings() as (folder, hub, environ):
        hub.add(REPOSITORY, {FILE: nano.path().read_bytes()})
        settings = {**environ, "UMAD_AUTO_PULL": "true"}
        with live_gateway(folder, "nano", environment=settings) as gateway:
            yield House(folder=folder, hub=hub, gateway=gateway, environ=environ)


def chat(http: httpx.Client, model: str, **more: Any) -> httpx.Response:
    turns = [{"role": "user", "content": "def fibonacci"}]
    body = {"model": model, "messages": turns, "max_tokens": 3, "temperature": 0, **more}
    return http.post("/v1/chat/completions", json=body)


def test_requests_that_name_a_model_of_the_hub_fetch_it_once_and_are_all_answered(
    house: House,
) -> None:
    def ask(stream: bool) -> str:
        with house.http() as http:
            answer = chat(http, REFERENCE, stream=stream)
        assert answer.status_code == 200, answer.text
        if not stream:
            said: str = answer.json()["choices"][0]["message"]["content"]
            return said
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines()]
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return "".join(one["choices"][0]["delta"].get("content") or "" for one in events)

    with ThreadPoolExecutor(2) as threads:
        whole, streamed = threads.map(ask, (False, True))
    with house.http() as http:
        own = chat(http, "nano").json()["choices"][0]["message"]["content"]
        listed = {one["id"]: one["state"] for one in http.get("/v1/models").json()["data"]}

    assert whole == streamed == own, "it is the same model"
    assert [(one["kind"], one["state"], one["what"]) for one in house.jobs()] == [
        ("pull", "done", REFERENCE)
    ]
    assert listed == {"nano": "ready", NAME: "ready"}


def test_one_that_the_hub_does_not_have_is_refused_with_the_hubs_reason(house: House) -> None:
    with house.http() as http:
        answer = chat(http, "hf:org/none-GGUF")

    assert answer.status_code == 404
    assert "no repository org/none-GGUF" in answer.json()["error"]["message"]


def test_a_prompt_like_name_fetches_nothing(house: House) -> None:
    before = len(house.jobs())
    with house.http() as http:
        answer = chat(http, "gpt-9-ultra")

    assert answer.status_code == 404
    assert len(house.jobs()) == before
