"""`kill -9` of the engine while it answers about images and sounds: every token comes, and the
same but for ties, drawn from the same logits. Over the same image twice, and that image is refused.
"""

import asyncio
import contextlib
import io
import math
import os
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from typing_extensions import override

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon
from tests.media_families import NAMES, arguments, asking, file_for
from umad.client.logits import LogitsRow, read_logits_async
from umad.content import MediaFile
from umad.request import GenerateRequest
from umad.service import Tokens

N_TOKENS = 64
AFTER = ("\n    return", "\n    yield 1 +", "\n    pass  #")


# As in tests/engine/test_media_steps.py: another number of rows in a step rounds otherwise, and so
# do cells in another order.
WITHIN = 0.05


@dataclass(slots=True)
class Drawn(Stream):
    """A stream whose tokens come with the two likeliest ones at their places."""

    likeliest: list[dict[int, float]] = field(default_factory=list)

    @override
    def take(self, event: object) -> None:
        Stream.take(self, event)
        if isinstance(event, Tokens) and event.logprobs is not None:
            self.likeliest += [dict(one.top) for one in event.logprobs]

    def apart(self, other: Stream) -> float:
        """By how much the other's first other token is less likely here; 0 where there is none."""
        for mine, its, likeliest in zip(self.ids, other.ids, self.likeliest, strict=True):
            if mine != its:
                return likeliest[mine] - likeliest.get(its, -math.inf)
        return 0.0


def requests(family: str) -> list[GenerateRequest]:
    """Two about one file, one about another, and a text."""
    files = (file_for(family), file_for(family), file_for(family, seed=2))
    asked = [
        *(asking(file, after, N_TOKENS) for file, after in zip(files, AFTER, strict=True)),
        greedy("def fibonacci(n):\n    ", N_TOKENS),
    ]
    return [replace(one, sampling=replace(one.sampling, logprobs=2)) for one in asked]


async def run_all(daemon: LiveDaemon, family: str, *, kill_after: int | None) -> list[Drawn]:
    """kill_after: once the first stream has so many tokens, wherever the others are."""
    asked = requests(family)
    streams = [Drawn(enough_tokens=kill_after or 1) for _ in asked]
    async with daemon.client() as client:
        tasks = [
            asyncio.create_task(collect(client, request, stream))
            for request, stream in zip(asked, streams, strict=True)
        ]
        if kill_after is not None:
            await asyncio.wait_for(streams[0].enough.wait(), 100)
            (engine,) = daemon.engines()
            assert streams[0].done is None, "it ended before the signal"
            os.kill(engine.pid, signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(*tasks), 200)
    return streams


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.timeout(400)
def test_answers_about_media_outlive_their_engine_token_for_token(
    family: str, short_tmp_path: Path
) -> None:
    served = (*arguments(short_tmp_path, family), "--threads", "2")
    with live_daemon(short_tmp_path, *served) as daemon:
        calm = asyncio.run(run_all(daemon, family, kill_after=None))
    with live_daemon(short_tmp_path, *served) as daemon:
        broken = asyncio.run(run_all(daemon, family, kill_after=5))
        restarts = daemon.restarts()

    assert restarts == 1
    assert [stream.failed for stream in broken] == [None] * len(calm)
    assert [len(stream.ids) for stream in broken] == [N_TOKENS] * len(calm)
    # Where two tokens are equally likely, last bits of a sum decide. What was lost or came twice
    # makes the next token far less likely.
    apart = [one.apart(other) for one, other in zip(calm, broken, strict=True)]
    assert max(apart) <= WITHIN, apart
    same = [pair for pair in zip(calm, broken, strict=True) if pair[0].ids == pair[1].ids]
    assert all(one.text == other.text for one, other in same)
    assert calm[0].ids != calm[2].ids, "or the file would not matter"


N_READ, KILLED_AT = 16, 6


Read = tuple[list[int], NDArray[np.float32]]


async def read_all(daemon: LiveDaemon, file: MediaFile, *, kill: bool) -> Read:
    """The tokens of an answer about a file, and the logits that each was drawn from: float32
    (N_READ, n_vocab). Its client chooses the tokens, so an engine that is killed has computed
    exactly the rows up to KILLED_AT, and the last of them comes again from the next engine."""
    request = asking(file, AFTER[0], N_READ, logits="choose")
    ids: list[int] = []
    rows: list[NDArray[np.float32]] = []
    async with daemon.client() as client:
        async for item in read_logits_async(client, request):
            if isinstance(item, Tokens):
                ids += item.ids
            if not isinstance(item, LogitsRow):
                continue
            assert item.position == len(rows)
            if kill and item.position == KILLED_AT:
                kill = False
                (engine,) = daemon.engines()
                os.kill(engine.pid, signal.SIGKILL)
                continue
            rows.append(item.values.copy())
            item.choose(int(rows[-1].argmax()))
    return ids, np.stack(rows)


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.timeout(400)
def test_an_answer_that_outlives_its_engine_has_the_logits_of_an_undisturbed_one(
    family: str, short_tmp_path: Path
) -> None:
    served = (*arguments(short_tmp_path, family), "--threads", "2")

    def read(daemon: LiveDaemon, seed: int, *, kill: bool = False) -> Read:
        reading = read_all(daemon, file_for(family, seed), kill=kill)
        return asyncio.run(asyncio.wait_for(reading, 150))

    with live_daemon(short_tmp_path, *served) as daemon:
        calm_ids, calm = read(daemon, 1)
        _, other = read(daemon, 2)
    with live_daemon(short_tmp_path, *served) as daemon:
        ids, broken = read(daemon, 1, kill=True)
        restarts = daemon.restarts()

    assert restarts == 1
    assert len(ids) == N_READ
    assert ids == calm_ids
    # The row of the death, which was computed with the rest of the prompt, is one of them.
    assert np.abs(broken - calm).max() < WITHIN
    assert np.abs(other[0] - calm[0]).max() > 2 * WITHIN, "or the file would not matter"


# 900 rows of qwen2vl through as many layers as a real encoder has: it takes a while.
DETAILED_PX, LAYERS = 840, 32
PEER_TOKENS = 1200


def detailed() -> MediaFile:
    drawn = np.random.default_rng(9).integers(0, 256, (DETAILED_PX, DETAILED_PX, 3), np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(drawn).save(file, "PNG")
    return MediaFile(kind="image", data=file.getvalue())


def encoding(daemon: LiveDaemon) -> int | None:
    """The engine that encodes a medium now, as the kernel's names of its threads tell."""
    for engine in daemon.engines():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{engine.pid}/task").iterdir():
                if (thread / "comm").read_text().strip() == "umad-encode":
                    return engine.pid
    return None


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no names to read here")
@pytest.mark.timeout(400)
def test_an_image_over_which_two_engines_end_is_refused_and_others_go_on(
    short_tmp_path: Path,
) -> None:
    async def run(daemon: LiveDaemon) -> tuple[Stream, Stream, Stream]:
        peer, poisoned = Stream(enough_tokens=1), Stream()
        async with daemon.client() as client, daemon.client() as other:
            text = greedy("def fibonacci(n):\n    ", PEER_TOKENS)
            reading = asyncio.create_task(collect(other, text, peer))
            await asyncio.wait_for(peer.enough.wait(), 60)
            asked = asyncio.create_task(collect(client, asking(detailed(), AFTER[0], 4), poisoned))
            killed: set[int] = set()
            while len(killed) < 2:
                assert not asked.done(), poisoned.failed
                if (pid := encoding(daemon)) is not None and pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
                await asyncio.sleep(0.01)
            await asyncio.wait_for(asyncio.gather(asked, reading), 200)
            after = await collect(client, asking(file_for("qwen2vl", 3), AFTER[0], 4))
        return poisoned, peer, after

    served = (*arguments(short_tmp_path, "qwen2vl", layers=LAYERS), "--threads", "1")
    with live_daemon(short_tmp_path, *served) as daemon:
        poisoned, peer, after = asyncio.run(run(daemon))
        assert daemon.restarts() == 2

    assert poisoned.failed is not None
    assert poisoned.failed.code == "bad_media"
    assert "ended 2 times at an image" in poisoned.failed.message
    assert not poisoned.ids
    assert peer.failed is None
    assert len(peer.ids) == PEER_TOKENS, "no token of another stream is lost"
    assert after.done is not None, after.failed
