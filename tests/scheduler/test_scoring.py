"""A prompt that is scored: every position has logits, in steps that stay short."""

from dataclasses import replace

import numpy as np
import pytest

from tests.scheduler.fake_device import Bench
from umad.scheduler import Submission
from umad.scheduler.steps.scoring import MOST_BYTES, most_scored_rows
from umad.step import PrefillSlice, StepPlan

MOST = 16  # rows of one step, as `SchedulerSpec` has it


def arrives(
    bench: Bench, rid: int, prompt: list[int], *, lane: str = "interactive", n_new: int = 2
) -> None:
    tokens = np.array(prompt, np.int32)
    bench.scheduler.submit(
        Submission(
            rid=rid,
            tokens=tokens,
            n_prompt=tokens.size,
            max_new_tokens=n_new,
            lane=lane,
            app="harness",
            scores_prompt=True,
        ),
        bench.now_ns,
    )


def scored(plans: list[StepPlan], rid: int) -> list[int]:
    """Positions of a request that had logits, in order."""
    return [
        at
        for plan in plans
        for piece in plan.prefill
        if piece.rid == rid and piece.scores
        for at in range(piece.start, piece.start + piece.n_tokens)
    ]


def runs(bench: Bench, n: int = 400) -> None:
    for _ in range(n):
        if not bench.scheduler.has_work:
            return
        bench.step()


@pytest.mark.parametrize("n_prompt", [1, 2, 17, 100])
@pytest.mark.parametrize("lane", ["interactive", "background"])
def test_every_position_is_scored_once_and_the_request_ends(n_prompt: int, lane: str) -> None:
    bench = Bench()
    arrives(bench, 1, list(range(n_prompt)), lane=lane)

    runs(bench)

    assert bench.ended[1].completion_tokens == 2
    assert scored(bench.plans, 1)[: n_prompt - 1] == list(range(n_prompt - 1))


def test_a_kept_prefix_is_computed_again_because_cells_have_no_logits() -> None:
    bench, prompt = Bench(), list(range(200))
    bench.arrive(1, 200, 2, prompt=prompt)
    runs(bench)

    arrives(bench, 2, prompt)
    runs(bench)

    assert bench.ended[2].cached_tokens == 0
    assert scored(bench.plans, 2)[:199] == list(range(199))


def test_the_next_request_shares_what_a_scored_one_leaves() -> None:
    bench, prompt = Bench(), list(range(200))
    arrives(bench, 1, prompt)
    runs(bench)

    bench.arrive(2, 200, 2, prompt=prompt)
    runs(bench)

    assert bench.ended[2].cached_tokens > 100


def test_a_step_has_few_scored_rows_however_many_prompts_are_scored() -> None:
    bench = Bench()
    for rid in range(1, 5):
        arrives(bench, rid, list(range(rid, rid + 90)))
    bench.arrive(9, 4, 60)

    runs(bench)

    rows = [sum(p.n_tokens for p in plan.prefill if p.scores) for plan in bench.plans]
    assert max(rows) <= MOST
    assert set(bench.ended) == {1, 2, 3, 4, 9}


def test_scored_slices_stand_behind_the_rows_that_tokens_are_drawn_from() -> None:
    bench = Bench()
    arrives(bench, 1, list(range(60)))
    for rid in range(2, 6):
        bench.arrive(rid, 6, 3)

    runs(bench)

    for plan in bench.plans:
        kinds = [piece.scores for piece in plan.prefill]
        assert kinds == sorted(kinds)


def test_beside_streams_a_scored_slice_is_half_as_long() -> None:
    def longest(*, scores: bool) -> int:
        bench = Bench()
        bench.arrive(1, 4, 300)
        for _ in range(5):
            bench.step()
        if scores:
            arrives(bench, 2, list(range(64)), lane="background")
        else:
            bench.arrive(2, 64, 2, lane="background", prompt=list(range(64)))
        n_before = len(bench.plans)
        runs(bench, 200)
        return max(
            (p.n_tokens for plan in bench.plans[n_before:] for p in plan.prefill if p.rid == 2),
            default=0,
        )

    assert 1 <= longest(scores=True) <= -(-longest(scores=False) // 2)


def test_rows_are_bounded_by_bytes_and_by_what_llama_cpp_makes_room_for() -> None:
    assert most_scored_rows(5_120, 64) == 64
    assert most_scored_rows(152_000, 64) == MOST_BYTES // (4 * 152_000)
    assert most_scored_rows(152_000, 4) == 4
    assert most_scored_rows(10**9, 64) == 1


def test_a_request_that_scores_nothing_has_no_row_more_than_before() -> None:
    bench = Bench()
    bench.arrive(1, 50, 3)
    runs(bench)

    pieces: list[PrefillSlice] = [piece for plan in bench.plans for piece in plan.prefill]
    assert not any(piece.scores for piece in pieces)
    assert pieces == [replace(piece, scores=False) for piece in pieces]
