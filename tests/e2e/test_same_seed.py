"""Same seed, same output, whatever else runs beside it: here with Q8_0 weights and a Q8_0 cache,
where a CPU computes the same bits for every batch (bench/determinism.py shows which settings do).
"""

import asyncio
from pathlib import Path

from tests.live import Stream, collect, greedy, live_daemon
from umad.request import GenerateRequest, SamplingParams


def seeded(prompt: str) -> GenerateRequest:
    sampling = SamplingParams(temperature=0.9, seed=1234, max_tokens=60, ignore_eos=True)
    return GenerateRequest(prompt=prompt, sampling=sampling)


def test_a_seeded_request_gives_the_same_text_alone_and_in_a_crowd(short_tmp_path: Path) -> None:
    request = seeded("def read_lines(path):\n    ")

    async def run() -> tuple[Stream, Stream]:
        async with daemon.client() as client:
            alone = await collect(client, request)
            crowd = [
                asyncio.create_task(collect(client, greedy(f"# part {i}\n" * (5 * i + 1), 80)))
                for i in range(6)
            ]
            beside = await collect(client, request)
            await asyncio.gather(*crowd)
            return alone, beside

    with live_daemon(short_tmp_path, "nano", "--ctx-size", "8192", "--kv-type", "q8") as daemon:
        alone, beside = asyncio.run(run())

    assert len(alone.ids) == 60
    assert beside.ids == alone.ids
    assert beside.text == alone.text


def test_another_seed_gives_another_text(short_tmp_path: Path) -> None:
    async def run() -> set[str]:
        async with daemon.client() as client:
            texts = set()
            for seed in range(5):
                sampling = SamplingParams(temperature=1.0, seed=seed, max_tokens=40)
                request = GenerateRequest(prompt="import ", sampling=sampling)
                texts.add((await collect(client, request)).text)
            return texts

    with live_daemon(short_tmp_path, "nano", "--ctx-size", "2048") as daemon:
        texts = asyncio.run(run())

    assert len(texts) >= 4
