"""What the engine refuses late: a long prompt has to be tokenized before it is too long."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from typing_extensions import override

from tests.gateway.scripted_service import Scripted
from umad.config import HttpSettings
from umad.gateway.app import create_app
from umad.gateway.generation import MOST_TOKENIZING_S, refused_within_s
from umad.request import GenerateRequest
from umad.service import Accepted, Event, Failed, Take

SETTLE_S = 0.01


class SlowToRefuse(Scripted):
    """Refuses every prompt, `after_s` after it was accepted; None: once its status is sent."""

    def __init__(self, after_s: float | None) -> None:
        super().__init__()
        self.status_is_sent = asyncio.Event()
        self._after_s = after_s

    @override
    async def events(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        yield Accepted(request="r1", model="scripted", lane="interactive", queue_position=0)
        if self._after_s is None:
            await self.status_is_sent.wait()
        else:
            await asyncio.sleep(self._after_s)
        yield Failed(
            code="prompt_too_long", message="the prompt is too long", field=None, retryable=False
        )


async def said_to(n_words: int, service: SlowToRefuse) -> httpx.Response:
    app = create_app(HttpSettings(settle_s=SETTLE_S), service)

    async def heard(scope: Any, receive: Any, send: Any) -> None:
        async def hear(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                service.status_is_sent.set()

        await app(scope, receive, hear)

    body = {
        "model": "scripted",
        "stream": True,
        "messages": [{"role": "user", "content": "word " * n_words}],
    }
    transport = httpx.ASGITransport(heard)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return await http.post("/v1/chat/completions", json=body)


def test_the_status_waits_for_the_refusal_of_a_long_prompt() -> None:
    said = asyncio.run(said_to(20_000, SlowToRefuse(20 * SETTLE_S)))

    assert said.status_code == 400
    assert "too long" in said.text


def test_a_short_prompt_is_not_waited_for_and_its_stream_says_so_in_its_last_event() -> None:
    said = asyncio.run(said_to(2, SlowToRefuse(None)))

    assert said.status_code == 200
    assert "too long" in said.text


def test_the_longest_prompt_keeps_a_client_waiting_for_seconds_only() -> None:
    assert refused_within_s(0.25, 10**9) == 0.25 + MOST_TOKENIZING_S
