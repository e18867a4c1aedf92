"""What an engine gives up while the machine is short of memory, and what it keeps."""

from tests.scheduler.fake_device import Bench
from tests.scheduler.test_parking import ROOMY, n_copies
from umad.step import HostLimit, ParkDrop, SeqPark, StepPlan


def bench_with_parked(*, sessions: int = 0, others: int = 6) -> Bench:
    """Conversations of 300 tokens that were parked, since the pool has room for two of them."""
    bench = Bench(n_cells=700, parking=ROOMY)
    for rid in range(1, sessions + others + 1):
        session = f"chat {rid}" if rid <= sessions else None
        bench.arrive(rid, 300, 4, app=f"app{rid}", session=session)
        while rid not in bench.ended:
            bench.step()
        bench.run(10)
    assert bench.scheduler.snapshot().parked_bytes > 0
    bench.plans.clear()
    return bench


def limits(plans: list[StepPlan]) -> list[HostLimit]:
    return [op for plan in plans for op in plan.memory if isinstance(op, HostLimit)]


def test_prefixes_that_no_session_needs_go_at_once_and_sessions_stay() -> None:
    bench = bench_with_parked(sessions=2)
    before_bytes = bench.scheduler.snapshot().parked_bytes

    spared = bench.scheduler.spare(0.5)
    bench.run(1)

    kept_bytes = bench.scheduler.snapshot().parked_bytes
    assert 0 < kept_bytes <= 2 * 5 * ROOMY.slab_bytes
    assert spared.freed_bytes == before_bytes - kept_bytes
    assert spared.over_bytes == 0
    assert sum(n_copies(plan, ParkDrop) for plan in bench.plans) > 0


def test_the_engine_is_told_the_limit_once_and_after_the_drops() -> None:
    bench = bench_with_parked()

    bench.scheduler.spare(0.5)
    bench.run(3)

    assert limits(bench.plans) == [
        HostLimit(capacity_bytes=ROOMY.capacity_bytes // 2, keeps_spare=False)
    ]
    told = next(plan.memory for plan in bench.plans if limits([plan]))
    assert isinstance(told[-1], HostLimit)


def test_with_no_room_at_all_sessions_go_too_and_nothing_is_parked() -> None:
    bench = bench_with_parked(sessions=2)

    bench.scheduler.spare(0.0)
    bench.plans.clear()
    for rid in range(50, 54):
        bench.arrive(rid, 350, 4, app=f"app{rid}")
        while rid not in bench.ended:
            bench.step()

    assert bench.scheduler.snapshot().parked_bytes == 0
    assert sum(n_copies(plan, SeqPark) for plan in bench.plans) == 0


def test_parking_goes_on_once_there_is_memory_again() -> None:
    bench = bench_with_parked()
    bench.scheduler.spare(0.0)
    bench.run(1)

    bench.scheduler.spare(1.0)
    bench.plans.clear()
    for rid in range(50, 56):
        bench.arrive(rid, 350, 4, app=f"app{rid}")
        while rid not in bench.ended:
            bench.step()
        bench.run(10)

    assert limits(bench.plans) == [HostLimit(capacity_bytes=ROOMY.capacity_bytes, keeps_spare=True)]
    assert bench.scheduler.snapshot().parked_bytes > 0


def test_an_engine_that_parks_nothing_has_nothing_to_give() -> None:
    bench = Bench(n_cells=700, parking=None)

    spared = bench.scheduler.spare(0.5)

    assert (spared.freed_bytes, spared.kept_bytes, spared.over_bytes) == (0, 0, 0)
