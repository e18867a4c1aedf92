"""A daemon whose engine on a Vulkan device dies, or loses its device: clients see a pause."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon
from tests.vulkan.lost_device import lost_device

N_STREAMS, N_TOKENS = 2, 16
# A first load compiles shaders, and a device in software computes 400 ms for a token beside others.
START_S = 600.0
OPTIONS = ("nano", "--ctx-size", "1024", "--threads", "2")


async def run_all(daemon: LiveDaemon, disturb: Callable[[], None]) -> list[Stream]:
    """disturb: called once each stream has some tokens."""
    streams = [Stream(enough_tokens=4) for _ in range(N_STREAMS)]
    async with daemon.client() as client:
        tasks = [
            asyncio.create_task(collect(client, greedy(f"def f{at}(a, b):\n    ", N_TOKENS), one))
            for at, one in enumerate(streams)
        ]
        await asyncio.wait_for(asyncio.gather(*(one.enough.wait() for one in streams)), 300)
        disturb()
        await asyncio.wait_for(asyncio.gather(*tasks), 600)
    return streams


@pytest.mark.timeout(1800)
def test_streams_outlive_their_engine_and_no_token_is_lost(short_tmp_path: Path) -> None:
    with live_daemon(short_tmp_path, *OPTIONS, start_s=START_S) as daemon:

        def kill() -> None:
            (engine,) = daemon.engines()
            os.kill(engine.pid, signal.SIGKILL)

        streams = asyncio.run(run_all(daemon, kill))
        restarts = daemon.restarts()

    assert restarts == 1
    assert_whole(streams)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("at", ["vkQueueSubmit", "vkGetFenceStatus"])
def test_a_device_that_is_lost_costs_streams_a_pause_and_is_said_in_one_line(
    short_tmp_path: Path, at: str
) -> None:
    """While work is given to it, and while it is waited for."""
    lost = lost_device(short_tmp_path, at=at)
    environment = lost.environment
    with live_daemon(short_tmp_path, *OPTIONS, environment=environment, start_s=START_S) as daemon:
        streams = asyncio.run(run_all(daemon, lost.lose))
        restarts = daemon.restarts()
        said = [line for line in daemon.log.splitlines() if "engine died" in line]

    assert not lost.signal.exists()
    assert restarts == 1
    assert_whole(streams)
    (line,) = said
    assert "how=its device was lost (signal SIGABRT: what():" in line
    assert "ErrorDeviceLost" in line


def assert_whole(streams: list[Stream]) -> None:
    for one in streams:
        assert one.failed is None
        assert one.done is not None
        assert len(one.ids) == N_TOKENS
