"""Vectors over the socket: beside a stream, cancelled, given up on, after a crash."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.encoders import write_encoder
from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon, wait_until
from umad.client import AsyncClient, Client
from umad.embedding import EmbedRequest, RerankRequest
from umad.errors import Cancelled, DeadlineExceeded, Unsupported

TEXT = "def mean(values):\n    return sum(values) / len(values)\n"
# More than a second of work for nano.
LIBRARY = EmbedRequest(inputs=(TEXT * 10,) * 40, app="indexer")


def live(daemon: LiveDaemon) -> list[str]:
    """What each live request of the daemon is doing."""
    with Client(daemon.socket) as client:
        return [str(row["state"]) for row in client.sessions()]


async def begun(client: AsyncClient) -> Mapping[str, Any]:
    """The first live request to embed, once there is one."""
    while True:
        for row in await client.sessions():
            if row["state"] == "embed":
                return row


def test_both_clients_bring_the_same_vectors(daemon: LiveDaemon) -> None:
    request = EmbedRequest(inputs=(TEXT, "import os", (40, 50, 60)))

    async def ask() -> np.ndarray:
        async with daemon.client() as client:
            return (await client.embed(request)).vectors

    with Client(daemon.socket) as client:
        answer = client.embed(request)

    assert answer.model == "nano"
    assert answer.vectors.shape == (3, 256)
    assert answer.prompt_tokens > 3
    assert np.allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(asyncio.run(ask()), answer.vectors, atol=1e-3)


def test_streams_and_texts_are_served_together(daemon: LiveDaemon) -> None:
    async def both() -> tuple[Stream, int]:
        async with daemon.client() as client:
            library = asyncio.create_task(client.embed(LIBRARY))
            stream = await collect(client, greedy("def f(", 80))
            return stream, len((await library).vectors)

    stream, n_vectors = asyncio.run(asyncio.wait_for(both(), 100))

    assert len(stream.ids) == 80
    assert n_vectors == len(LIBRARY.inputs)
    apps = daemon.metrics()["apps"]
    assert apps["indexer"]["requests"] >= 1


def test_who_stops_to_wait_leaves_nothing_behind(daemon: LiveDaemon) -> None:
    async def leave() -> None:
        async with daemon.client() as client:
            library = asyncio.create_task(client.embed(LIBRARY))
            await begun(client)
            library.cancel()
            with pytest.raises(asyncio.CancelledError):
                await library
            await client.ping()

    asyncio.run(asyncio.wait_for(leave(), 60))

    wait_until(lambda: live(daemon) == [], what="the end of a request nobody waits for")


def test_somebody_elses_library_can_be_cancelled_by_its_name(daemon: LiveDaemon) -> None:
    async def cancel() -> None:
        async with daemon.client() as client, daemon.client() as other:
            library = asyncio.create_task(client.embed(LIBRARY))
            row = await begun(other)
            assert row["app"] == "indexer"
            await other.cancel(str(row["request"]))
            with pytest.raises(Cancelled):
                await library

    asyncio.run(asyncio.wait_for(cancel(), 60))


def test_a_deadline_ends_it(daemon: LiveDaemon) -> None:
    request = EmbedRequest(inputs=LIBRARY.inputs, deadline_ms=50)

    with Client(daemon.socket) as client:
        with pytest.raises(DeadlineExceeded, match="50 ms"):
            client.embed(request)
        vectors = client.embed(EmbedRequest(inputs=(TEXT,))).vectors

    assert vectors.shape == (1, 256)


def test_an_engine_killed_in_the_middle_costs_a_pause(short_tmp_path: Path) -> None:
    async def ask(daemon: LiveDaemon) -> np.ndarray:
        async with daemon.client() as client:
            library = asyncio.create_task(client.embed(LIBRARY))
            await begun(client)
            (engine,) = daemon.engines()
            os.kill(engine.pid, signal.SIGKILL)
            return (await library).vectors

    with live_daemon(short_tmp_path, "nano") as daemon:
        vectors = asyncio.run(asyncio.wait_for(ask(daemon), 100))
        restarts = daemon.metrics()["restarts"]

    assert restarts == 1
    assert len(vectors) == len(LIBRARY.inputs)
    assert np.isfinite(vectors).all()


def test_an_encoder_beside_a_chat_model(short_tmp_path: Path) -> None:
    path = write_encoder(short_tmp_path / "encoder.gguf")

    async def both(client: AsyncClient) -> tuple[Stream, int]:
        library = EmbedRequest(inputs=("the sky is blue",) * 300, model="encoder")
        texts = asyncio.create_task(client.embed(library))
        stream = await collect(client, greedy("def f(", 40))
        return stream, len((await texts).vectors)

    async def run(daemon: LiveDaemon) -> tuple[Stream, int]:
        async with daemon.client() as client:
            return await asyncio.wait_for(both(client), 100)

    with live_daemon(short_tmp_path, "nano", str(path)) as daemon:
        stream, n_vectors = asyncio.run(run(daemon))
        with Client(daemon.socket) as client:
            with pytest.raises(Unsupported, match="encoder"):
                client.complete("hello", model="encoder")
            with pytest.raises(Unsupported, match="no reranker"):
                client.rerank(RerankRequest(query="a", documents=("b",), model="encoder"))

    assert (len(stream.ids), n_vectors) == (40, 300)
