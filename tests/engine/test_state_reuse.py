"""Models that keep states, served by a real engine: what is known is not computed again, and every
answer is the cold one.

The bound of each kind comes of what the bare library itself shows between slicings of the same
prompts, as in `test_shared_beginnings`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cold_answers import ColdAnswers, cold_answers
from tests.engine.harness import Completion, RunningEngine, engine, submit
from tests.memory_kinds import write
from umad.request import BACKGROUND

KINDS = ["delta net", "mamba hybrid", "mamba 2", "windows", "sinks", "hybrid with windows"]
# Steps of this size are computed as cells of 64 tokens. The pool holds two of the conversations.
POOL: dict[str, Any] = {"ctx_size": 1024, "max_seqs": 3, "batch": 64, "ubatch": 64}
N_LOGPROBS = 20
# So few prompts do not find the worst slicings. What goes on from another state is nats off.
N_PROMPTS, N_SLICINGS, MARGIN = 4, 3, 2.0
LAST_BITS = 1e-3

SYSTEM, QUESTION, EDITS = 400, 20, 2
# The stream and one stranger, with their answers, are more than the pool holds.
BACK, STRANGER, STRANGERS = 300, 500, 2

Tokens = tuple[int, ...]


def text(n: int, seed: int) -> Tokens:
    return tuple(np.random.default_rng(seed).integers(3, 380, n).tolist())


@dataclass(slots=True)
class Asking:
    """Asks an engine, and keeps what is to be judged."""

    running: RunningEngine
    cold: ColdAnswers
    asked: list[tuple[Tokens, Completion]] = field(default_factory=list)

    def submit(self, prompt: Tokens, n: int = 8, **fields: Any) -> int:
        rid = len(self.asked) + 1
        self.running.send(
            submit(
                rid,
                prompt_ids=prompt,
                max_tokens=n,
                ignore_eos=True,
                logprobs=N_LOGPROBS,
                **fields,
            )
        )
        self.asked.append((prompt, self.running.of(rid)))
        return rid

    def ask(self, prompt: Tokens, n: int = 8, **fields: Any) -> Completion:
        return self.running.finish(self.submit(prompt, n, **fields))[0]

    @property
    def n_computed(self) -> int:
        """Tokens of prompts that were computed so far."""
        return sum(one.stats.n_prefill_tokens for one in self.running.reports if one.stats)

    def assert_every_answer_is_the_cold_one(self) -> None:
        drawn = np.random.default_rng(0)
        prompts = [prompt for prompt, _ in self.asked]
        spread = max(
            self.cold.slicings(prompt, N_LOGPROBS, drawn, N_SLICINGS)
            for prompt in sorted(prompts, key=len)[-N_PROMPTS:]
        )
        bound = MARGIN * spread + LAST_BITS
        for prompt, done in self.asked:
            judged = self.cold.judge(prompt, done.ids, dict(done.logprobs[0][1]))
            assert judged.first <= bound
            assert judged.worst <= 2 * bound


@contextmanager
def asking(tmp_path: Path, kind: str, **settings: Any) -> Iterator[Asking]:
    model = write(tmp_path / "model.gguf", kind)
    with cold_answers(model) as cold, engine(model, **{**POOL, **settings}) as running:
        assert running.ready()["shares_at"] == "states"
        yield Asking(running, cold)


def cached(done: Completion) -> int:
    return done.ending.cached_tokens or 0


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_new_is_computed_and_every_answer_is_the_cold_one(
    kind: str, tmp_path: Path
) -> None:
    system = text(SYSTEM, 1)
    with asking(tmp_path, kind) as one:
        # A chat's turn, its last message edited, and two apps that begin alike beside each other.
        chat = (*system, *text(QUESTION, 2))
        first = one.ask(chat, session="chat")
        known = len(chat) + len(first.ids) - 1  # the last token of an answer is never computed
        last_prompt = (*chat, *first.ids, *text(QUESTION, 3))
        turn = one.ask(last_prompt, session="chat")
        edits = [one.ask((*system, *text(QUESTION, 10 + edit))) for edit in range(EDITS)]
        apps = [one.submit((*system, *text(QUESTION, 20 + app))) for app in range(2)]
        beside = one.running.finish(*apps)

        # Strangers fill the pool, and a stream in the background has to make room for them.
        before = one.n_computed
        strange = [text(STRANGER, 40 + which) for which in range(STRANGERS)]
        stream = one.submit(text(BACK, 30), 150, lane=BACKGROUND)
        while len(one.running.of(stream).ids) < 8:
            one.running.hear()
        strangers = [one.submit(prompt, 90) for prompt in strange]
        one.running.finish(stream, *strangers)
        computed = one.n_computed - before
        n_preempted = one.running.last_stats.preemptions_total
        again = one.ask((*last_prompt, *turn.ids, *text(QUESTION, 4)), session="chat")

        one.assert_every_answer_is_the_cold_one()

    assert (cached(first), cached(turn)) == (0, known)
    # Where prompts were seen to part, the next one finds a copy.
    assert [cached(done) for done in edits[1:]] == [SYSTEM] * (EDITS - 1)
    assert [cached(done) for done in beside] == [SYSTEM] * 2
    assert n_preempted >= 1
    # What was drawn since the last copy of its state is computed again, and is not much.
    assert computed < BACK + STRANGERS * STRANGER + BACK // 2
    # A few tokens more, those of a short turn, may not be worth a copy of their own.
    assert cached(again) >= len(chat) - 1


def test_without_host_memory_the_same_answers_come_and_are_computed_again(tmp_path: Path) -> None:
    begin = text(SYSTEM, 1)
    with asking(tmp_path, "delta net", park_bytes=0) as one:
        first = one.ask(begin)
        turn = one.ask((*begin, *first.ids, *text(QUESTION, 2)))
        edited = one.ask((*begin[:-10], *text(QUESTION, 3)))

        one.assert_every_answer_is_the_cold_one()

    # At the end of what was computed, the state is still there.
    assert [cached(done) for done in (first, turn, edited)] == [0, SYSTEM + 7, 0]
