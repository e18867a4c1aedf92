"""llama-server's endpoints tell a user only what the daemon shows that user."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.gateway.gateways import LiveGateway
from tests.security.two_keys import ADMIN, ALICE, BOB, keyed_gateway, running
from umad.asker import Asker
from umad.gateway.dialects.llamacpp import models
from umad.gateway.watchers import Watchers


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with keyed_gateway(tmp_path_factory.mktemp("llama")) as one:
        yield one


@pytest.mark.parametrize("path", ["/props", "/models", "/slots"])
def test_a_user_is_told_no_file(gateway: LiveGateway, path: str) -> None:
    with gateway.http() as http:
        hers, admins = (http.get(path, headers=one) for one in (ALICE, ADMIN))

    assert ".gguf" not in hers.text
    assert path == "/slots" or ".gguf" in admins.text


def test_a_slot_is_shown_to_its_own_user_and_to_admins(gateway: LiveGateway) -> None:
    def busy(headers: dict[str, str]) -> int:
        with gateway.http() as http:
            return sum(one["is_processing"] for one in http.get("/slots", headers=headers).json())

    with running(gateway, ALICE):
        assert (busy(ALICE), busy(BOB), busy(ADMIN)) == (1, 0, 1)


def test_a_slot_has_nobodys_text(gateway: LiveGateway) -> None:
    with running(gateway, ALICE, prompt="a secret of hers"), gateway.http() as http:
        for headers in (ALICE, BOB, ADMIN):
            told = http.get("/slots", headers=headers)
            assert "secret" not in told.text
            assert not {"prompt", "generated", "params"} & {
                name for slot in told.json() for name in slot
            }


def test_a_users_answer_ends_at_a_line_as_an_admins_does(gateway: LiveGateway) -> None:
    body = {"prompt": "once", "grammar": 'root ::= "    a" "\\n" "b"', "n_indent": 4}
    with gateway.http() as http:
        hers = http.post("/completion", json=body, headers=ALICE).json()

    assert (hers["content"], hers["stop_type"]) == ("    a\n", "limit")


def test_the_news_are_the_same_for_all_but_name_no_file(gateway: LiveGateway) -> None:
    with (
        gateway.http(headers=BOB) as http,
        http.stream("GET", "/models/sse") as answer,
    ):
        line = next(line for line in answer.iter_lines() if line.startswith("data: "))

    assert '"loaded"' in line
    assert ".gguf" not in line


@pytest.mark.parametrize(
    ("asker", "told"),
    [
        (Asker(owner="key:alice", role="user"), ["fox"]),
        (Asker(owner="key:root"), ["secret", "fox"]),
    ],
)
def test_users_hear_of_no_removal_of_a_model_that_they_were_not_told_of(
    monkeypatch: pytest.MonkeyPatch, asker: Asker, told: list[str]
) -> None:
    monkeypatch.setattr(models, "LOOK_S", 0.01)

    class Daemon:
        async def models(self) -> list[dict[str, str]]:
            return [{"name": "fox", "state": "suspended"}]

        async def jobs(self) -> list[dict[str, str]]:
            return []

    async def removals() -> list[str]:
        watchers, found = Watchers(), []
        call = SimpleNamespace(
            shared=SimpleNamespace(watchers=watchers),
            service=Daemon(),
            caller=SimpleNamespace(asker=asker),
        )
        async with asyncio.timeout(60), contextlib.aclosing(models._news(cast(Any, call))) as news:
            async for piece in news:
                event = json.loads(piece.removeprefix(b"data: "))
                if event["event"] == "model_status":
                    assert event["data"]["status"] == "sleeping"
                    for name in ("secret", "fox"):
                        watchers.note_removed(name)
                    continue
                found.append(event["model"])
                if event["model"] == "fox":
                    break
        return found

    assert asyncio.run(removals()) == told
