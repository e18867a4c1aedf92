"""Requests of the socket that come over HTTP: for whom they are answered."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
from typing_extensions import override

from tests.gateway.scripted_service import Scripted
from umad.asker import Asker
from umad.config import HttpSettings
from umad.gateway.app import create_app
from umad.gateway.door.keys import owner_of
from umad.protocol.messages import Generate, encode_request
from umad.request import GenerateRequest
from umad.service import Event, Take

KEY = "sk-front-0123456789"


class Owned(Scripted):
    """Keeps who asked, and as which app."""

    def __init__(self) -> None:
        super().__init__(["Yes."])
        self.askers: list[Asker | None] = []

    @override
    async def events(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        self.askers.append(self._asker)
        async for event in super().events(request, take=take):
            yield event


def asked(app: Any, body: bytes, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post("/frames", content=body, headers=headers)

    return asyncio.run(ask())


def for_alice() -> bytes:
    asker = Asker(owner="key:alice", role="user")
    request = GenerateRequest(prompt="Well?", app="hers")
    return encode_request(Generate(id=1, request=request, asker=asker))


def test_a_key_that_is_called_front_asks_for_itself_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"keys: [{{name: front, key: {KEY}, app: zed}}]\n")
    keys.chmod(0o600)
    service = Owned()

    app = create_app(HttpSettings(api_key_file=str(keys)), service)
    answer = asked(app, for_alice(), authorization=f"Bearer {KEY}")

    assert answer.status_code == 200, answer.text
    (asker,) = service.askers
    assert asker is not None
    assert asker.owner == owner_of(KEY)
    assert service.asked[0].app == "zed"


def test_a_teams_front_asks_for_those_whom_it_names() -> None:
    service = Owned()
    app = create_app(HttpSettings(team="/of/a/node"), service)
    # As HAProxy writes them for the front, and for everybody else.
    front = {"x-forwarded-for": "front", "x-umad-front": "1"}

    answers = [
        asked(app, for_alice(), **front),
        asked(app, for_alice(), **{"x-forwarded-for": "::7"}),
    ]

    assert [one.status_code for one in answers] == [200, 200]
    assert [one and one.owner for one in service.askers] == ["key:alice", "net:::7"]
    assert service.asked[0].app == "hers"
    assert service.asked[1].app != "hers"
