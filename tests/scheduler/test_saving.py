"""When a session is written to disk, what that may cost others, and who waits for one."""

import numpy as np
from numpy.typing import NDArray

from tests.scheduler.fake_device import Bench
from umad.forgetting import ForgetScope
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.session_saving import FETCH_NS, LAST_SAVES_NS, SAVE_AFTER_NS
from umad.step import (
    DiskDone,
    MemoryOp,
    SeqPark,
    SeqRestore,
    SessionFetch,
    SessionForget,
    SessionSave,
    StepPlan,
)

ROOMY = ParkShape(capacity_bytes=1 << 30, slice_cells=64, slab_bytes=1 << 20)


def prompt(which: int, n: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(which).integers(0, 1000, n)]


def array(tokens: list[int]) -> NDArray[np.int32]:
    return np.array(tokens, dtype=np.int32)


def ops(plans: list[StepPlan], kind: type[MemoryOp]) -> list[MemoryOp]:
    return [op for plan in plans for op in plan.memory if isinstance(op, kind)]


def saver(**saved: list[int]) -> Bench:
    return Bench(parking=ROOMY, saved={name: array(tokens) for name, tokens in saved.items()})


def wait(bench: Bench, ns: int) -> list[StepPlan]:
    """Idle for so long, as an engine without work does, looking in now and then."""
    plans = bench.run(20)
    bench.now_ns += ns
    return plans + bench.run(20)


def one_turn(bench: Bench, rid: int, tokens: list[int], session: str | None = "chat") -> None:
    bench.arrive(rid, 0, 4, prompt=tokens, session=session)
    while rid not in bench.ended:
        bench.step()


def test_a_session_is_written_once_it_has_rested() -> None:
    bench = saver()
    one_turn(bench, 1, prompt(1, 300))

    at_once = wait(bench, SAVE_AFTER_NS // 2)
    later = wait(bench, SAVE_AFTER_NS)

    assert not ops(at_once, SessionSave)
    (save,) = ops(later, SessionSave)
    assert isinstance(save, SessionSave)
    assert save.tokens[:300].tolist() == prompt(1, 300)
    assert save.tokens.size == 303


def test_what_is_on_disk_already_is_not_written_again() -> None:
    bench = saver()
    one_turn(bench, 1, prompt(1, 300))
    (save,) = ops(wait(bench, 2 * SAVE_AFTER_NS), SessionSave)
    assert isinstance(save, SessionSave)
    bench.scheduler.disk_done(DiskDone(operation=save, ok=True))

    one_turn(bench, 2, prompt(2, 300), session=None)

    assert not ops(wait(bench, 2 * SAVE_AFTER_NS), SessionSave)
    assert bench.scheduler.snapshot().saved == 1


def test_a_disk_that_refuses_is_asked_again_only_when_the_session_has_gone_on() -> None:
    bench = saver()
    one_turn(bench, 1, prompt(1, 300))
    (save,) = ops(wait(bench, 2 * SAVE_AFTER_NS), SessionSave)
    assert isinstance(save, SessionSave)
    bench.scheduler.disk_done(DiskDone(operation=save, ok=False))

    assert not ops(wait(bench, 2 * SAVE_AFTER_NS), SessionSave)
    one_turn(bench, 2, [*prompt(1, 300), 1, 1, 1, 5, 5])
    assert ops(wait(bench, 2 * SAVE_AFTER_NS), SessionSave)


def test_copies_for_a_save_keep_running_streams_within_the_guard() -> None:
    bench = saver()
    one_turn(bench, 1, prompt(1, 2000))
    for rid in (2, 3, 4):
        bench.arrive(rid, 20, 300, app=f"app{rid}")
    bench.now_ns += 2 * SAVE_AFTER_NS

    plans = [plan for plan in bench.run(280) if len(plan.decode) == 3]

    carried = [sum(isinstance(op, SeqPark) for op in plan.memory) for plan in plans]
    assert sum(carried) == 32
    assert max(carried) * bench.slab_ms <= 0.2 * min(plan.solo_ms for plan in plans)
    assert ops(plans, SessionSave)


def test_an_ending_engine_writes_what_has_not_rested_and_does_not_wait_for_ever() -> None:
    bench = saver()
    one_turn(bench, 1, prompt(1, 300))

    assert bench.scheduler.is_saving(bench.now_ns)
    (save,) = ops(bench.run(20), SessionSave)
    assert isinstance(save, SessionSave)
    assert bench.scheduler.is_saving(bench.now_ns)
    assert not bench.scheduler.is_saving(bench.now_ns + LAST_SAVES_NS)
    bench.scheduler.disk_done(DiskDone(operation=save, ok=True))
    assert not bench.scheduler.is_saving(bench.now_ns)


def test_a_turn_waits_for_its_sessions_file_and_computes_only_what_is_new() -> None:
    bench = saver(chat=prompt(1, 640))
    bench.arrive(1, 0, 4, prompt=[*prompt(1, 640), *prompt(2, 10)], session="chat")
    bench.arrive(2, 20, 4)

    before = bench.run(12)
    (fetch,) = ops(before, SessionFetch)
    assert isinstance(fetch, SessionFetch)
    assert len(fetch.rooms) == 10
    assert 2 in bench.ended, "others do not wait for a disk"
    assert not any(piece.rid == 1 for plan in before for piece in plan.prefill)
    bench.scheduler.disk_done(DiskDone(operation=fetch, ok=True, n_bytes=1, ms=1.0))
    after = bench.run(20)

    assert len(ops(after, SeqRestore)) == 10
    assert sum(piece.n_tokens for plan in after for piece in plan.prefill) == 10
    assert bench.ended[1].cached_tokens == 640


def test_only_the_slabs_that_match_are_read() -> None:
    bench = saver(chat=prompt(1, 640))
    bench.arrive(1, 0, 4, prompt=[*prompt(1, 640)[:200], *prompt(2, 100)], session="chat")

    (fetch,) = ops([bench.step()], SessionFetch)

    assert isinstance(fetch, SessionFetch)
    assert len(fetch.rooms) == 4


def test_another_sessions_file_and_another_beginning_are_not_read() -> None:
    bench = saver(chat=prompt(1, 640))
    bench.arrive(1, 0, 4, prompt=prompt(1, 640), session="other")
    bench.arrive(2, 0, 4, prompt=prompt(1, 640))
    bench.arrive(3, 0, 4, prompt=prompt(3, 640), session="chat")

    assert not ops(bench.run(3), SessionFetch)


def test_a_file_that_cannot_be_read_or_comes_too_late_costs_no_more_than_computing() -> None:
    for fails in (True, False):
        bench = saver(chat=prompt(1, 640))
        bench.arrive(1, 0, 4, prompt=[*prompt(1, 640), 5], session="chat")
        (fetch,) = ops([bench.step()], SessionFetch)
        assert isinstance(fetch, SessionFetch)
        if fails:
            bench.scheduler.disk_done(DiskDone(operation=fetch, ok=False))
        else:
            bench.now_ns += FETCH_NS

        plans = bench.run(20)

        assert bench.ended[1].cached_tokens == 0
        assert sum(piece.n_tokens for plan in plans for piece in plan.prefill) == 641


def test_a_dropped_session_is_removed_from_disk_though_it_is_just_being_written() -> None:
    bench = saver()
    one_turn(bench, 1, prompt(1, 300))
    (save,) = ops(wait(bench, 2 * SAVE_AFTER_NS), SessionSave)
    assert isinstance(save, SessionSave)

    assert bench.scheduler.forget(ForgetScope(session="chat")).files == {"chat"}
    bench.scheduler.disk_done(DiskDone(operation=save, ok=True))

    assert ops(bench.run(2), SessionForget) == [SessionForget(session="chat")]
    assert bench.scheduler.snapshot().saved == 0
