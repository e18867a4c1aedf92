"""Each route and each verb of the socket, by who asks: what a user's key may, and may not."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.house import run
from tests.gateway.gateways import LONG_TOKENS, LiveGateway
from tests.security.two_keys import ADMIN, ALICE, BOB, asked, keyed_gateway, running
from umad.asker import Asker
from umad.client import AsyncClient, Client
from umad.daemon.authority import REACH, admit
from umad.errors import Refused, UmadError, UnknownModel, UnknownRequest
from umad.gateway.dialects import ENDPOINTS
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.openapi import docs_of
from umad.protocol import requests
from umad.protocol.messages import Cancel, Ping
from umad.protocol.requests import Asking
from umad.request import GenerateRequest, SamplingParams

OPEN = "everybody"  # without a key, too
ANYBODY = "any key"
OWN = "own"  # any key, of what is its own
ADMINS = "admins"
# A route that is not here is nobody's yet: decide, and write it into SECURITY.md as well.
ROUTES: dict[str, str] = {
    "POST /v1/chat/completions": ANYBODY,
    "POST /v1/completions": ANYBODY,
    "POST /v1/responses": ANYBODY,
    "GET /v1/responses/{id}": OWN,
    "DELETE /v1/responses/{id}": OWN,
    "GET /v1/responses/{id}/input_items": OWN,
    "POST /v1/embeddings": ANYBODY,
    "POST /v1/audio/transcriptions": ANYBODY,
    "POST /v1/audio/translations": ANYBODY,
    "POST /v1/rerank": ANYBODY,
    "POST /rerank": ANYBODY,
    "POST /v1/reranking": ANYBODY,
    "POST /reranking": ANYBODY,
    "POST /v1/chat/completions/input_tokens": ANYBODY,
    "POST /chat/completions/input_tokens": ANYBODY,
    "POST /v1/responses/input_tokens": ANYBODY,
    "POST /responses/input_tokens": ANYBODY,
    "GET /v1/models": ANYBODY,
    "GET /v1/models/{model:path}": ANYBODY,
    "POST /generate": ANYBODY,
    "POST /frames": ANYBODY,
    "POST /load": ANYBODY,
    "POST /unload": ADMINS,
    "POST /estimate": ADMINS,
    "POST /pull": ADMINS,
    "POST /jobs": ANYBODY,
    "GET /jobs": OWN,
    "GET /jobs/{id}": OWN,
    "DELETE /jobs/{id}": OWN,
    "POST /priority": OWN,
    "POST /cancel": OWN,
    "POST /forget": OWN,
    "GET /status": OWN,
    "GET /health": OPEN,
    "GET /v1/health": OPEN,
    "GET /diag": ADMINS,
    "GET /metrics": ADMINS,
    "GET /metrics/load": OPEN,
    "POST /v1/messages": ANYBODY,
    "POST /v1/messages/count_tokens": ANYBODY,
    "POST /api/chat": ANYBODY,
    "POST /api/generate": ANYBODY,
    "POST /api/embed": ANYBODY,
    "POST /api/embeddings": ANYBODY,
    "GET /api/tags": ANYBODY,
    "GET /api/ps": ANYBODY,
    "POST /api/show": ANYBODY,
    "GET /api/version": OPEN,
    "POST /api/pull": ANYBODY,
    "POST /api/push": ANYBODY,
    "POST /api/create": ADMINS,
    "POST /api/copy": ADMINS,
    "DELETE /api/delete": ADMINS,
    "POST /embedding": ANYBODY,
    "POST /embeddings": ANYBODY,
    "POST /completion": ANYBODY,
    "POST /completions": ANYBODY,
    "POST /apply-template": ANYBODY,
    "GET /props": ANYBODY,
    "POST /props": ANYBODY,
    "GET /slots": OWN,
    "POST /slots/{id}": OWN,
    "GET /lora-adapters": ANYBODY,
    "POST /lora-adapters": ANYBODY,
    "GET /models": ANYBODY,
    "POST /models": ADMINS,
    "DELETE /models": ADMINS,
    "POST /models/load": ANYBODY,
    "POST /models/unload": ADMINS,
    "GET /models/sse": ANYBODY,
    "POST /infill": ANYBODY,
    "POST /tokenize": ANYBODY,
    "POST /detokenize": ANYBODY,
    "GET /": OPEN,
    "HEAD /": OPEN,
    "GET /openapi.json": OPEN,
    "GET /docs": OPEN,
}
USER = Asker(owner="key:alice", role="user")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("roles")
    models = tmp_path_factory.mktemp("models")
    (models / "broken.gguf").write_text("no model")
    with keyed_gateway(folder, f"--model-folder={models}") as one:
        yield one


def test_the_table_has_every_route_there_is() -> None:
    served = {f"{one.method} {one.path}" for one in (*ENDPOINTS, *docs_of(ENDPOINTS, OPENAI))}
    assert set(ROUTES) == served


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_is_for_whom_the_table_says(gateway: LiveGateway, route: str) -> None:
    with gateway.http() as http:
        without, user, admin = [asked(http, route, one) for one in ({}, ALICE, ADMIN)]
    reach = ROUTES[route]
    assert (without.status_code == 401) is (reach != OPEN)
    assert (user.status_code == 403) is (reach == ADMINS)
    assert admin.status_code not in (401, 403)
    assert max(user.status_code, admin.status_code) < 500 or user.status_code == 501
    if reach != ADMINS:
        assert user.status_code == admin.status_code


# -- the socket ------------------------------------------------------------------------------------


def test_the_daemons_table_has_every_request_there_is() -> None:
    kinds = {one for one in vars(requests).values() if isinstance(one, type)}
    asking = {one for one in kinds if issubclass(one, Asking) and one is not Asking}
    assert set(REACH) == asking


def test_a_verb_that_nobody_has_decided_about_is_for_admins() -> None:
    class New(Ping):
        pass

    with pytest.raises(Refused):
        admit(New(id=1, asker=USER))
    assert admit(New(id=1)).is_admin


@pytest.mark.parametrize("kind", [kind for kind, reach in REACH.items() if reach == "admin"])
def test_a_user_is_refused_what_is_for_admins(kind: Any) -> None:
    wanted = {one.name for one in fields(kind) if one.default is MISSING} - {"id"}
    with pytest.raises(Refused):
        admit(kind(id=1, asker=USER, **dict.fromkeys(wanted, "nano")))


def test_the_daemon_decides_whatever_a_front_end_lets_through(gateway: LiveGateway) -> None:
    """As if the gateway had forgotten every check: the same client, on behalf of a user."""

    async def scenario() -> None:
        async with AsyncClient(gateway.daemon.socket) as owner:
            user = owner.on_behalf(USER)
            sampling = SamplingParams(max_tokens=LONG_TOKENS, ignore_eos=True)
            request = GenerateRequest(prompt="one two", sampling=sampling, session="talk")
            events = owner.events(request)
            accepted = await anext(events)
            for forbidden in (user.unload("nano"), user.metrics()):
                with pytest.raises(Refused):
                    await forbidden
            name = getattr(accepted, "request", "")
            for foreign in (
                user.cancel(name),
                user.set_priority(name, "background"),
                user.set_priority("talk", "background"),
                user.attach(name),
            ):
                with pytest.raises(UnknownRequest):
                    await foreign
            assert await user.sessions() == []
            assert len(await owner.sessions()) == 1
            (row,) = await user.models()
            assert not {"path", "pid", "live", "waiting", "restarts"} & set(row)
            await events.aclose()

    gateway.until_idle()
    run(scenario())


# -- what a key could do to others -----------------------------------------------------------------


def test_a_key_sees_only_its_own_requests_and_nothing_of_processes_and_files(
    gateway: LiveGateway,
) -> None:
    with running(gateway, ALICE, session="secret-talk") as hers, gateway.http() as http:
        his, admins = (http.get("/status", headers=one).json() for one in (BOB, ADMIN))
    assert hers["session"] == "secret-talk"
    assert hers["pid"] is None
    assert his["requests"] == []
    assert [row["session"] for row in admins["requests"]] == ["secret-talk"]
    assert ".gguf" not in str(his)
    assert "pid" not in his["models"][0]
    assert admins["models"][0]["path"].endswith(".gguf")


def test_a_key_ends_and_moves_nothing_of_anothers_and_is_not_told_that_it_is_there(
    gateway: LiveGateway,
) -> None:
    def words(body: Any) -> Any:
        error = dict(body["error"])
        error.pop("request_id", None)
        return error

    with running(gateway, ALICE, session="talk") as hers, gateway.http(headers=BOB) as http:
        name = hers["request"]
        there = http.post("/cancel", json={"request": name})
        nowhere = http.post("/cancel", json={"request": "r999999"})
        moves = [
            http.post("/priority", json={"target": target, "lane": "background"})
            for target in (name, "talk")
        ]
        still = http.get("/status", headers=ALICE).json()["requests"]
        assert http.post("/cancel", json={"request": name}, headers=ALICE).status_code == 200
    assert (there.status_code, nowhere.status_code) == (404, 404)
    assert str(words(there.json())).replace(name, "r999999") == str(words(nowhere.json()))
    assert [one.status_code for one in moves] == [404, 404]
    assert [row["lane"] for row in still] == ["interactive"]


def test_an_admin_ends_and_moves_what_others_run(gateway: LiveGateway) -> None:
    with running(gateway, ALICE, session="moved") as hers, gateway.http(headers=ADMIN) as http:
        moved = http.post("/priority", json={"target": "moved", "lane": "background"})
        ended = http.post("/cancel", json={"request": hers["request"]})
    assert moved.json() == {"moved": 1}
    assert ended.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/passwd",
        "/no/such/file",
        "/no/such/file.gguf",
        "/root",
        "~root/.ssh/id_rsa",
        "../../etc/passwd",
        "./x.gguf",
        "file:///etc/passwd",
        "nano/../nano",
        "\x00",
    ],
)
def test_load_tells_a_key_nothing_of_files(gateway: LiveGateway, path: str) -> None:
    with gateway.http() as http:
        hers = http.post("/load", json={"model": path}, headers=ALICE)
        unknown = http.post("/load", json={"model": "no-such-name"}, headers=ALICE)
    said, of_a_name = hers.json()["error"], unknown.json()["error"]
    assert (hers.status_code, said["code"]) == (404, of_a_name["code"])
    assert said["message"].replace(repr(path), "X") == of_a_name["message"].replace(
        "'no-such-name'", "X"
    )


def test_load_takes_as_long_for_a_file_that_is_there_as_for_one_that_is_not(
    gateway: LiveGateway,
) -> None:
    def took_s(path: str) -> float:
        began_s = time.perf_counter()
        http.post("/load", json={"model": path})
        return time.perf_counter() - began_s

    # The least of many: other programs only ever add to a time.
    with gateway.http(headers=ALICE) as http:
        pairs = [(took_s("/etc/passwd"), took_s("/no/such/file.gguf")) for _ in range(60)]
    there, nowhere = (min(column) for column in zip(*pairs, strict=True))
    assert max(there, nowhere) / min(there, nowhere) < 2.0


def test_a_key_loads_by_the_names_of_the_folders_and_is_not_told_what_is_wrong_with_a_file(
    gateway: LiveGateway,
) -> None:
    with gateway.http() as http:
        assert http.post("/load", json={"model": "nano"}, headers=ALICE).status_code == 200
        hers = http.post("/load", json={"model": "broken"}, headers=ALICE)
        admins = http.post("/load", json={"model": "broken"}, headers=ADMIN)
    assert hers.json()["error"]["message"] == (
        "broken cannot be had now; the log of the daemon says why"
    )
    assert ".gguf" in admins.json()["error"]["message"]


def test_a_generation_names_no_file_of_a_key(gateway: LiveGateway) -> None:
    with Client(gateway.daemon.socket) as client:
        path = client.models()[0]["path"]
    with gateway.http() as http:
        body = {"model": path, "prompt": "one", "max_tokens": 1}
        hers = http.post("/v1/completions", json=body, headers=ALICE)
        admins = http.post("/v1/completions", json=body, headers=ADMIN)
    assert (hers.status_code, admins.status_code) == (404, 200)


# -- lanes -----------------------------------------------------------------------------------------


def test_a_keys_lane_is_a_ceiling_however_another_is_asked_for(gateway: LiveGateway) -> None:
    with gateway.http(headers=BOB) as http:
        asked_for = http.post(
            "/generate", json={"prompt": "x", "max_tokens": 2, "lane": "interactive"}
        )
        with running(gateway, BOB, session="up") as row:
            by_request = http.post(
                "/priority", json={"target": row["request"], "lane": "interactive"}
            )
            by_session = http.post("/priority", json={"target": "up", "lane": "interactive"})
            admins = http.post(
                "/priority", json={"target": "up", "lane": "interactive"}, headers=ADMIN
            )
        # What an admin once moved its session to does not lift the key's next request.
        with running(gateway, BOB, session="up") as after:
            pass
    assert row["lane"] == "background"
    assert asked_for.status_code == by_request.status_code == by_session.status_code == 403
    assert asked_for.json()["error"]["param"] == "lane"
    assert admins.status_code == 200
    assert after["lane"] == "background"


def test_a_key_without_a_lane_may_use_all(gateway: LiveGateway) -> None:
    with gateway.http(headers=ALICE) as http:
        for lane in ("interactive", "background"):
            body = {"prompt": "x", "max_tokens": 2, "lane": lane, "stream": False}
            assert http.post("/generate", json=body).json()["lane"] == lane


def test_a_lane_that_is_a_ceiling_is_no_default(tmp_path: Path) -> None:
    keys = "keys: [{name: bob, key: sk-bob-000001, lane: interactive}]"
    with (
        keyed_gateway(tmp_path, "--default-lane", "background", keys=keys) as gateway,
        gateway.http(headers=BOB) as http,
    ):
        body: dict[str, Any] = {"prompt": "x", "max_tokens": 2, "stream": False}
        assert http.post("/generate", json=body).json()["lane"] == "background"
        body["lane"] = "interactive"
        assert http.post("/generate", json=body).json()["lane"] == "interactive"


# -- what is kept ----------------------------------------------------------------------------------


def test_a_stored_response_is_its_keys_and_not_its_names(tmp_path: Path) -> None:
    """Keys one a line are called by their lines, which move when one above is taken out."""
    store = ("--gateway-store", str(tmp_path / "responses.sqlite3"))
    body = {"model": "nano", "input": "Hi", "max_output_tokens": 2}
    first, second = "sk-first-00001", "sk-second-0001"
    hers, his = {"x-api-key": first}, {"x-api-key": second}

    with keyed_gateway(tmp_path, *store, keys=f"{first}\n{second}\n") as one, one.http() as http:
        made = http.post("/v1/responses", json=body, headers=hers).json()["id"]
    with keyed_gateway(tmp_path, *store, keys=f"{second}\n{first}\n") as one, one.http() as http:
        again = http.get(f"/v1/responses/{made}", headers=hers)
        others = http.get(f"/v1/responses/{made}", headers=his)
        gone = http.delete(f"/v1/responses/{made}", headers=his)
        goes_on = http.post(
            "/v1/responses", json={**body, "previous_response_id": made}, headers=his
        )
    assert again.status_code == 200
    assert (others.status_code, gone.status_code, goes_on.status_code) == (404, 404, 404)


def test_a_session_of_anothers_name_is_ones_own(gateway: LiveGateway) -> None:
    story = "It was a dark and stormy night and the rain fell in torrents on the roofs. " * 4
    body = {"prompt": story, "session": "story", "max_tokens": 2, "stream": False}

    def cached(headers: dict[str, str]) -> int:
        answer = http.post("/generate", json=body, headers=headers).json()
        return int(answer["completions"][0]["usage"]["cached_tokens"])

    with gateway.http() as http:
        assert cached(ALICE) == 0
        assert cached(ALICE) > 0
        assert cached(BOB) == 0
        assert cached(ADMIN) == 0
        assert cached(ALICE) > 0


def test_errors_of_the_socket_are_as_for_what_is_not_there(gateway: LiveGateway) -> None:
    async def scenario() -> None:
        async with AsyncClient(gateway.daemon.socket) as owner:
            user = owner.on_behalf(USER)
            with pytest.raises(UnknownModel):
                await user.load("/etc/shadow")
            with pytest.raises(UmadError):
                await user.load("/no/such.gguf")
            assert Cancel(id=1, request="r1").asker is None

    asyncio.run(scenario())
