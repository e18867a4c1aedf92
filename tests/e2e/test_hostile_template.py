"""A model whose chat template never ends: its chats fail, everything else of it goes on."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from itertools import pairwise

import pytest

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon
from umad import nano
from umad.client import AsyncClient
from umad.conversation import ChatMessage
from umad.errors import BadRequest
from umad.protocol.errors import error_of_failed
from umad.request import GenerateRequest, SamplingParams
from umad.service import Failed, Tokens

BEGINNING, END = b"{% for message in messages %}", b"assistant\\n' }}{% endif %}"
ENDLESS = (
    b"{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    b"{% endfor %}{% endfor %}{% endfor %}"
)
CHAT = GenerateRequest(
    messages=(ChatMessage(role="user", content="hello"),), sampling=SamplingParams(max_tokens=4)
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """nano with another template of the same length, so that its file stays a GGUF."""
    folder = tmp_path_factory.mktemp("hostile")
    data = nano.path().read_bytes()
    begin = data.index(BEGINNING)
    end = data.index(END, begin) + len(END)
    path = folder / "hostile.gguf"
    path.write_bytes(data[:begin] + ENDLESS.ljust(end - begin) + data[end:])
    with live_daemon(folder, str(path)) as one:
        yield one


async def refusal(daemon: LiveDaemon) -> BadRequest:
    """What a chat hears."""
    async with daemon.client() as client, aclosing(client.events(CHAT)) as events:
        async for event in events:
            if isinstance(event, Failed):
                error = error_of_failed(event)
                assert isinstance(error, BadRequest)
                return error
    raise AssertionError("a chat was answered")


def test_its_chats_are_refused_while_a_stream_beside_them_goes_on(daemon: LiveDaemon) -> None:
    stream, came_s = Stream(), list[float]()

    async def read(client: AsyncClient) -> None:
        async for event in client.events(greedy("def f(x):", 2000)):
            stream.take(event)
            if isinstance(event, Tokens):
                came_s.append(time.perf_counter())

    async def scenario() -> str:
        async with daemon.client() as client:
            running = asyncio.create_task(read(client))
            await stream.started.wait()
            error = await refusal(daemon)
            if stream.done is None:
                came_s.append(time.perf_counter())
            running.cancel()
            return error.message

    message = asyncio.run(scenario())

    assert "did not end within 2 s" in message
    # An engine that waits for its template sends nothing for so long.
    assert max(later - one for one, later in pairwise(came_s)) < 2.0


def test_after_a_few_they_are_refused_at_once(daemon: LiveDaemon) -> None:
    for _ in range(3):
        asyncio.run(refusal(daemon))

    assert "send a prompt instead" in asyncio.run(refusal(daemon)).message


def test_prompts_are_answered_as_ever(daemon: LiveDaemon) -> None:
    async def scenario() -> Stream:
        async with daemon.client() as client:
            return await collect(client, greedy("def f(x):", 8))

    assert len(asyncio.run(scenario()).ids) == 8
