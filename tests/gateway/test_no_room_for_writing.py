"""A disk that is full or read-only costs no answer that was generated, and no next turn."""

import asyncio
import contextlib
import resource
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.scripted_service import Scripted
from umad.config import HttpSettings
from umad.gateway.app import create_app


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow, which the system says as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.asynccontextmanager
async def gateway(store: str) -> AsyncGenerator[httpx.AsyncClient, None]:
    app = create_app(HttpSettings(store=store), Scripted(["Yes."]))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as http:
        yield http
    app.state.shared.store.close()


PLACES = [
    pytest.param("/dev/null/umad/r.sqlite3", id="a home that is no folder"),
    pytest.param(
        "/proc/umad/r.sqlite3",
        id="a read-only file system",
        marks=pytest.mark.skipif(sys.platform != "linux", reason="the folder is Linux's"),
    ),
    pytest.param("{}/r.sqlite3", id="a full disk"),
]


async def ask(http: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await http.post("/v1/responses", json={"input": "Is it?", **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("store", PLACES)
def test_a_response_is_answered_and_the_next_one_goes_on_from_it(
    store: str, tmp_path: Path
) -> None:
    async def scenario() -> tuple[dict[str, Any], dict[str, Any], list[int]]:
        async with gateway(store.format(tmp_path)) as http:
            first = await ask(http)
            second = await ask(http, previous_response_id=first["id"])
            path = f"/v1/responses/{second['id']}"
            one = [await http.get(path), await http.delete(path), await http.get(path)]
            return first, second, [answer.status_code for answer in one]

    with full_disk():
        first, second, statuses = asyncio.run(scenario())

    assert first["output"][0]["content"][0]["text"] == "Yes."
    assert (second["previous_response_id"], second["status"]) == (first["id"], "completed")
    assert statuses == [200, 200, 404]


@pytest.mark.parametrize("store", PLACES)
def test_a_stream_ends_as_it_would(store: str, tmp_path: Path) -> None:
    async def scenario() -> str:
        async with gateway(store.format(tmp_path)) as http:
            answer = await http.post("/v1/responses", json={"input": "Is it?", "stream": True})
            return answer.text

    with full_disk():
        said = asyncio.run(scenario())

    assert "event: response.completed" in said
    assert "error" not in [line.partition(": ")[2] for line in said.splitlines()]


@pytest.mark.parametrize("store", PLACES)
def test_a_response_that_is_not_there_is_a_404(store: str, tmp_path: Path) -> None:
    async def scenario() -> int:
        async with gateway(store.format(tmp_path)) as http:
            body = {"input": "x", "previous_response_id": "resp_none"}
            return (await http.post("/v1/responses", json=body)).status_code

    with full_disk():
        assert asyncio.run(scenario()) == 404


def test_a_disk_that_fills_up_in_mid_conversation_keeps_both_turns(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        async with gateway(str(tmp_path / "r.sqlite3")) as http:
            first = await ask(http)
            with full_disk():
                second = await ask(http, previous_response_id=first["id"])
                third = await ask(http, previous_response_id=second["id"])
            fourth = await ask(http, previous_response_id=third["id"])
            ids = [one["id"] for one in (first, second, third, fourth)]
            return [(await http.get(f"/v1/responses/{one}")).status_code for one in ids]

    assert asyncio.run(scenario()) == [200, 200, 200, 200]
