"""A client that leaves, whatever it speaks and whatever its request is doing: nothing of it stays.

Steps are counted by a witness, a stream on the socket that has one token of every step.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.gateways import LONG_ANSWERS, LONG_TOKENS, LiveGateway, live_gateway
from tests.gateway.scripted import faked_gateway
from tests.live import POLL_S, wait_until
from umad.client import AsyncClient, Client
from umad.request import GenerateRequest, SamplingParams
from umad.service import Tokens
from umad.testing import FakeModel

STEP_MS = 20.0
# The step under way when the engine hears of it, and the one whose report says so.
MOST_STEPS = 2


def asks(text: str) -> dict[str, dict[str, Any]]:
    """Each dialect's body for a long answer to `text`."""
    turns = [{"role": "user", "content": text}]
    options = {"options": {"num_predict": 500}}
    return {
        "/v1/completions": {"prompt": text, "max_tokens": 500},
        "/v1/chat/completions": {"messages": turns, "max_tokens": 500},
        "/v1/responses": {"input": text, "max_output_tokens": 500, "store": False},
        "/v1/messages": {"model": "MODEL", "messages": turns, "max_tokens": 500},
        "/api/chat": {"model": "MODEL", "messages": turns, **options},
        "/api/generate": {"model": "MODEL", "prompt": text, "raw": True, **options},
        "/generate": {"prompt": text, "max_tokens": 500},
    }


DIALECTS = tuple(asks(""))


def ask(port: int, path: str, text: str, *, model: str, stream: bool) -> socket.socket:
    """A request on a connection of its own, sent and not yet answered."""
    body = asks(text)[path] | {"stream": stream}
    if "model" in body:
        body["model"] = model
    raw = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
        % (path.encode(), len(raw), raw)
    )
    return connection


# -- while it generates, in steps ------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Port and socket of a gateway whose engine takes its time."""
    folder = tmp_path_factory.mktemp("slow")
    with faked_gateway(folder, FakeModel(pace_ms=STEP_MS)) as (address, path):
        yield int(address.rpartition(":")[2]), path


async def steps_to_be_gone(port: int, path: Path, dialect: str, *, stream: bool) -> int:
    """Tokens that the witness has between the engine's hearing of it and the request's end.

    The engine is stopped while the news travels, so nobody's speed is a part of it.
    """
    sampling = SamplingParams(max_tokens=2000, ignore_eos=True)
    witness = GenerateRequest(prompt="witness", sampling=sampling)
    async with AsyncClient(path) as client, AsyncClient(path) as asker:

        async def live() -> list[str]:
            return sorted(str(row["state"]) for row in await asker.sessions())

        async with aclosing(client.generate(witness)) as events:
            n_tokens = 0
            victim = ask(port, dialect, "one two", model="a", stream=stream)
            async for event in events:
                if isinstance(event, Tokens):
                    n_tokens += len(event.ids)
                    if await live() == ["generating", "generating"]:
                        break
            (engine,) = await asker.models()
            os.kill(int(engine["pid"] or 0), signal.SIGSTOP)
            try:
                victim.close()
                while await live() != ["cancelling", "generating"]:  # noqa: ASYNC110  (the daemon's)
                    await asyncio.sleep(POLL_S)
                rows = await asker.sessions()
            finally:
                os.kill(int(engine["pid"] or 0), signal.SIGCONT)
            (before,) = [int(row["generated"]) for row in rows if row["state"] == "generating"]
            async for event in events:
                if isinstance(event, Tokens):
                    n_tokens += len(event.ids)
                    if len(await live()) == 1:
                        return max(0, n_tokens - before)
    raise AssertionError("the witness ended")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_while_it_generates_it_is_gone_with_the_next_step(
    slow: tuple[int, Path], dialect: str, stream: bool
) -> None:
    port, path = slow

    steps = asyncio.run(
        asyncio.wait_for(steps_to_be_gone(port, path, dialect, stream=stream), timeout=60)
    )

    assert steps <= MOST_STEPS


# -- in the other states, in cells -----------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """Room for one sequence: a second request waits."""
    with live_gateway(tmp_path_factory.mktemp("narrow"), "--max-seqs", "1", *LONG_ANSWERS) as one:
        yield one


def states(gateway: LiveGateway) -> list[str]:
    with Client(gateway.daemon.socket) as client:
        return [str(row["state"]) for row in client.sessions()]


def all_gone(gateway: LiveGateway) -> bool:
    return not states(gateway) and gateway.daemon.cells_used() == 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_while_it_waits_its_turn(narrow: LiveGateway, dialect: str, stream: bool) -> None:
    sampling = SamplingParams(max_tokens=LONG_TOKENS, ignore_eos=True)
    with Client(narrow.daemon.socket) as client:
        running = client.generate(GenerateRequest(prompt="first", sampling=sampling))
        wait_until(lambda: next(running) is not None, what="the first")
        wait_until(lambda: states(narrow) == ["generating"], what="its tokens")
        with closing(ask(narrow.port, dialect, "second", model="nano", stream=stream)):
            wait_until(lambda: states(narrow) == ["generating", "queued"], what="the second")

        wait_until(lambda: states(narrow) == ["generating"], what="its going")
        running.close()

    wait_until(lambda: all_gone(narrow), what="the end of it")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_while_its_prompt_is_read(gateway: LiveGateway, dialect: str) -> None:
    text = f"{dialect} " + "one two three four " * 700
    with closing(ask(gateway.port, dialect, text, model="nano", stream=dialect > "/v1/d")):
        wait_until(lambda: "prefill" in states(gateway), what="the reading")

    wait_until(lambda: all_gone(gateway), what="the end of it")


@pytest.mark.parametrize("stream", [True, False])
def test_while_its_schema_is_compiled(gateway: LiveGateway, stream: bool) -> None:
    # So many that they take seconds to compile.
    schema = {"properties": {f"{stream}{at}": {"type": "string"} for at in range(4000)}}
    turns = [{"role": "user", "content": "choose"}]
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": turns, "response_format": wanted, "stream": stream}
    raw = json.dumps(body).encode()
    with closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=60)) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"x-request-id: compiles-%d\r\nContent-Length: %d\r\n\r\n%s" % (stream, len(raw), raw)
        )
        wait_until(lambda: bool(states(gateway)), what="its acceptance")

    wait_until(lambda: all_gone(gateway), what="the end of it")
    line = f"id=compiles-{stream:d} key=- method=POST path=/v1/chat/completions status=499"
    wait_until(lambda: line in gateway.daemon.log, what="its line in the log")
