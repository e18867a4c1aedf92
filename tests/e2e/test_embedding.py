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
from umad.errors import BadRequest, Cancelled, DeadlineExceeded, Unsupported

TEXT = "def mean(values):\n    return sum(values) / len(values)\n"


def library(name: str, **more: Any) -> EmbedRequest:
    """More than a second of work for nano: texts that no other test has asked for, because a text
    that comes again is not computed again.
    """
    texts = tuple(f"# {name} {at}\n{TEXT * 10}" for at in range(40))
    return EmbedRequest(inputs=texts, app="indexer", **more)


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
            texts = asyncio.create_task(client.embed(library("together")))
            stream = await collect(client, greedy("def f(", 80))
            return stream, len((await texts).vectors)

    stream, n_vectors = asyncio.run(asyncio.wait_for(both(), 100))

    assert len(stream.ids) == 80
    assert n_vectors == 40
    apps = daemon.metrics()["apps"]
    assert apps["indexer"]["requests"] >= 1


def test_who_stops_to_wait_leaves_nothing_behind(daemon: LiveDaemon) -> None:
    async def leave() -> None:
        async with daemon.client() as client:
            texts = asyncio.create_task(client.embed(library("left")))
            await begun(client)
            texts.cancel()
            with pytest.raises(asyncio.CancelledError):
                await texts
            await client.ping()

    asyncio.run(asyncio.wait_for(leave(), 60))

    wait_until(lambda: live(daemon) == [], what="the end of a request nobody waits for")


def test_somebody_elses_library_can_be_cancelled_by_its_name(daemon: LiveDaemon) -> None:
    async def cancel() -> None:
        async with daemon.client() as client, daemon.client() as other:
            texts = asyncio.create_task(client.embed(library("cancelled")))
            row = await begun(other)
            assert row["app"] == "indexer"
            await other.cancel(str(row["request"]))
            with pytest.raises(Cancelled):
                await texts

    asyncio.run(asyncio.wait_for(cancel(), 60))


def test_a_deadline_ends_it(daemon: LiveDaemon) -> None:
    request = library("late", deadline_ms=50)

    with Client(daemon.socket) as client:
        with pytest.raises(DeadlineExceeded, match="50 ms"):
            client.embed(request)
        vectors = client.embed(EmbedRequest(inputs=(TEXT,))).vectors

    assert vectors.shape == (1, 256)


def test_an_engine_killed_in_the_middle_costs_a_pause(short_tmp_path: Path) -> None:
    async def ask(daemon: LiveDaemon) -> np.ndarray:
        async with daemon.client() as client:
            texts = asyncio.create_task(client.embed(library("killed")))
            await begun(client)
            (engine,) = daemon.engines()
            os.kill(engine.pid, signal.SIGKILL)
            return (await texts).vectors

    with live_daemon(short_tmp_path, "nano") as daemon:
        vectors = asyncio.run(asyncio.wait_for(ask(daemon), 100))
        restarts = daemon.restarts()

    assert restarts == 1
    assert len(vectors) == 40
    assert np.isfinite(vectors).all()


def test_an_encoder_beside_a_chat_model(short_tmp_path: Path) -> None:
    path = write_encoder(short_tmp_path / "encoder.gguf")

    async def both(client: AsyncClient) -> tuple[Stream, int]:
        skies = tuple(f"the sky is blue {at}" for at in range(300))
        texts = asyncio.create_task(client.embed(EmbedRequest(inputs=skies, model="encoder")))
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


# -- texts that come again, and what is put before them --------------------------------------------


def test_a_text_that_comes_again_is_counted_as_not_computed(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client:
        first = client.embed("a text of which nobody else has thought")
        again = client.embed(["a text of which nobody else has thought", "and another"])
    after = daemon.metrics()

    assert (first.cached_tokens, again.cached_tokens) == (0, first.prompt_tokens)
    assert np.array_equal(again.vectors[0], first.vectors[0])
    assert after["texts_embedded"] >= 3
    assert after["texts_cached"] >= 1
    assert after["models"]["nano"]["texts_cached"] >= 1


PREFIXES = """
prefixes:
  nano:
    query: "search_query: "
    RETRIEVAL_DOCUMENT: "title: none | text: "
"""


def test_a_task_puts_before_each_text_what_the_models_card_wants(short_tmp_path: Path) -> None:
    (short_tmp_path / "models.yaml").write_text(PREFIXES)
    (short_tmp_path / "models.yaml").chmod(0o600)

    with live_daemon(short_tmp_path, "nano") as daemon, Client(daemon.socket) as client:
        asked = client.embed(["one", "two"], task="search_query")
        by_hand = client.embed(["search_query: one", "search_query: two"])
        passage = client.embed("one", task="document")
        passage_by_hand = client.embed("title: none | text: one")
        with pytest.raises(BadRequest, match="it has query, document") as unknown:
            client.embed("one", task="clustering")
        with pytest.raises(BadRequest, match="token ids"):
            client.embed([(1, 2)], task="query")

    assert np.allclose(asked.vectors, by_hand.vectors, atol=1e-6)
    assert by_hand.cached_tokens == by_hand.prompt_tokens == asked.prompt_tokens
    assert np.allclose(passage.vectors, passage_by_hand.vectors, atol=1e-6)
    assert unknown.value.field == "task"


def test_a_task_of_a_model_whose_card_is_not_known_is_refused(daemon: LiveDaemon) -> None:
    with (
        Client(daemon.socket) as client,
        pytest.raises(BadRequest, match=r"models\.yaml under prefixes") as refused,
    ):
        client.embed("one", task="query")

    assert refused.value.field == "task"
