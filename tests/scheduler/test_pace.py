"""Solo: what a reader would wait with nobody else about, learnt from what readers did wait."""

import pytest

from tests.scheduler.fake_device import Bench
from umad.scheduler.costs.step_cost import CostModel

ALONE_MS = 16.0 + 6.0  # one row on the fake device


def test_solo_has_the_hosts_part_in_it() -> None:
    bench = Bench(host_ms=5.0)
    bench.arrive(1, 20, 400)

    plan = bench.run(100)[-1]

    assert plan.solo_ms == pytest.approx(ALONE_MS + 5.0, rel=0.02)
    assert plan.within_ms == pytest.approx(1.2 * (ALONE_MS + 5.0), rel=0.02)


def test_a_step_that_was_interrupted_now_and_then_is_not_what_solo_is() -> None:
    bench = Bench()
    bench.arrive(1, 20, 400)

    for n in range(100):
        bench.host_ms = 80.0 if n % 10 == 0 else 1.0
        bench.step()

    assert bench.step().solo_ms == pytest.approx(ALONE_MS + 1.0, rel=0.05)


def test_what_a_step_with_background_work_took_is_not_what_its_readers_wait_alone() -> None:
    bench = Bench()
    bench.arrive(1, 20, 900)
    bench.run(30)
    bench.arrive(9, 2000, 10, lane="background", app="batch")

    bench.host_ms = 6.0  # which background work alone brings
    carrying = [plan for plan in bench.run(600) if plan.prefill]
    bench.host_ms = 0.0

    assert len(carrying) > 20
    assert all(plan.solo_ms <= 1.3 * ALONE_MS for plan in bench.plans[35:])


def test_a_long_wait_beside_a_load_is_forgotten_although_most_steps_then_carry_other_work() -> None:
    bench = Bench()
    bench.arrive(1, 20, 600)
    bench.host_ms = 40.0
    bench.run(70)
    bench.arrive(9, 3400, 10, lane="background", app="batch")

    bench.host_ms = 1.0
    bench.run(100)

    assert bench.step().solo_ms == pytest.approx(ALONE_MS + 1.0, rel=0.1)


def test_a_step_with_other_work_that_is_much_quicker_shows_that_solo_was_learnt_wrongly() -> None:
    bench = Bench()
    for rid in (8, 9):  # what they say is nobody's, so their rows are other work
        bench.arrive(rid, 20, 400, lane="background", app="batch")
    bench.arrive(1, 20, 400)
    bench.host_ms = 100.0
    bench.run(20)
    believed_ms = bench.step().solo_ms

    bench.host_ms = 1.0
    bench.run(3)

    assert believed_ms > 100.0
    assert bench.step().solo_ms < 2 * ALONE_MS


def test_a_step_that_is_a_little_quicker_than_solo_shows_nothing() -> None:
    cost = CostModel()
    cost.learn_all([(1, 0, 20.0)])
    for _ in range(20):
        cost.learn_solo(1, 0, 24.0)

    cost.bound_solo(1, 0, 21.0)

    assert cost.solo_ms(1, 0) == pytest.approx(24.0)


def test_what_is_at_most_so_long_is_not_longer_after_the_next_steps_either() -> None:
    cost = CostModel()
    cost.learn_all([(1, 0, 20.0)])
    for _ in range(60):
        cost.learn_solo(1, 0, 120.0)

    cost.bound_solo(1, 0, 23.0)
    at_once = cost.solo_ms(1, 0)
    for _ in range(16):
        cost.learn_solo(1, 0, 21.0)

    assert at_once == pytest.approx(23.0)
    assert cost.solo_ms(1, 0) <= 23.0


def test_what_other_numbers_of_streams_feel_is_taken_from_the_nearest_known() -> None:
    cost = CostModel()
    cost.learn_all([(n, 0, 16.0 + 6.0 * n) for n in (1, 2, 4, 8)])
    for _ in range(20):
        cost.learn_solo(2, 0, 28.0 + 3.0)

    assert cost.solo_ms(3, 0) - cost.decode.at(3, 0) == pytest.approx(3.0)
    assert cost.solo_ms(1, 0) - cost.decode.at(1, 0) == pytest.approx(3.0)


def test_a_pace_remembered_is_kept_until_there_are_steps_enough_to_correct_it() -> None:
    before, after = CostModel(), CostModel()
    for cost in (before, after):
        cost.learn_all([(1, 0, 20.0)])
    for _ in range(20):
        before.learn_solo(1, 0, 24.0)
    after.restore(before.snapshot())

    after.learn_solo(1, 0, 60.0)
    at_first = after.solo_ms(1, 0)
    for _ in range(60):
        after.learn_solo(1, 0, 21.0)

    assert at_first == pytest.approx(24.0)
    assert after.solo_ms(1, 0) == pytest.approx(21.0)
