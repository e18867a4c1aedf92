"""How large background slices are, and when a running step is cut."""

from tests.scheduler.fake_device import Bench, device_ms
from umad.scheduler.costs.cost_curve import CostCurve
from umad.scheduler.costs.step_cost import CostModel
from umad.step import (
    SeqTrim,
    StepResult,
)


def test_background_work_alone_runs_in_large_slices_that_may_be_cut() -> None:
    bench = Bench()
    bench.arrive(1, 1000, 4, lane="background")

    plan = bench.step()

    assert plan.cuttable
    assert plan.n_rows >= 64


def test_background_work_fills_the_whole_batch_where_nobody_ever_cuts_it() -> None:
    bench = Bench(n_cells=2**14, batch_tokens=512)
    bench.arrive(1, 8000, 4, lane="background")

    sizes = [plan.n_rows for plan in bench.run(12)]

    assert sizes[-5:] == [512] * 5


def test_background_slices_are_sized_in_time_where_a_running_step_cannot_be_cut() -> None:
    bench = Bench(cut_share=1.0)
    bench.arrive(1, 2000, 4, lane="background")

    plans = bench.run(10)

    assert all(device_ms(plan) <= 1.2 * bench.settings.slice_ms for plan in plans)


def test_background_slices_shrink_while_arrivals_keep_cutting_them_and_grow_again() -> None:
    bench = Bench(n_cells=2**18, batch_tokens=512)
    bench.arrive(1, 200_000, 4, lane="background")
    calm = bench.run(12)[-1].n_rows

    for _ in range(20):
        # One second's work, then an arrival cuts whatever runs.
        began_ns = bench.now_ns
        while bench.now_ns - began_ns < 1e9:
            cut = bench.step()
        busy = cut.n_rows
        bench.cut_next(after_ms=10.0)
    bench.run(150)

    assert calm == 512
    assert busy <= 192, "most of a second's work was lost to every cut"
    assert bench.step().n_rows >= 256


def test_an_editor_that_fell_silent_costs_background_work_no_speed_a_moment_later() -> None:
    bench = Bench(n_cells=2**18, batch_tokens=512)
    bench.arrive(1, 200_000, 4, lane="background")
    for _ in range(100):
        began_ns = bench.now_ns
        while bench.now_ns - began_ns < 0.3e9:
            bench.step()
        bench.cut_next(after_ms=10.0)

    speeds, whole_ms = [], 16.0 + 4.3 * 512
    for _ in range(3):
        began_ns, n_tokens = bench.now_ns, 0
        while bench.now_ns - began_ns < 15e9:
            n_tokens += bench.step().n_rows
        speeds.append(n_tokens / (bench.now_ns - began_ns) * 1e6 / (512 / whole_ms))

    assert speeds[0] >= 0.96, "most of a minute's habit is forgotten at once"
    assert min(speeds[1:]) >= 0.985


def test_background_slices_grow_until_larger_ones_are_no_faster() -> None:
    bench = Bench()
    bench.scheduler.cost.prefill.rows = CostCurve(5.0)
    bench.scheduler.cost.learn(0, 4, 16.0 + 4.3 * 4)  # all that was probed
    bench.arrive(1, 3500, 4, lane="background")

    sizes = [plan.n_rows for plan in bench.run(15)]

    assert sizes[0] <= 16
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 48


def test_slices_grow_though_a_driver_built_its_programs_for_a_minute_in_the_first_one() -> None:
    bench = Bench()
    bench.scheduler.cost.prefill.rows = CostCurve(5.0)
    bench.scheduler.cost.learn(0, 7, 77_000.0)
    bench.arrive(1, 3500, 4, lane="background")

    sizes = [plan.n_rows for plan in bench.run(25)]

    assert sizes[0] == 1
    assert max(sizes) >= 48


def test_a_cut_step_loses_only_what_the_cells_do_not_hold() -> None:
    bench = Bench()
    bench.arrive(1, 500, 4, lane="background")
    plan = bench.scheduler.plan(0)
    piece = plan.prefill[0]

    cut = StepResult(outcome="cut", device_ms=9.0, seq_lengths=((piece.seq, 10),))
    bench.scheduler.apply(plan, cut, 1)
    after = bench.step()

    assert after.memory == (SeqTrim(seq=piece.seq, keep_tokens=10),)
    assert after.prefill[0].start == 10


def test_a_machine_that_is_busy_for_a_while_does_not_shrink_slices_for_good() -> None:
    cost = CostModel()
    for _ in range(50):
        cost.learn(0, 64, 280.0)
    for _ in range(10):
        cost.learn(0, 64, 2_000.0)
    busy = cost.prefill.at(64)
    for _ in range(5):
        cost.learn(0, 64, 280.0)

    assert busy < 500.0
    assert cost.prefill.at(64) < 330.0
