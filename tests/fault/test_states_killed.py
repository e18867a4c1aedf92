"""`kill -9` of the engine of a model with states: every token comes, and none twice."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.live import LiveDaemon, Stream, collect, live_daemon
from tests.memory_kinds import write
from umad.request import GenerateRequest, SamplingParams

N_STREAMS = 4
# Enough that the last stream still writes when the signal comes.
N_TOKENS = 96
SYSTEM = tuple(3 + (i * i * 31 + i) % 370 for i in range(600))


def request(which: int) -> GenerateRequest:
    """A question behind a beginning that all of them share, and then a state with it."""
    question = tuple(3 + (which * 97 + i * i * 17) % 370 for i in range(20))
    return GenerateRequest(
        prompt_ids=(*SYSTEM, *question),
        sampling=SamplingParams(temperature=0.0, max_tokens=N_TOKENS, ignore_eos=True),
    )


async def run_all(daemon: LiveDaemon, kill_after: int | None) -> list[Stream]:
    streams = [Stream(enough_tokens=kill_after or 1) for _ in range(N_STREAMS)]
    async with daemon.client() as client:
        tasks = [
            asyncio.create_task(collect(client, request(which), stream))
            for which, stream in enumerate(streams)
        ]
        if kill_after is not None:
            await asyncio.wait_for(asyncio.gather(*(s.enough.wait() for s in streams)), 60)
            (engine,) = daemon.engines()
            os.kill(engine.pid, signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(*tasks), 120)
    return streams


@pytest.mark.parametrize("kind", ["recurrent", "hybrid", "windows"])
def test_streams_with_states_outlive_their_engine_token_for_token(
    kind: str, short_tmp_path: Path
) -> None:
    model = write(short_tmp_path / "model.gguf", kind)
    small = ("--ctx-size", "8192", "--swa-full", "off", "--threads", "2")
    with live_daemon(short_tmp_path, str(model), *small) as daemon:
        undisturbed = asyncio.run(run_all(daemon, kill_after=None))
        disturbed = asyncio.run(run_all(daemon, kill_after=2))
        restarts = daemon.restarts()

    assert restarts == 1
    for calm, broken in zip(undisturbed, disturbed, strict=True):
        assert broken.failed is None
        assert broken.done is not None
        assert broken.done.usage.completion_tokens == N_TOKENS
        assert len(broken.ids) == N_TOKENS
        if kind != "windows":
            # What lies in a window comes back in another order, and then the last bits differ.
            assert broken.ids == calm.ids
