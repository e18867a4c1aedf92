"""A preset's name as the model of a request, in every dialect."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.scripted_service import Scripted
from umad.config import HttpSettings
from umad.gateway.app import create_app
from umad.gateway.door.keys import Keyring, read_keys
from umad.gateway.presets import Presets
from umad.models.catalogue_file import UsersPresets
from umad.preset import Preset
from umad.request import GenerateRequest

REVIEWER = Preset(
    name="Reviewer",
    model="scripted",
    system="Be brief.",
    sampling={"temperature": 0.25, "top_k": 7, "stop": ("END",), "max_tokens": 9},
    lane="background",
)
TURNS = [{"role": "user", "content": "Look."}]
# A chat in each dialect: path, and the body beside its model.
CHATS: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/responses": {"input": "Look.", "store": False},
    "/v1/messages": {"messages": TURNS, "max_tokens": 5},
    "/api/chat": {"messages": TURNS, "stream": False},
    "/api/generate": {"prompt": "Look.", "stream": False},
    "/generate": {"messages": TURNS, "stream": False},
}
# A text that is continued.
TEXTS: Mapping[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "Look."},
    "/completion": {"prompt": "Look."},
    "/generate": {"prompt": "Look.", "stream": False},
    "/api/generate": {"prompt": "Look.", "raw": True, "stream": False},
}


def asked(
    path: str,
    body: dict[str, Any],
    *presets: Preset,
    keys: Keyring | None = None,
    headers: dict[str, str] | None = None,
    **settings: Any,
) -> GenerateRequest:
    """The request that the daemon gets for a body."""
    service = Scripted(["Yes."])
    known = {one.name: one for one in presets or (REVIEWER,)}

    async def ask() -> httpx.Response:
        app = create_app(
            HttpSettings(**settings), service, keys=keys, presets=Presets(lambda: known)
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post(path, json=body, headers=headers)

    answer = asyncio.run(ask())
    assert answer.status_code == 200, answer.text
    (request,) = service.asked
    return request


@pytest.mark.parametrize("path", CHATS)
def test_a_chat_with_a_preset_has_its_model_system_prompt_sampling_and_lane(path: str) -> None:
    request = asked(path, {"model": "Reviewer", **CHATS[path]})

    assert (request.model, request.lane) == ("scripted", "background")
    assert (request.sampling.temperature, request.sampling.top_k) == (0.25, 7)
    assert request.sampling.stop == ("END",)
    assert request.sampling.max_tokens == CHATS[path].get("max_tokens", 9)
    turns = [(one.role, one.content) for one in request.messages or ()]
    assert turns == [("system", "Be brief."), ("user", "Look.")]


@pytest.mark.parametrize("path", TEXTS)
def test_a_text_with_a_preset_is_continued_as_it_is(path: str) -> None:
    request = asked(path, {"model": "Reviewer", **TEXTS[path]})

    assert (request.model, request.lane) == ("scripted", "background")
    assert (request.sampling.temperature, request.sampling.stop) == (0.25, ("END",))
    assert request.prompt == "Look."
    assert request.messages is None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/chat/completions", {"temperature": 0.8, "stop": "STOP", "max_tokens": 3}),
        ("/v1/messages", {"temperature": 0.8, "stop_sequences": ["STOP"], "max_tokens": 3}),
        ("/api/chat", {"options": {"temperature": 0.8, "stop": ["STOP"], "num_predict": 3}}),
        ("/generate", {"temperature": 0.8, "stop": ["STOP"], "max_tokens": 3}),
    ],
)
def test_what_the_client_says_goes_before_the_preset_even_where_it_is_the_default(
    path: str, said: dict[str, Any]
) -> None:
    request = asked(path, {"model": "Reviewer", **CHATS[path], **said})

    assert (request.sampling.temperature, request.sampling.top_k) == (0.8, 7)
    assert (request.sampling.stop, request.sampling.max_tokens) == (("STOP",), 3)


def test_a_sampler_that_the_client_turns_off_stays_off() -> None:
    body = {"model": "Reviewer", "prompt": "Look.", "samplers": ["temperature"]}

    request = asked("/completion", body)

    assert (request.sampling.top_k, request.sampling.temperature) == (0, 0.25)


def test_a_chat_that_has_a_system_prompt_keeps_it() -> None:
    turns = [{"role": "developer", "content": "Be long."}, *TURNS]

    request = asked("/v1/chat/completions", {"model": "Reviewer", "messages": turns})

    assert [one.content for one in request.messages or ()] == ["Be long.", "Look."]


def test_a_lane_that_the_client_asks_for_is_its_own() -> None:
    body = {"model": "Reviewer", "messages": TURNS, "lane": "interactive"}

    assert asked("/v1/chat/completions", body).lane == "interactive"


@pytest.mark.parametrize("name", ["reviewer", "REVIEWER", "Reviewer:latest"])
def test_a_preset_is_found_as_clients_write_its_name(name: str) -> None:
    assert asked("/api/chat", {"model": name, **CHATS["/api/chat"]}).sampling.top_k == 7


def test_a_model_of_exactly_that_name_is_meant_rather_than_a_preset_written_otherwise() -> None:
    other = Preset(name="Scripted", model="elsewhere", sampling={"top_k": 7})

    request = asked("/v1/chat/completions", {"model": "scripted", "messages": TURNS}, other)

    assert (request.model, request.sampling.top_k) == ("scripted", 40)


def test_an_alias_may_lead_to_a_preset_whose_model_is_what_it_says() -> None:
    small = Preset(name="small", model="scripted", system="Be small.")

    led = asked(
        "/v1/chat/completions",
        {"model": "gpt-5", "messages": TURNS},
        small,
        aliases=(("gpt-5", "small"), ("*", "nano")),
    )

    assert led.model == "scripted"
    assert [one.content for one in led.messages or ()] == ["Be small.", "Look."]


@pytest.mark.parametrize(("lane", "has"), [("background", "background"), ("high", None)])
def test_a_preset_never_lifts_the_work_of_a_key_above_its_lane(
    tmp_path: Path, lane: str, has: str | None
) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("keys: [{name: someone, key: sk-someone-0123456789, lane: interactive}]\n")
    file.chmod(0o600)
    preset = Preset(name="p", model="scripted", lane=lane)

    request = asked(
        "/v1/chat/completions",
        {"model": "p", "messages": TURNS},
        preset,
        keys=read_keys(file),
        headers={"Authorization": "Bearer sk-someone-0123456789"},
    )

    assert request.lane == has


def test_a_preset_of_a_loaded_model_is_listed_under_its_name() -> None:
    gone = Preset(name="gone", model="no-such-model")
    pirate = Preset(name="Pirate", model="scripted+pirate")
    known = {one.name: one for one in (REVIEWER, gone, pirate)}

    async def ask() -> tuple[Any, Any]:
        app = create_app(HttpSettings(), Scripted(), presets=Presets(lambda: known))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            every = await http.get("/v1/models")
            one = await http.get("/v1/models/Reviewer")
        return every.json(), one.json()

    every, one = asyncio.run(ask())

    assert [row["id"] for row in every["data"]] == ["scripted", "Reviewer", "Pirate"]
    assert one["id"] == "Reviewer"


# -- the user's file -------------------------------------------------------------------------------


def test_presets_are_those_of_the_file_as_it_is_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "models.yaml"
    presets = UsersPresets(path)

    before = dict(presets.current())
    path.write_text("presets: {a: {model: m}}\n")
    one = list(presets.current())
    path.write_text("presets: {a: {model: m}, bb: {model: m}}\n")
    two = list(presets.current())
    path.write_text("presets: {a: {modell: m}, bbb: {model: m}}\n")
    wrong = list(presets.current())
    path.unlink()

    assert (before, one, two, wrong) == ({}, ["a"], ["a", "bb"], ["a", "bb"])
    assert f"{path}:1: presets.a: unknown key 'modell'" in caplog.text
    assert presets.current() == {}
