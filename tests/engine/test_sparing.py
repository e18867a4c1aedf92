"""A real engine gives memory back to the system when it is told to, and goes on answering."""

import time
from pathlib import Path

import psutil

from tests.engine.harness import RunningEngine, engine
from tests.engine.test_parking import TINY_POOL, story

MB = 2**20
# Each conversation needs most of the pool, so the one before it is parked.
POOL = {**TINY_POOL, "kv_type": "f16", "park_bytes": 64 * MB}
PATIENCE_S = 30.0


def resident(running: RunningEngine) -> int:
    return int(psutil.Process(running.process.pid).memory_info().rss)


def test_memory_of_kept_prefixes_goes_back_to_the_system_and_answers_stay_the_same(
    nano_path: Path,
) -> None:
    with engine(nano_path, **POOL) as running:
        running.ready()
        chat = running.generate(
            1, prompt_ids=story(1, 400), session="chat", max_tokens=8, ignore_eos=True
        )
        for rid in range(2, 10):
            running.generate(rid, prompt_ids=story(rid, 450), max_tokens=1, ignore_eos=True)
        before_bytes = resident(running)

        spared = running.call("spare", share=0.5).value
        assert spared["freed_bytes"] > 4 * MB
        due_s = time.monotonic() + PATIENCE_S
        # Half of it: the last slab of each is not filled, so not all of its pages were ever used.
        while resident(running) > before_bytes - spared["freed_bytes"] // 2:
            assert time.monotonic() < due_s, "the memory was not given back"
            time.sleep(0.02)

        turn = (*story(1, 400), *chat.ids, *story(99, 10))
        again = running.generate(200, prompt_ids=turn, session="chat", max_tokens=4)
        assert again.ending.cached_tokens >= 400, "the session's cells were not given up"
        forgotten = running.generate(201, prompt_ids=story(3, 450), max_tokens=1)
        assert forgotten.ending.cached_tokens == 0

        assert running.call("spare", share=1.0).value["over_bytes"] == 0
