"""What is parked, what it may cost, and what goes when host memory is full."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.scheduler.fake_device import Bench
from umad.forgetting import ForgetScope
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.parked_store import ParkedStore, ParkShape
from umad.step import SeqPark, SeqRestore, StepPlan

ROOMY = ParkShape(capacity_bytes=1 << 30, slice_cells=64, slab_bytes=1 << 20)
THREE_SLABS = ParkShape(capacity_bytes=300, slice_cells=32, slab_bytes=100)


def tokens(which: int, n: int) -> NDArray[np.int32]:
    return np.random.default_rng(which).integers(0, 1000, n).astype(np.int32)


def keep(
    store: ParkedStore, which: int, n: int, *, rebuild_ms: float = 1.0, session: str | None = None
) -> int:
    key = store.reserve(
        tokens(which, n), session=session, rebuild_ms=rebuild_ms, protected=frozenset()
    )
    assert key is not None
    store.advance(key, n)
    return key


def n_copies(plan: StepPlan, kind: type) -> int:
    return sum(isinstance(op, kind) for op in plan.memory)


def test_copies_keep_running_streams_within_the_guard() -> None:
    bench = Bench(n_cells=3000, parking=ROOMY)
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400, app=f"app{rid}")
    for rid in range(100, 108):  # what they leave behind fills the pool
        bench.arrive(rid, 350, 4, app=f"app{rid}")
        while rid not in bench.ended:
            bench.step()
        bench.run(10)

    copying = [
        (n_copies(plan, SeqPark), plan)
        for plan in bench.plans
        if len(plan.decode) >= 3 and not plan.prefill
    ]
    n_slabs = [n for n, _ in copying]
    assert sum(n_slabs) >= 20
    assert all(
        bench.slab_ms * n <= max(bench.slab_ms, 0.2 * plan.solo_ms * 1.1) for n, plan in copying
    )
    over = sum(bench.slab_ms * n > 0.2 * plan.solo_ms for n, plan in copying)
    assert over <= 0.05 * len(copying)


def test_a_preempted_request_is_put_back_and_not_computed_again() -> None:
    bench = Bench(n_cells=700, parking=ROOMY)
    bench.arrive(1, 500, 60, lane="background", app="batch")
    while bench.tokens[1] < 10:
        bench.step()

    bench.arrive(2, 600, 20)
    bench.plans.clear()
    while 1 not in bench.ended:
        bench.step()

    assert bench.scheduler.snapshot().restores_total == 1
    assert sum(n_copies(plan, SeqRestore) for plan in bench.plans) == 8
    computed = sum(s.n_tokens for plan in bench.plans for s in plan.prefill if s.rid == 1)
    assert computed == 1, "only the token that had been drawn and not computed"


def test_what_is_cheaper_to_compute_than_to_copy_is_dropped() -> None:
    bench = Bench(n_cells=700, parking=ROOMY, slab_ms=5_000.0)
    for rid in range(1, 6):
        bench.arrive(rid, 500, 4)
        while rid not in bench.ended:
            bench.step()

    slabs = [n_copies(plan, SeqPark) for plan in bench.plans]

    assert sum(slabs) <= 8, "one sequence is enough to learn it"


def test_parked_sequences_are_counted_once_only_host_memory_has_them() -> None:
    bench = Bench(n_cells=700, parking=ROOMY)
    counts = []
    for rid in range(1, 5):
        bench.arrive(rid, 500, 4)
        while rid not in bench.ended:
            bench.step()
        counts.append(bench.scheduler.snapshot().parked)

    assert counts == [0, 1, 2, 3]


def test_a_dropped_session_is_forgotten_in_host_memory_too() -> None:
    bench = Bench(n_cells=700, parking=ROOMY)
    for rid in (1, 2):
        bench.arrive(rid, 500, 4, session=f"chat{rid}")
        while rid not in bench.ended:
            bench.step()

    assert bench.scheduler.forget(ForgetScope(session="chat1")).sessions == {"chat1"}
    assert not bench.scheduler.forget(ForgetScope(session="chat1")).sessions
    assert bench.scheduler.snapshot().parked == 0


def test_when_host_memory_is_full_the_cheapest_to_rebuild_for_its_room_goes() -> None:
    store = ParkedStore(THREE_SLABS)
    dear = keep(store, 1, 32, rebuild_ms=50.0)
    cheap = keep(store, 2, 64, rebuild_ms=20.0)

    new = keep(store, 3, 32)

    assert (dear in store, cheap in store, new in store) == (True, False, True)
    assert store.take_dropped() == (cheap,)
    assert store.used_bytes == 200


def test_what_was_of_no_use_for_long_goes_though_it_was_dear() -> None:
    store = ParkedStore(THREE_SLABS)
    dear = keep(store, 0, 32, rebuild_ms=5.0)
    for which in range(1, 20):
        keep(store, which, 32, rebuild_ms=2.0)

    assert dear not in store


def test_pinned_sessions_go_after_all_others_and_what_is_being_put_back_never() -> None:
    store = ParkedStore(THREE_SLABS)
    chat = keep(store, 1, 32, session="chat")
    other = keep(store, 2, 32, rebuild_ms=500.0)
    busy = keep(store, 3, 32)
    store.pin(busy, rebuild_ms=0.0)

    keep(store, 4, 32)
    assert (chat in store, other in store) == (True, False)

    keep(store, 5, 64, rebuild_ms=1.0)
    assert (chat in store, busy in store) == (False, True)
    assert store.reserve(tokens(6, 96), session=None, rebuild_ms=9.0, protected=set()) is None


def test_more_than_host_memory_holds_is_not_parked() -> None:
    store = ParkedStore(THREE_SLABS)
    kept = keep(store, 1, 32)

    assert store.reserve(tokens(2, 97), session=None, rebuild_ms=1.0, protected=set()) is None
    assert kept in store


def test_the_cost_of_a_copy_is_learnt() -> None:
    copying = CopyCost(CostModel(prefill_ms_per_token=1.0), cell_bytes=10_000.0, batch_tokens=256)
    assert copying.is_worth_parking(1000)

    copying.learn(1_000_000, 100.0)

    assert copying.copy_ms(100) == pytest.approx(100.0)
    assert not copying.is_worth_parking(1000)
    copying.learn(1_000_000, 1e9)
    assert copying.copy_ms(100) < 200.0, "an interrupted copy teaches little"
