"""`kill -9` of the engine in the middle: its clients see a pause, nothing else."""

import asyncio
import json
import os
import signal
from pathlib import Path

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon, wait_until
from umad.constraint import Constraint
from umad.conversation import ChatMessage
from umad.request import GenerateRequest, SamplingParams

N_STREAMS = 16
N_TOKENS = 64
# With Q8_0 weights and a Q8_0 cache, a CPU computes the same bits however tokens are batched
# (bench/determinism.py), so that a replay by prefill continues exactly.
EXACT = ("nano", "--ctx-size", "8192", "--threads", "2", "--kv-type", "q8")


def prompts() -> list[str]:
    return [f"def function_{i}(a, b):\n    " for i in range(N_STREAMS)]


async def run_all(daemon: LiveDaemon, kill_after: int | None) -> list[Stream]:
    streams = [Stream(enough_tokens=kill_after or 1) for _ in range(N_STREAMS)]
    async with daemon.client() as client:
        tasks = [
            asyncio.create_task(collect(client, greedy(prompt, N_TOKENS), stream))
            for prompt, stream in zip(prompts(), streams, strict=True)
        ]
        if kill_after is not None:
            await asyncio.wait_for(asyncio.gather(*(s.enough.wait() for s in streams)), 60)
            (engine,) = daemon.engines()
            os.kill(engine.pid, signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(*tasks), 120)
    return streams


def test_sixteen_streams_outlive_their_engine_token_for_token(short_tmp_path: Path) -> None:
    with live_daemon(short_tmp_path, *EXACT) as daemon:
        undisturbed = asyncio.run(run_all(daemon, kill_after=None))
        disturbed = asyncio.run(run_all(daemon, kill_after=10))
        restarts = daemon.restarts()

    assert restarts == 1
    for calm, broken in zip(undisturbed, disturbed, strict=True):
        assert broken.failed is None
        assert broken.done is not None
        assert broken.done.usage.completion_tokens == N_TOKENS
        assert len(broken.ids) == N_TOKENS
        assert broken.ids == calm.ids
        assert broken.text == calm.text


def test_a_seeded_stream_draws_the_same_tokens_after_a_crash(short_tmp_path: Path) -> None:
    request = GenerateRequest(
        prompt="import os\n\n\ndef ",
        sampling=SamplingParams(temperature=1.0, seed=7, max_tokens=60, ignore_eos=True),
    )

    async def both(daemon: LiveDaemon) -> tuple[Stream, Stream]:
        async with daemon.client() as client:
            calm = await collect(client, request)
            broken = Stream(enough_tokens=20)
            task = asyncio.create_task(collect(client, request, broken))
            await asyncio.wait_for(broken.enough.wait(), 60)
            os.kill(daemon.engines()[0].pid, signal.SIGKILL)
            await asyncio.wait_for(task, 60)
            return calm, broken

    with live_daemon(short_tmp_path, *EXACT) as daemon:
        calm, broken = asyncio.run(both(daemon))

    assert len(broken.ids) == 60
    assert broken.ids == calm.ids


def test_an_answer_keeps_to_its_schema_across_a_crash(short_tmp_path: Path) -> None:
    item = {"type": "string", "maxLength": 8}
    # So many that the engine is far from the end when the client has the first tokens.
    schema = {"type": "array", "items": item, "minItems": 60, "maxItems": 60}
    request = GenerateRequest(
        messages=(ChatMessage(role="user", content="Sixty names."),),
        sampling=SamplingParams(temperature=1.0, seed=5, max_tokens=2000),
        constraint=Constraint.json_schema(schema),
    )

    async def both(daemon: LiveDaemon) -> tuple[Stream, Stream]:
        async with daemon.client() as client:
            calm = await collect(client, request)
            broken = Stream(enough_tokens=15)
            task = asyncio.create_task(collect(client, request, broken))
            await asyncio.wait_for(broken.enough.wait(), 60)
            os.kill(daemon.engines()[0].pid, signal.SIGKILL)
            await asyncio.wait_for(task, 60)
            return calm, broken

    with live_daemon(short_tmp_path, *EXACT) as daemon:
        calm, broken = asyncio.run(both(daemon))
        restarts = daemon.restarts()

    assert restarts == 1
    assert broken.ids == calm.ids
    assert broken.done is not None
    assert broken.done.finish_reason == "stop"
    assert [type(one) for one in json.loads(broken.text)] == [str] * 60


async def next_engine(daemon: LiveDaemon, before: set[int]) -> int:
    """The pid of an engine that is none of those before."""
    async with asyncio.timeout(60):
        while True:
            for engine in daemon.engines():
                if engine.pid not in before:
                    return engine.pid
            await asyncio.sleep(0.02)


def test_three_crashes_in_a_minute_stop_that_model_with_a_clear_error(
    short_tmp_path: Path,
) -> None:
    async def crash_thrice(daemon: LiveDaemon) -> Stream:
        stream = Stream(enough_tokens=1)
        async with daemon.client() as client:
            task = asyncio.create_task(collect(client, greedy("x = 1\n", 2000), stream))
            await asyncio.wait_for(stream.enough.wait(), 60)
            killed: set[int] = set()
            for _ in range(3):
                fresh = await next_engine(daemon, killed)
                killed.add(fresh)
                os.kill(fresh, signal.SIGKILL)
            await asyncio.wait_for(task, 60)
            await client.ping()
        return stream

    with live_daemon(short_tmp_path, "nano", "--ctx-size", "4096") as daemon:
        stream = asyncio.run(crash_thrice(daemon))
        wait_until(lambda: not daemon.engines(), what="the end of the engine")

    assert stream.failed is not None
    assert stream.failed.code == "engine_failed"
    assert "nano" in stream.failed.message
