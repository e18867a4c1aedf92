"""Engines of other models on the same device: one budget for all, and courtesy between them."""

import pytest

from tests.scheduler.budgeted_device import (
    FULL,
    HALF,
    SECOND,
    STEP_BYTES,
    STEP_NS,
    Device,
    Traffic,
    a_stream,
    limited,
)
from umad.scheduler import Neighbours
from umad.scheduler.steps.background_throttle import BackgroundThrottle
from umad.scheduler.steps.candidates import Candidates
from umad.scheduler.steps.latency_guard import LatencyGuard
from umad.scheduler.steps.limits import StepLimits
from umad.scheduler.steps.neighbours import SHARE, STEP_MS
from umad.step import DecodeSlice, StepPlan, StepResult

NO_ROWS = StepLimits(guard=LatencyGuard(cap=1.2, floor=0.0))


def test_what_other_engines_move_counts() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")
    budget = device.scheduler

    for second in range(1, 4):
        budget.heard(Neighbours(background_bytes=int(HALF / 2)), device.now_ns)
        device.run_until(second * SECOND)

    assert device.bytes_between(0, 3 * SECOND) == pytest.approx(1.5 * HALF, rel=0.07)


def test_the_engine_that_moved_last_leaves_the_other_the_next_turn() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")
    device.run_until(SECOND)
    device.scheduler.heard(Neighbours(background_bytes=STEP_BYTES), device.now_ns)
    device.run_until(device.now_ns + 11_000_000)  # both steps' debts are paid by now
    ours_ns = device.ran[-1][0]

    device.run_until(device.now_ns + 100_000_000)

    later = [at for at, _, _ in device.ran if at > ours_ns]
    assert later[0] - ours_ns >= 10_000_000 + 9_000_000
    assert device.bytes_between(0, device.now_ns) <= HALF * device.now_ns / 1e9


def test_an_engine_that_is_always_woken_late_gets_its_half_all_the_same() -> None:
    plan = StepPlan(
        decode=(DecodeSlice(rid=1, seq=0, position=0, token=0),), n_cells_read=1, background=True
    )
    moved = StepResult(outcome="done", sampled=(), device_ms=5.0, bytes_moved=STEP_BYTES)
    # A step's bytes are worth 60 ms; one begins as soon as it may, the other 15 ms later.
    rate = STEP_BYTES / 0.060
    engines = [
        BackgroundThrottle(budget=limited(rate), traffic=Traffic(), floor=0.0) for _ in range(2)
    ]
    late_ms, may_since, steps = (0, 15), [-1, -1], [0, 0]
    for now_ms in range(20_000):
        now_ns = now_ms * 1_000_000
        for one, engine in enumerate(engines):
            waiting = Candidates(background_decode=(a_stream(),))
            terms = engine.terms(waiting, NO_ROWS, now_ns, floor_is_owed=False)
            if terms.hold is not None:
                engines[1 - one].heard(Neighbours(waiting=True), now_ns)
                may_since[one] = -1
                continue
            may_since[one] = now_ms if may_since[one] < 0 else may_since[one]
            if now_ms - may_since[one] < late_ms[one]:
                continue
            engine.charge(plan, now_ns)
            engine.settle(plan, moved, now_ns)
            engines[1 - one].heard(Neighbours(background_bytes=STEP_BYTES), now_ns)
            steps[one], may_since[one] = steps[one] + 1, -1

    assert min(steps) >= 0.45 * sum(steps)
    assert sum(steps) >= 0.95 * 20_000 / 60, "and nothing of the budget is lost by it"


def test_an_engine_that_looks_up_after_an_idle_second_owes_what_time_has_not_paid() -> None:
    budget = limited(HALF)
    budget.wait_ms(0)

    budget.owe(int(HALF), background=True)

    assert budget.wait_ms(SECOND) == 0


def test_a_better_measurement_of_one_engine_counts_for_the_others() -> None:
    device = Device(budget=limited(HALF, measured=True))
    device.arrive(1, lane="background")

    device.scheduler.heard(Neighbours(bytes_per_s=int(2 * FULL)), 0)

    assert device.scheduler.bytes_per_s == 2 * FULL


def test_background_work_keeps_to_a_small_share_while_another_engine_is_interactive() -> None:
    device = Device(next_door=Neighbours(interactive=True))
    device.arrive(1, lane="background", n_prompt=4000)

    device.run_until(10 * SECOND)

    busy_ns = sum(STEP_NS * plan.n_rows for _, _, plan in device.ran)
    assert 0.5 * SHARE <= busy_ns / (10 * SECOND) <= 1.1 * SHARE
    assert max(STEP_NS * plan.n_rows for _, _, plan in device.ran) <= STEP_MS * 1e6


def test_background_work_takes_the_device_back_as_soon_as_the_neighbour_is_quiet() -> None:
    device = Device(next_door=Neighbours(interactive=True))
    device.arrive(1, lane="background", n_prompt=2)
    device.run_until(SECOND)
    held = len(device.ran)

    device.next_door = Neighbours()
    device.run_until(2 * SECOND)

    assert len(device.ran) - held >= 0.9 * SECOND / STEP_NS


def test_interactive_work_takes_no_notice_of_neighbours() -> None:
    device = Device(
        budget=limited(HALF), next_door=Neighbours(interactive=True, interactive_bytes=STEP_BYTES)
    )
    device.arrive(1, lane="interactive")

    device.run_until(SECOND)

    assert len(device.tokens_of(1)) >= SECOND / STEP_NS - 3
