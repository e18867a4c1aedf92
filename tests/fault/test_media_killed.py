"""`kill -9` of the engine while it answers about images and sounds: every token comes, and the
same.
"""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon
from tests.media_families import NAMES, arguments, asking, file_for
from umad.request import GenerateRequest

N_TOKENS = 64
AFTER = ("\n    return", "\n    yield 1 +", "\n    pass  #")


def requests(family: str) -> list[GenerateRequest]:
    """Two about one file, one about another, and a text."""
    files = (file_for(family), file_for(family), file_for(family, seed=2))
    return [
        *(asking(file, after, N_TOKENS) for file, after in zip(files, AFTER, strict=True)),
        greedy("def fibonacci(n):\n    ", N_TOKENS),
    ]


async def run_all(daemon: LiveDaemon, family: str, *, kill_after: int | None) -> list[Stream]:
    """kill_after: once the first stream has so many tokens, wherever the others are."""
    asked = requests(family)
    streams = [Stream(enough_tokens=kill_after or 1) for _ in asked]
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
    assert [stream.ids for stream in broken] == [stream.ids for stream in calm]
    assert [stream.text for stream in broken] == [stream.text for stream in calm]
    assert calm[0].ids != calm[2].ids, "or the file would not matter"
