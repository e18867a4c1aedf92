"""The latency guard's books alone: what a step may carry after what became of those before it."""

import numpy as np
import pytest

from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.steps.latency_guard import CHUNK_EVERY, LEAST_TRUST, LatencyGuard

SOLO_MS = 10.0
CAP = 1.2
WITHIN_MS = CAP * SOLO_MS


def steps_without_guests(guard: LatencyGuard, piece_ms: float = 1.0) -> int:
    """Steps of interactive work alone until the guard lets something in again."""
    n = 0
    while not guard.allowance_ms(SOLO_MS, WITHIN_MS, piece_ms):
        guard.settle(solo_ms=SOLO_MS, within_ms=WITHIN_MS, step_ms=SOLO_MS, carried=False)
        n += 1
    return n


def test_what_a_step_ran_over_is_paid_back_before_anything_is_carried_again() -> None:
    guard = LatencyGuard(cap=CAP, floor=0.0)

    guard.settle(solo_ms=SOLO_MS, within_ms=WITHIN_MS, step_ms=20.0, carried=True)

    assert steps_without_guests(guard) == 4, "8 ms over the cap, 2 ms of slack a step"


def test_one_freak_step_silences_the_background_for_a_bounded_time() -> None:
    guard = LatencyGuard(cap=CAP, floor=0.0)

    guard.settle(solo_ms=SOLO_MS, within_ms=WITHIN_MS, step_ms=60_000.0, carried=True)

    assert steps_without_guests(guard) == 100, "twenty solo steps' worth, not a minute's"


def test_work_that_takes_longer_than_thought_is_let_in_until_one_step_in_25_is_over() -> None:
    guard = LatencyGuard(cap=CAP, floor=0.0)
    noise = np.random.default_rng(1)
    over: list[bool] = []
    for _ in range(30_000):
        allowed_ms = guard.allowance_ms(SOLO_MS, WITHIN_MS, 0.1)
        device_ms = SOLO_MS + allowed_ms * noise.uniform(0.5, 2.0)
        guard.settle(
            solo_ms=SOLO_MS, within_ms=WITHIN_MS, step_ms=device_ms, carried=allowed_ms > 0
        )
        if allowed_ms:
            over.append(device_ms > WITHIN_MS)

    settled = over[len(over) // 2 :]

    assert 0.03 < float(np.mean(settled)) < 0.07


def test_a_machine_that_is_always_over_still_carries_a_quarter_of_the_slack() -> None:
    guard = LatencyGuard(cap=CAP, floor=0.0)
    for _ in range(200):
        guard.settle(solo_ms=SOLO_MS, within_ms=WITHIN_MS, step_ms=12.5, carried=True)
    steps_without_guests(guard, piece_ms=0.1)

    slack_ms = WITHIN_MS - SOLO_MS
    assert np.isclose(guard.allowance_ms(SOLO_MS, WITHIN_MS, 0.1), LEAST_TRUST * slack_ms)


def test_a_piece_above_the_cap_comes_so_seldom_that_the_95th_percentile_does_not_feel_it() -> None:
    guard = LatencyGuard(cap=CAP, floor=0.0)
    steps_ms: list[float] = []
    for _ in range(2_000):
        carries = guard.allowance_ms(SOLO_MS, WITHIN_MS, 5.0) > 0
        steps_ms.append(SOLO_MS + (5.0 if carries else 0.0))
        guard.settle(solo_ms=SOLO_MS, within_ms=WITHIN_MS, step_ms=steps_ms[-1], carried=carries)

    assert float(np.percentile(steps_ms, 95)) <= WITHIN_MS
    assert float(np.mean(np.array(steps_ms) > SOLO_MS)) > 0.03, "but it comes"


def test_a_piece_dearer_than_the_step_itself_never_comes_beside_it() -> None:
    guard = LatencyGuard(cap=CAP, floor=0.0)

    assert guard.allowance_ms(SOLO_MS, WITHIN_MS, SOLO_MS + 1.0) == 0.0


def test_the_floor_is_kept_where_the_cap_leaves_nothing() -> None:
    def share(floor: float) -> float:
        guard = LatencyGuard(cap=1.0, floor=floor)
        background_ms = total_ms = 0.0
        for _ in range(5_000):
            carries = guard.allowance_ms(SOLO_MS, SOLO_MS, 4.0) > 0
            device_ms = SOLO_MS + (4.0 if carries else 0.0)
            guard.settle(solo_ms=SOLO_MS, within_ms=SOLO_MS, step_ms=device_ms, carried=carries)
            background_ms += device_ms - SOLO_MS
            total_ms += device_ms
        return background_ms / total_ms

    assert share(0.0) < 0.001
    assert 0.018 < share(0.02) < 0.03


def test_a_piece_that_seems_too_dear_for_every_step_is_tried_now_and_then() -> None:
    """Else a wrong opinion of it would last for ever: nothing else corrects it."""
    guard = LatencyGuard(cap=1.2, floor=0.0)
    piece_ms, carried = 0.6 * SOLO_MS, []

    for _ in range(1000):
        allowed_ms = guard.allowance_ms(SOLO_MS, WITHIN_MS, piece_ms)
        if allowed_ms:
            carried.append(allowed_ms)
        guard.settle(
            solo_ms=SOLO_MS,
            within_ms=WITHIN_MS,
            step_ms=SOLO_MS + allowed_ms,
            carried=allowed_ms > 0,
        )

    assert set(carried) == {piece_ms, SOLO_MS}
    assert 0.15 < carried.count(piece_ms) / len(carried) < 0.4
    assert len(carried) <= 1000 / 25 + 1


def test_a_step_now_and_then_carries_nothing_because_only_such_steps_show_what_solo_is() -> None:
    guard = LatencyGuard(cap=CAP, floor=0.0)
    carried = []
    for _ in range(20 * (CHUNK_EVERY + 1)):
        carried.append(guard.allowance_ms(SOLO_MS, WITHIN_MS, 0.1) > 0)
        guard.settle(
            solo_ms=SOLO_MS,
            within_ms=WITHIN_MS,
            step_ms=1.1 * SOLO_MS if carried[-1] else SOLO_MS,
            carried=carried[-1],
        )

    assert carried.count(False) == 20


@pytest.mark.parametrize("floor", [0.0, 0.02])
def test_a_cost_learnt_beside_a_load_goes_with_the_load_although_every_step_could_carry(
    floor: float,
) -> None:
    guard = LatencyGuard(cap=CAP, floor=floor)
    cost = CostModel()
    for _ in range(50):
        cost.learn(1, 0, 4 * SOLO_MS)
    felt_ms = []
    for _ in range(300):
        solo_ms = cost.solo_ms(1, 0)
        within_ms = guard.within_ms(solo_ms, ())
        allowed_ms = guard.allowance_ms(solo_ms, within_ms, 1.0)
        # A token of a prompt takes 1 ms beside the row.
        n = min(8, int(allowed_ms))
        felt_ms.append(SOLO_MS + n)
        cost.learn(1, n, felt_ms[-1])
        guard.settle(solo_ms=solo_ms, within_ms=within_ms, step_ms=felt_ms[-1], carried=n > 0)
        if not n:
            cost.learn_solo(1, 0, felt_ms[-1])

    assert cost.solo_ms(1, 0) <= 1.05 * SOLO_MS
    assert max(felt_ms[100:]) <= 1.3 * SOLO_MS
    assert float(np.mean(felt_ms[200:])) > 1.1 * SOLO_MS, "the slack is used"
