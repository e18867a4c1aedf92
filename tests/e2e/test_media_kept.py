"""A conversation about an image or a sound outlives the daemon that it was begun on."""

import asyncio
from pathlib import Path

import pytest

from tests.live import LiveDaemon, Stream, collect, live_daemon
from tests.media_families import NAMES, ROWS, arguments, asking, file_for

AFTER = "\n    return"
MORE = "\n\ndef again():\n    return"


def turn(daemon: LiveDaemon, family: str, after: str) -> Stream:
    request = asking(file_for(family), after, 12, session="walk")

    async def run() -> Stream:
        async with daemon.client() as client:
            return await asyncio.wait_for(collect(client, request), 120)

    stream = asyncio.run(run())
    assert stream.done is not None, stream.failed
    return stream


@pytest.mark.parametrize("family", NAMES)
def test_the_next_turn_after_a_restart_encodes_nothing_and_is_the_same(
    family: str, short_tmp_path: Path
) -> None:
    served = (*arguments(short_tmp_path, family), "--threads", "1")
    kept = ("--session-dir", str(short_tmp_path / "sessions"))
    with live_daemon(short_tmp_path, *served) as daemon:
        first = turn(daemon, family, AFTER)
        stayed = turn(daemon, family, AFTER + first.text + MORE)
    with live_daemon(short_tmp_path, *served, *kept) as daemon:
        again = turn(daemon, family, AFTER)
        assert daemon.stop() == 0

    with live_daemon(short_tmp_path, *served, *kept) as daemon:
        restored = turn(daemon, family, AFTER + again.text + MORE)
        log = daemon.log

    assert again.ids == first.ids
    assert restored.ids == stayed.ids
    assert stayed.done is not None
    assert restored.done is not None
    assert restored.done.usage.cached_tokens == stayed.done.usage.cached_tokens
    assert (restored.done.usage.cached_tokens or 0) > ROWS[family]
    assert "medium encoded" not in log
