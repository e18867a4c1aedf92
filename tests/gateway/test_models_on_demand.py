"""A model that is not loaded is loaded for the HTTP request that names it, in every dialect."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typing_extensions import override

from tests.gateway.scripted import LAST_WORDS, faked_gateway, hermes_call
from tests.gateway.scripted_service import Scripted
from umad.client.rows import JobRow, ModelRow
from umad.config import HttpSettings
from umad.gateway.app import create_app
from umad.gateway.dialects.ollama import listing
from umad.gateway.model_facts import meant_row
from umad.gateway.presets import Presets
from umad.preset import Preset
from umad.request import GenerateRequest
from umad.service import Accepted, Event, Loading, Take
from umad.testing import FakeModel

CALL = hermes_call("weather", {"city": "Ulm"})
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
ASK = [{"role": "user", "content": "Ulm?"}]
# Each is asked for once, so that it is not loaded yet.
DIALECTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASK},
    "/v1/responses": {"input": "Ulm?"},
    "/v1/messages": {"messages": ASK, "max_tokens": 100},
    "/api/chat": {"messages": ASK, "stream": False},
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    talks = FakeModel(script=(CALL, LAST_WORDS), family="hermes")
    for number in range(len(DIALECTS)):
        talks.write(folder / f"talks-{number}.gguf")
    FakeModel().write(folder / "plain.gguf")
    gated = FakeModel(script=(CALL, LAST_WORDS), family="hermes", wait_for=str(folder / "gate"))
    gated.write(folder / "gated.gguf")
    return folder


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("demand")
    with (
        faked_gateway(folder, FakeModel(), on_disk=disk) as (address, _),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize("path", DIALECTS)
def test_it_is_loaded_and_answers(http: httpx.Client, path: str) -> None:
    name = f"talks-{list(DIALECTS).index(path)}"

    answer = http.post(path, json={"model": name, **DIALECTS[path]})

    assert answer.status_code == 200, answer.text
    assert LAST_WORDS in answer.text


def test_a_stream_begins_before_the_load_and_reads_the_models_own_calls(
    http: httpx.Client, disk: Path
) -> None:
    """How a model writes calls is known only once it is loaded."""
    body = {"model": "gated", "messages": ASK, "tools": [TOOL], "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(":")

        (disk / "gate").touch()

        events = [json.loads(one[6:]) for one in lines if one.startswith("data: {")]
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls[0]["function"]["name"] == "weather"
    assert "tool_call" not in "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("share", [None, 0.4])
def test_a_quiet_stream_says_how_the_load_stands(share: float | None) -> None:
    """A service that is silent but for the load, and a gateway that waits a hundredth of a
    second."""

    class Slow(Scripted):
        @override
        async def events(
            self, request: GenerateRequest, *, take: Take | None = None
        ) -> AsyncGenerator[Event, None]:
            yield Accepted(request="r1", model="slow", lane="interactive", queue_position=0)
            yield Loading(model="slow", state="starting", share=share)
            await said.wait()
            async for event in super().events(request, take=take):
                if not isinstance(event, Accepted):
                    yield event

    async def story() -> None:
        app = create_app(HttpSettings(keep_alive_s=0.01, settle_s=0.01), Slow(words=("hi",)))
        heard = b""

        async def send(message: Any) -> None:
            nonlocal heard
            heard += message.get("body", b"")
            if b": model starting" in heard:
                said.set()

        body = json.dumps({"messages": ASK, "stream": True}).encode()
        sent = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if sent:
                return sent.pop()
            await asyncio.Event().wait()

        await asyncio.wait_for(app(scope(), receive, send), 60)
        words = b": model starting\n\n" if share is None else b": model starting 40%\n\n"
        assert words in heard
        assert b'"content":"hi"' in heard
        assert heard.endswith(b"data: [DONE]\n\n")

    said = asyncio.Event()
    asyncio.run(story())


def scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


def test_a_request_that_needs_the_models_facts_first_waits_for_the_load(
    http: httpx.Client,
) -> None:
    answer = http.post("/completion", json={"model": "plain", "prompt": "a b", "n_predict": 3})

    assert answer.status_code == 200, answer.text
    assert answer.json()["tokens_predicted"] == 3


def test_ollamas_clients_say_how_long_it_stays(http: httpx.Client) -> None:
    def expires() -> datetime:
        (row,) = [
            one for one in http.get("/api/ps").json()["models"] if one["name"].startswith("plain")
        ]
        return datetime.fromisoformat(row["expires_at"])

    body = {"model": "plain", "prompt": "hello", "raw": True, "options": {"num_predict": 2}}
    http.post("/api/generate", json={**body, "keep_alive": "2h", "stream": False})
    assert expires() - datetime.now(UTC) > timedelta(minutes=110)

    http.post("/api/generate", json={**body, "keep_alive": -1, "stream": False})
    assert expires().year == 9999

    # What does not say anything changes nothing.
    http.post("/api/generate", json={**body, "stream": False})
    assert expires().year == 9999


class Shelf(Scripted):
    """Has a model loaded, and another one that a request would load."""

    @override
    async def models(self, *, stored: bool = False) -> list[ModelRow]:
        facts = {"architecture": "llama", "description": "llama Q4_K_M", "takes_tools": True}
        row = ModelRow.of({"name": "fox", "state": "unloaded", "presets": ["brief"], **facts})
        return [*await super().models(), *([row] if stored else [])]

    @override
    async def jobs(self) -> list[JobRow]:
        return []


def shelf(*asked: tuple[str, str, Any]) -> list[Any]:
    """The answers to requests: (method, path, body)."""
    presets = {"brief": Preset(name="brief", model="an-alias-of-fox")}

    async def ask() -> list[Any]:
        app = create_app(HttpSettings(), Shelf(["Yes."]), presets=Presets(lambda: presets))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [(await client.request(*one[:2], json=one[2])).json() for one in asked]

    return asyncio.run(ask())


def test_lists_have_what_a_request_would_load_and_its_presets() -> None:
    models, tags, router = shelf(
        ("GET", "/v1/models", None), ("GET", "/api/tags", None), ("GET", "/models", None)
    )

    assert [one["id"] for one in models["data"]] == ["scripted", "fox", "brief"]
    assert [one["state"] for one in models["data"]] == ["ready", "unloaded", "unloaded"]
    names = ["scripted:latest", "fox:latest", "brief:latest"]
    assert [one["name"] for one in tags["models"]] == names
    assert tags["models"][1]["details"]["quantization_level"] == "Q4_K_M"
    states = {one["id"]: one["status"]["value"] for one in router["data"]}
    assert states == {"scripted": "loaded", "fox": "unloaded", "brief": "unloaded"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [("qwen3-8b", "qwen3-8b"), ("qwen", "qwen3-8b"), ("qwen3", "qwen3"), ("gemma", "gemma-4b")],
)
def test_a_loaded_model_is_meant_by_less_than_a_name_before_those_that_would_be_loaded(
    name: str, meant: str
) -> None:
    states = {"qwen3-8b": "ready", "qwen3": "unloaded", "qwen3-4b": "unloaded"}
    rows = {
        one: {"name": one, "state": state}
        for one, state in (states | {"gemma-4b": "unloaded"}).items()
    }

    found = meant_row(name, rows)

    assert found is not None
    assert found["name"] == meant


def test_one_that_is_not_loaded_is_shown_as_it_is_listed() -> None:
    shown, preset, entry, running = shelf(
        ("POST", "/api/show", {"model": "fox:latest"}),
        ("POST", "/api/show", {"model": "brief"}),
        ("GET", "/v1/models/fox", None),
        ("GET", "/api/ps", None),
    )

    assert shown["details"]["family"] == "llama"
    assert "tools" in shown["capabilities"]
    assert preset["details"] == shown["details"]
    assert (entry["id"], entry["state"]) == ("fox", "unloaded")
    assert [one["name"] for one in running["models"]] == ["scripted:latest"]


@pytest.mark.parametrize(
    ("name", "tagged"),
    [
        ("fox", "fox:latest"),
        ("fox:3b", "fox:3b"),
        ("hf:org/fox", "hf:org/fox:latest"),
        ("hf:org/fox:Q4_0", "hf:org/fox:Q4_0"),
    ],
)
def test_a_name_in_ollamas_list_has_one_tag(name: str, tagged: str) -> None:
    assert listing.tag_row({"name": name})["model"] == tagged


def test_what_is_not_on_the_disk_is_refused_as_before(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "nobody-has-this", "messages": ASK})

    assert answer.status_code == 404
    assert "nobody-has-this" in answer.text
