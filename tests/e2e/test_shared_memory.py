"""The weights are mapped once: a second app costs its KV, not a second model."""

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon


def tree_bytes(daemon: LiveDaemon) -> int:
    """What the daemon and its engines hold: pages of their own, and those of files once. Not their
    proportional set size, which changes with whatever else maps these files meanwhile: another
    test's daemon, or any Python.
    """
    top = psutil.Process(daemon.process.pid)
    own, files = 0, dict[str, int]()
    for process in [top, *top.children(recursive=True)]:
        for mapped in process.memory_maps():
            own += mapped.anonymous
            files[mapped.path] = max(files.get(mapped.path, 0), mapped.rss - mapped.anonymous)
    return own + sum(files.values())


@pytest.mark.skipif(not psutil.LINUX, reason="macOS tells no such figures")
def test_two_apps_take_no_more_memory_than_one(short_tmp_path: Path) -> None:
    async def use(n_apps: int) -> int:
        clients = [daemon.client() for _ in range(n_apps)]
        streams = [Stream(enough_tokens=20) for _ in clients]
        tasks = [
            asyncio.create_task(collect(client, greedy(f"app = {i}\n", 400), stream))
            for i, (client, stream) in enumerate(zip(clients, streams, strict=True))
        ]
        await asyncio.wait_for(asyncio.gather(*(s.enough.wait() for s in streams)), 60)
        held_bytes = await asyncio.to_thread(tree_bytes, daemon)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            await client.close()
        return held_bytes

    with live_daemon(short_tmp_path, "nano", "--ctx-size", "8192") as daemon:
        asyncio.run(use(1))
        one = asyncio.run(use(1))
        two = asyncio.run(use(2))

    assert two <= 1.10 * one
