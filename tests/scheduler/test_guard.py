"""The latency guard: what running streams feel of background work and of newcomers."""

import numpy as np
import pytest

from tests.scheduler.fake_device import Bench, device_ms
from umad.scheduler.steps.patience import Patience


def test_a_long_background_prompt_never_stalls_an_interactive_stream() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)

    bench.arrive(9, 2000, 10, lane="background", app="batch")
    steps = [device_ms(plan) for plan in bench.run(200)]

    solo_ms = 16.0 + 6.0 * 3
    assert np.percentile(steps, 95) <= 1.2 * solo_ms
    assert max(steps) <= 2.0 * solo_ms


def test_the_strictest_cap_of_the_streams_in_a_step_holds_for_it() -> None:
    def p95_ms(*caps: float | None) -> float:
        bench = Bench(n_cells=8192)
        for rid, cap in enumerate(caps, start=1):
            bench.arrive(rid, 20, 700, cap=cap)
        bench.run(5)
        bench.arrive(9, 3000, 10, lane="background", app="batch")
        return float(np.percentile([device_ms(plan) for plan in bench.run(300)], 95))

    solo_ms = 16.0 + 6.0 * 3
    assert solo_ms < p95_ms(None, None, 1.15) <= 1.15 * solo_ms * 1.01
    assert 1.3 * solo_ms < p95_ms(1.6, 1.6, 1.6) <= 1.6 * solo_ms * 1.01
    assert p95_ms(None, 1.6, 1.6) <= 1.2 * solo_ms * 1.01


def test_the_background_always_gets_its_floor() -> None:
    bench = Bench()
    for rid in range(1, 9):
        bench.arrive(rid, 20, 3000 // 8, app=f"app{rid}")
    bench.arrive(50, 600, 4, lane="background", app="batch")

    bench.run(330)

    prefilled = sum(s.n_tokens for plan in bench.plans for s in plan.prefill if s.rid == 50)
    spent_ms = 4.5 * prefilled
    assert spent_ms >= 0.02 * sum(device_ms(plan) for plan in bench.plans)


def test_a_newcomer_is_prefilled_beside_running_streams_in_bounded_slices() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)

    bench.arrive(4, 200, 10, app="terminal")
    waited = 0
    while not bench.tokens[4]:
        plan = bench.step()
        waited += 1
        assert len(plan.decode) == 3, "running streams go on at every step"
        assert device_ms(plan) <= bench.settings.newcomer_ms

    slice_ms = Patience(bench.settings.newcomer_ms).piece_ms(3, 34.0)
    assert waited <= 1.35 * 200 * 4.5 / slice_ms, "and it gets on at the rate it is promised"


def test_a_newcomers_slices_are_equal_so_that_none_is_longer_than_it_must_be() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)

    bench.arrive(4, 60, 10, app="terminal")
    sizes = [sum(piece.n_tokens for piece in plan.prefill) for plan in bench.run(8)]

    slices = [size for size in sizes if size]
    assert sum(slices) == 60
    assert max(slices) <= np.ceil(60 / len(slices)) + 3, "an equal share, in whole tiles"


def test_a_newcomers_prompt_is_interactive_work_and_no_breach_of_the_guard() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)

    bench.arrive(4, 60, 10, app="terminal")
    plan = bench.step()

    assert plan.prefill
    assert plan.solo_ms == pytest.approx(device_ms(plan), rel=0.05)


def test_newcomers_that_outnumber_the_running_streams_are_not_held_back_for_them() -> None:
    bench = Bench()
    bench.arrive(1, 20, 400)
    bench.run(3)

    for rid in range(2, 10):
        bench.arrive(rid, 40, 400, app=f"app{rid}")
    steps = 0
    while any(not bench.tokens[rid] for rid in range(2, 10)):
        bench.step()
        steps += 1

    assert steps <= 20


def test_however_many_newcomers_come_a_running_stream_waits_for_a_bounded_time() -> None:
    bench = Bench(max_seqs=64, n_cells=16_384)
    bench.arrive(1, 20, 400)
    bench.run(5)
    for rid in range(2, 42):
        bench.arrive(rid, 100, 5, app=f"app{rid}")

    beside_newcomers = [plan for plan in bench.run(100) if plan.prefill]

    # While they outnumber the streams, their slices are as long as on an idle machine.
    solo_ms = [16.0 + 6.0 * len(plan.decode) for plan in beside_newcomers]
    slices = [device_ms(plan) - solo for plan, solo in zip(beside_newcomers, solo_ms, strict=True)]
    assert 150.0 < max(slices) <= 1.1 * bench.settings.slice_ms


def test_nothing_waits_for_background_rows_when_a_newcomer_has_the_device_to_itself() -> None:
    bench = Bench()
    for rid in range(4):
        bench.arrive(rid, 20, 400, lane="background", app="batch")
    bench.run(5)

    bench.arrive(9, 100, 10)
    plan = bench.step()

    assert [piece.rid for piece in plan.prefill] == [9]
    assert not plan.decode
