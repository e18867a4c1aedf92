"""The ΣBMT budget: what it holds back, by how much, and what its rate is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scheduler.budgeted_device import (
    FULL,
    HALF,
    SECOND,
    STEP_BYTES,
    STEP_NS,
    Device,
    Traffic,
    limited,
)
from umad.scheduler.steps.traffic_budget import BURST_MS

# -- the rate -----------------------------------------------------------------------------------


def test_background_alone_is_held_to_half_the_bandwidth_in_any_second() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")

    device.run_until(5 * SECOND)

    for begin_ns in range(0, 4 * SECOND, 77_000_000):
        moved = device.bytes_between(begin_ns, begin_ns + SECOND)
        assert moved == pytest.approx(HALF, rel=0.05)


def test_without_a_budget_nothing_waits() -> None:
    device = Device()
    device.arrive(1, lane="background")

    device.run_until(SECOND)

    assert device.bytes_between(0, SECOND) == pytest.approx(FULL, rel=0.01)


@pytest.mark.parametrize("beside", [False, True])
def test_interactive_work_is_never_held(beside: bool) -> None:
    device = Device(budget=limited(FULL / 100))
    device.arrive(1, lane="interactive")
    if beside:
        device.arrive(2, lane="background")

    device.run_until(SECOND)

    assert len(device.tokens_of(1)) >= SECOND / STEP_NS - 3


def test_background_pays_for_what_interactive_work_moves() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")
    for second in range(1, 6):
        # A fifth of each second at full rate: two fifths of the budget.
        device.arrive(10 + second, lane="interactive", n_new=40)
        device.run_until(second * SECOND)

    assert device.bytes_between(0, 5 * SECOND) == pytest.approx(5 * HALF, rel=0.05)
    assert len(device.tokens_of(1)) > 0


def test_the_floor_is_kept_though_interactive_work_alone_exceeds_the_budget() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="interactive")
    device.arrive(2, lane="background", n_prompt=3000)

    device.run_until(5 * SECOND)

    prefilled = sum(s.n_tokens for _, _, plan in device.ran for s in plan.prefill if s.rid == 2)
    assert prefilled > 0


def test_a_minute_of_interactive_work_silences_the_background_for_ten_seconds_at_most() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="interactive", n_new=4000)
    device.run_until(20 * SECOND)
    quiet_ns = device.tokens_of(1)[-1] + STEP_NS

    device.arrive(2, lane="background")
    device.run_until(40 * SECOND)

    first_ns = next(at for at, _, plan in device.ran if plan.background)
    assert 9 * SECOND <= first_ns - quiet_ns <= 10 * SECOND + STEP_NS


def test_background_pays_for_an_answer_that_took_more_than_the_budget() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background", n_new=30_000)
    for second in range(0, 30, 6):
        device.run_until(second * SECOND)
        device.arrive(2 + second, lane="interactive", n_new=400)  # two seconds' at full speed

    device.run_until(36 * SECOND)

    moved = device.bytes_between(0, 36 * SECOND)
    assert moved == pytest.approx(36 * HALF, rel=0.06)


def test_background_rows_ride_along_on_weights_that_are_read_anyway() -> None:
    device = Device(budget=limited(FULL / 100))
    device.arrive(1, lane="interactive")
    device.arrive(2, lane="background")

    device.run_until(2 * SECOND)

    # As many as the guard lets, which on this device is every step.
    assert len(device.tokens_of(2)) >= 0.9 * len(device.tokens_of(1))


def test_background_rows_that_would_move_much_themselves_do_not_ride() -> None:
    device = Device(
        budget=limited(FULL / 100),
        traffic=Traffic(row_bytes=STEP_BYTES // 10),
        row_ns=STEP_NS // 10,
    )
    device.arrive(1, lane="interactive")
    device.arrive(2, lane="background")

    device.run_until(4 * SECOND)

    # The floor alone: a row costs a tenth of a step, so about one step in five carries it.
    ours, theirs = ([at for at in device.tokens_of(rid) if at > 2 * SECOND] for rid in (1, 2))
    assert 0 < len(theirs) <= 0.3 * len(ours)


def test_a_prompt_that_waits_for_bytes_is_computed_in_long_slices() -> None:
    held, free = Device(budget=limited(FULL / 100)), Device()
    for device in (held, free):
        for _ in range(20):  # somebody types: a cut every 50 ms
            device.scheduler.slices.cuts.ran(50.0, was_cut=True)
        device.arrive(1, lane="background", n_prompt=200)
        device.run_until(6 * SECOND)

    slices = [
        [piece.n_tokens for _, _, plan in device.ran for piece in plan.prefill]
        for device in (held, free)
    ]
    # Every slice reads all weights; where nothing waits, short ones lose less to a cut.
    assert len(slices[0]) * 2 < len(slices[1])
    assert sum(slices[0]) == sum(slices[1]) == 200


# -- auto ---------------------------------------------------------------------------------------


def test_a_probe_that_was_disturbed_does_not_slow_the_machine_down() -> None:
    device = Device(budget=limited(HALF, measured=True))
    device.arrive(1, lane="background")

    device.run_until(SECOND)

    assert device.bytes_between(0, SECOND) >= 0.95 * FULL


def test_a_rate_that_was_asked_for_stays_though_the_machine_is_faster() -> None:
    budget = limited(HALF)

    budget.learn(STEP_BYTES, 5.0)

    assert budget.bytes_per_s == HALF


# -- the books ----------------------------------------------------------------------------------


def test_what_a_cut_step_did_not_move_is_given_back() -> None:
    budget = limited(1000.0)
    budget.spend(1000, 0, background=True)

    budget.spend(-900, 0, background=True)

    assert budget.wait_ms(0) == pytest.approx(100)


def test_an_idle_minute_saves_up_no_burst() -> None:
    budget = limited(1000.0)
    budget.wait_ms(0)

    budget.spend(1000, 60 * SECOND, background=True)

    assert budget.wait_ms(60 * SECOND) == pytest.approx(1000 - BURST_MS)


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 2 * SECOND)), min_size=1, max_size=60)
)
def test_whatever_the_steps_no_stretch_of_time_exceeds_the_rate_by_more_than_a_step(
    steps: list[tuple[int, int]],
) -> None:
    budget, rate, now_ns = limited(1000.0), 1000.0, 0
    begun: list[tuple[int, int]] = []

    for n_bytes, idle_ns in steps:
        now_ns += idle_ns
        now_ns += int(budget.wait_ms(now_ns) * 1e6) + 1
        budget.spend(n_bytes, now_ns, background=True)
        begun.append((now_ns, n_bytes))

    for first in range(len(begun)):
        moved = 0
        for at_ns, n_bytes in begun[first:]:
            # Up to the beginning of the last step, which may be in debt by itself alone.
            allowed = rate * (at_ns - begun[first][0]) / SECOND + rate * BURST_MS / 1e3
            assert moved <= allowed + 1e-3
            moved += n_bytes
