"""Overruns: of the steps that readers wait for, few are over the cap for other work's sake."""

import random

import pytest

from umad.scheduler.steps.latency_guard import LatencyGuard
from umad.scheduler.steps.overruns import EVERY, Overruns

STEPS = 5_000


def shares(*, carried_over: float, lone_over: float) -> tuple[float, float]:
    """Of `STEPS` steps that carry other work whenever they may: the share that carried it, and the
    share that carried it and was over."""
    chance, count = random.Random(0), Overruns()
    n_carried = n_over = 0
    for n in range(STEPS):
        carried = count.allows and n % EVERY > 0  # some steps are alone, as the guard has it
        is_over = chance.random() < (carried_over if carried else lone_over)
        count.settle(carried=carried, is_over=is_over)
        n_carried += carried
        n_over += carried and is_over
    return n_carried / STEPS, n_over / STEPS


def test_steps_within_the_cap_carry_without_end() -> None:
    carried, _ = shares(carried_over=0.0, lone_over=0.0)

    assert carried == 1 - 1 / EVERY


@pytest.mark.parametrize("carried_over", [0.1, 0.5, 1.0])
def test_where_carrying_steps_are_often_over_one_step_in_50_is(carried_over: float) -> None:
    carried, over = shares(carried_over=carried_over, lone_over=0.0)

    assert over == pytest.approx(1 / EVERY, rel=0.2)
    assert carried == pytest.approx(1 / EVERY / carried_over, rel=0.2)


def test_a_machine_on_which_lone_steps_are_over_as_often_is_no_reason_to_stop() -> None:
    carried, _ = shares(carried_over=0.3, lone_over=0.3)

    assert carried > 0.8


def test_other_works_part_is_counted_where_lone_steps_are_over_too() -> None:
    _, over = shares(carried_over=0.6, lone_over=0.1)

    # One in 50, and what a tenth of the carrying steps would have been alone.
    assert 1 / EVERY < over < 2.5 / EVERY


def test_the_guard_carries_less_often_where_its_smallest_piece_is_over() -> None:
    guard = LatencyGuard(cap=1.2, floor=0.0)
    solo_ms, within_ms = 10.0, 12.0
    chance, carried = random.Random(0), 0
    for _ in range(STEPS):
        # The cost model says 1 ms. Half of the time it takes 2.5.
        takes_ms = guard.allowance_ms(solo_ms, within_ms, 1.0)
        carried += bool(takes_ms)
        step_ms = solo_ms + (2.5 if chance.random() < 0.5 else 1.0) * bool(takes_ms)
        guard.settle(solo_ms=solo_ms, within_ms=within_ms, step_ms=step_ms, carried=bool(takes_ms))

    assert carried / STEPS == pytest.approx(2 / EVERY, rel=0.25)
