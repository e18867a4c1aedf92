"""A daemon whose engine computes on a Vulkan device and is killed: its clients see a pause."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon

N_STREAMS, N_TOKENS = 2, 16


async def run_all(daemon: LiveDaemon, *, kills: bool) -> list[Stream]:
    streams = [Stream(enough_tokens=4) for _ in range(N_STREAMS)]
    async with daemon.client() as client:
        tasks = [
            asyncio.create_task(collect(client, greedy(f"def f{at}(a, b):\n    ", N_TOKENS), one))
            for at, one in enumerate(streams)
        ]
        if kills:
            await asyncio.wait_for(asyncio.gather(*(one.enough.wait() for one in streams)), 300)
            (engine,) = daemon.engines()
            os.kill(engine.pid, signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(*tasks), 600)
    return streams


@pytest.mark.timeout(1800)
def test_streams_outlive_their_engine_and_no_token_is_lost(short_tmp_path: Path) -> None:
    with live_daemon(short_tmp_path, "nano", "--ctx-size", "1024", "--threads", "2") as daemon:
        streams = asyncio.run(run_all(daemon, kills=True))
        restarts = daemon.restarts()

    assert restarts == 1
    for one in streams:
        assert one.failed is None
        assert one.done is not None
        assert len(one.ids) == N_TOKENS
