"""A file that is read beside somebody's stream is decoded on the cores that the stream leaves."""

import asyncio
from pathlib import Path

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon
from tests.media_families import arguments, asking, file_for

AFTER = "\n    return"


def test_a_file_beside_a_stream_has_idle_cores_alone(short_tmp_path: Path) -> None:
    async def run(daemon: LiveDaemon) -> None:
        async with daemon.client() as client:
            await collect(client, asking(file_for("gemma3", 1), AFTER, 1))
            stream = Stream(enough_tokens=1)
            reading = asyncio.create_task(collect(client, greedy("def walk():", 2000), stream))
            await stream.enough.wait()
            beside = asking(file_for("gemma3", 2), AFTER, 1, lane="background")
            answer = await collect(client, beside)
            assert not reading.done(), "nobody read a stream any more"
            reading.cancel()
        assert answer.done is not None, answer.failed

    with live_daemon(short_tmp_path, *arguments(short_tmp_path, "gemma3")) as daemon:
        asyncio.run(asyncio.wait_for(run(daemon), 120))
        assert daemon.stop() == 0
        told = [
            line.split("cores=")[1].strip() for line in daemon.log.splitlines() if "cores=" in line
        ]

    assert told == ["all", "idle"]
