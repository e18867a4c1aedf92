"""A token's short way from the socket into the answer says what the long way says."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from typing_extensions import override

from tests.gateway.gateways import LiveGateway
from umad.client import AsyncClient
from umad.client.rows import ModelRow
from umad.config import HttpSettings
from umad.gateway.app import create_app
from umad.gateway.dialect import FLOW
from umad.gateway.listening import Listened
from umad.request import GenerateRequest, Timings, Usage
from umad.service import Accepted, Done, Event, Progress, Take, TokenLogprob, Tokens

WORDS = (
    '"Tea',
    " or\n",
    "",
    " coff\u00e9?",
    " \\ \u2028",
    " <tool",
    "_call",
    "> no",
    " \U0001f375",
)
CHAT = {"messages": [{"role": "user", "content": "Say:"}]}
PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**CHAT, "tools": [{"type": "function", "function": {"name": "f"}}]},
    "/v1/completions": {"prompt": "Say:"},
    "/v1/messages": {**CHAT, "model": "m", "max_tokens": 50},
}


@dataclass
class Flow:
    """The connection of a client that reads, or does not."""

    write_paused: bool = False


@dataclass
class Asked:
    """What a scripted service saw of the short way."""

    offered: int = 0
    taken: int = 0


class Scripted(AsyncClient):
    """Says `WORDS`, and offers each to be taken, as the client of a socket does.

    At words in `stalls` the answer's client does not read for the time of that word.
    """

    def __init__(self, flow: Flow, stalls: frozenset[int], *, logprobs: bool) -> None:
        super().__init__("/nowhere.sock")
        self._flow = flow
        self._stalls = stalls
        self._logprobs = logprobs
        self.asked = Asked()

    @override
    async def events(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        yield Accepted(request="r1", model="m", lane="interactive", queue_position=0)
        yield Progress(index=0, done_tokens=3, total_tokens=3)
        for at, words in enumerate(WORDS):
            row = (TokenLogprob(id=at, logprob=-1.0),) if self._logprobs and at % 2 else None
            event = Tokens(index=0, text=words, ids=(at,), logprobs=row)
            self._flow.write_paused = at in self._stalls
            self.asked.offered += 1
            if take is not None and take(event):
                self.asked.taken += 1
            else:
                yield event
        self._flow.write_paused = False
        yield Done(
            index=0,
            finish_reason="stop",
            usage=Usage(prompt_tokens=3, cached_tokens=0, completion_tokens=len(WORDS)),
            timings=Timings(queued_ms=0.0, first_token_ms=1.0, total_ms=2.0),
        )

    @override
    async def models(self, *, stored: bool = False) -> list[ModelRow]:
        facts = {"name": "m", "state": "ready", "chat_family": "hermes", "takes_tools": True}
        return [ModelRow.of(facts)]

    @override
    async def pieces(self, ids: Sequence[int], *, model: str | None = None) -> tuple[bytes, ...]:
        return tuple(b"x" for _ in ids)


def answer(
    path: str, *, short: bool, stalls: frozenset[int] = frozenset(), logprobs: bool = False
) -> tuple[str, Asked]:
    """The body of one streamed answer, and what went the short way."""
    flow = Flow()
    service = Scripted(flow, stalls, logprobs=logprobs)
    app = create_app(HttpSettings(), service)

    async def with_flow(scope: Any, receive: Any, send: Any) -> None:
        await app(
            {**scope, "extensions": {FLOW: {"flow": flow}}} if short else scope, receive, send
        )

    async def ask() -> str:
        transport = httpx.ASGITransport(with_flow)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            body = {**PATHS[path], "stream": True}
            got = await http.post(path, json=body, headers={"x-request-id": "req-1"})
            assert got.status_code == 200
            return got.text

    return asyncio.run(ask()), service.asked


def without_time(text: str) -> list[Any]:
    """Its events, but for when they were made."""
    events = [line[6:] for line in text.split("\n") if line.startswith("data: {")]
    return [{**json.loads(event), "created": 0} for event in events]


@pytest.mark.parametrize("path", PATHS)
def test_both_ways_say_the_same_events(path: str) -> None:
    long, nothing = answer(path, short=False)

    short, asked = answer(path, short=True)

    assert without_time(short) == without_time(long)
    assert nothing.taken == 0
    assert asked.taken == asked.offered == len(WORDS)


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_stops_reading_for_a_while_misses_nothing(path: str) -> None:
    long, _ = answer(path, short=False)

    stalled, asked = answer(path, short=True, stalls=frozenset({2, 3, 6, 8}))

    assert without_time(stalled) == without_time(long)
    assert asked.taken == len(WORDS) - 4


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_tokens_with_log_probabilities_stand_in_their_place(path: str) -> None:
    long, _ = answer(path, short=False, logprobs=True)

    short, asked = answer(path, short=True, logprobs=True)

    assert without_time(short) == without_time(long)
    assert asked.taken == len(WORDS) - len(WORDS) // 2


def test_a_live_answer_is_that_of_the_long_way(gateway: LiveGateway) -> None:
    # Each of its tokens is the best by a nat and more: no tie is decided by the last bits of a sum.
    turns = [{"role": "user", "content": "Hello"}]
    body = {"messages": turns, "max_tokens": 8, "temperature": 0, "stream": True}

    headers = {"x-request-id": "req-1"}

    async def long() -> str:
        async with AsyncClient(gateway.daemon.socket) as client:
            transport = httpx.ASGITransport(create_app(HttpSettings(), client))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                got = await http.post("/v1/chat/completions", json=body, headers=headers)
                return got.text

    with gateway.http() as http:
        short = http.post("/v1/chat/completions", json=body, headers=headers).text

    said = [choice for event in without_time(short) for choice in event["choices"]]
    assert sum(bool(one["delta"].get("content")) for one in said) > 3
    assert without_time(short) == without_time(asyncio.run(long()))


def test_who_listens_in_hears_both_ways_in_order() -> None:
    heard: list[str] = []

    class Listener:
        def hear(self, event: Accepted | Tokens | Done) -> None:
            if isinstance(event, Tokens):
                heard.append(event.text)

        def end(self, error: Exception | None) -> None:
            heard.append("end")

    async def listen() -> list[Event]:
        service = Scripted(Flow(), frozenset(), logprobs=False)
        listened = Listened(service, [Listener()])
        request = GenerateRequest(prompt="x")
        events = listened.events(request, take=lambda one: "o" in one.text)
        return [event async for event in events]

    events = asyncio.run(listen())

    assert heard == [*WORDS, "end"]
    passed = [event.text for event in events if isinstance(event, Tokens)]
    assert passed == [word for word in WORDS if "o" not in word]
