"""What the interactive rows of a step allow, asked by every rule of the plan."""

from tests.scheduler.fake_device import Bench
from umad.config import SchedulerSettings
from umad.scheduler.memory.parked_store import ParkShape
from umad.step import SeqPark


def streams(bench: Bench, n: int) -> None:
    for rid in range(1, n + 1):
        bench.arrive(rid, 10, 90, app=f"app{rid}")
    while len(bench.tokens) < n:
        bench.step()
    bench.run(4)


def test_limits_are_those_of_the_rows_that_run_where_more_streams_wait_than_a_step_takes() -> None:
    few = Bench(settings=SchedulerSettings(max_merge=2))
    streams(few, 8)

    plan = few.step()

    assert len(plan.decode) == 2
    assert plan.solo_ms == few.scheduler.cost.solo_ms(2, plan.n_cells_read)


def test_copies_are_allowed_by_the_rows_that_run_and_not_by_all_streams() -> None:
    """With `max_merge` below the number of streams, copies used to be given the allowance of a
    step that holds all of them, which is longer than the step that ran."""
    parking = ParkShape(capacity_bytes=64 * 2**20, slice_cells=32, slab_bytes=2**15)
    bench = Bench(
        n_cells=3_000,
        max_seqs=32,
        settings=SchedulerSettings(max_merge=1),
        parking=parking,
        slab_ms=1.0,
    )
    bench.arrive(99, 2_000, 2, app="chat", session="s")
    while 99 not in bench.ended:
        bench.step()
    streams(bench, 8)

    carried_ms = []
    for _ in range(60):
        plan = bench.step()
        n_slabs = sum(isinstance(op, SeqPark) for op in plan.memory)
        if plan.decode and n_slabs:
            carried_ms.append((n_slabs * bench.slab_ms, plan.within_ms - plan.solo_ms))

    assert carried_ms, "something was copied beside a stream"
    assert all(ms <= slack + bench.slab_ms for ms, slack in carried_ms)
