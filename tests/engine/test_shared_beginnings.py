"""Random traffic on a real engine with every kind of memory: each answer is the cold one.

Pools are small, so that cells are given up and taken all the time. A micro-batch is smaller than a
step, where the engine lets it be. The bound of each kind comes of what the bare library itself
shows between slicings of the same prompts, measured here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cold_answers import ColdAnswers, Judged, cold_answers
from tests.engine.harness import RunningEngine, engine, submit
from tests.memory_kinds import KINDS, write
from tests.schedules import Ask, Tokens, Traffic, schedule
from umad.request import BACKGROUND, INTERACTIVE

POOL: dict[str, Any] = {"ctx_size": 1024, "max_seqs": 6, "batch": 128, "ubatch": 32}
N_LOGPROBS = 20
N_SLICINGS = 4
# So few prompts do not find the worst slicings. What is answered from cells that are gone is nats
# off (before: 8.4 of windows, 8.7 of shared cells, where slicings differ by 0.12 and 0.11).
MARGIN = 2.0
LAST_BITS = 1e-4


class Conversations:
    """Asks one engine and judges what it says."""

    def __init__(self, running: RunningEngine, cold: ColdAnswers) -> None:
        self._running = running
        self._cold = cold
        self._rid = 0
        self.judged: list[Judged] = []
        self._prompts: list[Tokens] = []
        self.cached = 0

    def run(self, seed: int, traffic: Traffic) -> None:
        rounds = schedule(seed, traffic)
        asks = next(rounds)
        while True:
            answers = self._ask(asks)
            try:
                asks = rounds.send(answers)
            except StopIteration:
                return

    def bound(self) -> float:
        """What the bare library shows between slicings of the same prompts, in nats."""
        drawn = np.random.default_rng(0)
        return max(
            self._cold.slicings(prompt, N_LOGPROBS, drawn, N_SLICINGS) for prompt in self._prompts
        )

    def _ask(self, asks: tuple[Ask, ...]) -> tuple[Tokens, ...]:
        rids = range(self._rid + 1, self._rid + 1 + len(asks))
        self._rid = rids[-1]
        self._running.send(
            *[
                submit(
                    rid,
                    prompt_ids=ask.prompt,
                    max_tokens=ask.n_tokens,
                    ignore_eos=True,
                    logprobs=N_LOGPROBS,
                    lane=BACKGROUND if ask.background else INTERACTIVE,
                    session=ask.session,
                )
                for rid, ask in zip(rids, asks, strict=True)
            ]
        )
        done = self._running.finish(*rids)
        for ask, one in zip(asks, done, strict=True):
            first = dict(one.logprobs[0][1])
            self.judged.append(self._cold.judge(ask.prompt, one.ids, first))
            self._prompts.append(ask.prompt)
            self.cached += one.ending.cached_tokens or 0
        return tuple(tuple(one.ids) for one in done)


# Schedules of each kind: more where beginnings may be lost.
SCHEDULES = {"windows": 4, "shared cells": 3}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "chunks"])
def test_whatever_is_shared_every_answer_is_the_cold_one(kind: str, tmp_path: Path) -> None:
    model = write(tmp_path / "model.gguf", kind)
    with cold_answers(model) as cold, engine(model, **POOL) as running:
        shares = running.ready()["can_share_prefix"]
        asking = Conversations(running, cold)

        for seed in range(SCHEDULES.get(kind, 1)):
            asking.run(seed, Traffic())

        bound = MARGIN * asking.bound() + LAST_BITS
    assert max(one.first for one in asking.judged) <= bound
    assert max(one.worst for one in asking.judged) <= 2 * bound
    assert (asking.cached > 0) is shares
