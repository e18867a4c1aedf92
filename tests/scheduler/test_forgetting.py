"""What is forgotten is nowhere any more, and nothing that somebody else has goes with it."""

import numpy as np
import pytest

from tests.scheduler.fake_device import Bench
from umad.forgetting import ForgetScope, Forgotten
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.session_saving import FETCH_NS
from umad.step import DiskDone, SeqRestore, SessionFetch, SessionForget

ROOMY = ParkShape(capacity_bytes=1 << 30, slice_cells=64, slab_bytes=1 << 20)


def prompt(which: int, n: int = 400) -> list[int]:
    return [int(token) for token in np.random.default_rng(which).integers(0, 1000, n)]


def take_turn(
    bench: Bench, rid: int, tokens: list[int], *, session: str | None = None, owner: str = ""
) -> int:
    """Run a request to its end; its tokens that were there already."""
    bench.arrive(rid, 0, 4, prompt=tokens, session=session, owner=owner)
    while rid not in bench.ended:
        bench.step()
    return bench.ended[rid].cached_tokens


def test_a_forgotten_session_is_computed_again_and_another_is_not() -> None:
    bench = Bench()
    take_turn(bench, 1, prompt(1), session="a")
    take_turn(bench, 2, prompt(2), session="b")

    forgotten = bench.scheduler.forget(ForgetScope(session="a"))

    assert forgotten == Forgotten(sessions=frozenset({"a"}))
    assert take_turn(bench, 3, [*prompt(1), 7], session="a") == 0
    assert take_turn(bench, 4, [*prompt(2), 7], session="b") > 0


def test_a_session_in_use_goes_when_its_request_ends() -> None:
    bench = Bench()
    bench.arrive(1, 0, 50, prompt=prompt(1), session="a")
    bench.run(6)

    forgotten = bench.scheduler.forget(ForgetScope(session="a"))

    assert forgotten == Forgotten(in_use=frozenset({"a"}))
    while 1 not in bench.ended:
        bench.step()
    assert bench.tokens[1] == 50, "it is not cut short"
    assert bench.scheduler.snapshot().cells_retained == 0
    assert take_turn(bench, 2, [*prompt(1), 7], session="a") == 0


def test_a_session_in_use_leaves_nothing_though_it_is_preempted() -> None:
    bench = Bench(n_cells=700, parking=ROOMY)
    bench.arrive(1, 0, 60, prompt=prompt(1, 500), lane="background", session="a")
    while bench.tokens[1] < 10:
        bench.step()
    bench.scheduler.forget(ForgetScope(session="a"))

    bench.arrive(2, 600, 20)
    while 1 not in bench.ended or 2 not in bench.ended:
        bench.step()

    assert bench.tokens[1] == 60
    assert take_turn(bench, 3, [*prompt(1, 500), 7], session="a") == 0


def test_everything_of_one_owner_goes_with_or_without_a_session() -> None:
    bench = Bench()
    take_turn(bench, 1, prompt(1), session="k1:a", owner="k1")
    take_turn(bench, 2, prompt(2), owner="k1")
    take_turn(bench, 3, prompt(3), session="k2:a", owner="k2")

    forgotten = bench.scheduler.forget(ForgetScope(owner="k1", prefix="k1:"))

    assert forgotten.sessions == {"k1:a"}
    assert take_turn(bench, 4, [*prompt(1), 7], owner="k1") == 0
    assert take_turn(bench, 5, [*prompt(2), 7], owner="k1") == 0
    assert take_turn(bench, 6, [*prompt(3), 7], session="k2:a", owner="k2") > 0


def test_everything_of_everybody_goes_from_host_memory_too() -> None:
    bench = Bench(n_cells=700, parking=ROOMY)
    for rid in (1, 2, 3):
        take_turn(bench, rid, prompt(rid, 500), session=f"chat{rid}")

    forgotten = bench.scheduler.forget(ForgetScope())

    assert forgotten.sessions == {"chat1", "chat2", "chat3"}
    snapshot = bench.scheduler.snapshot()
    assert (snapshot.cells_retained, snapshot.parked, snapshot.parked_bytes) == (0, 0, 0)


def test_an_owners_files_are_those_with_its_names() -> None:
    saved = {name: np.array(prompt(1), np.int32) for name in ("k1:a", "k1:b", "k11:a", "a")}
    bench = Bench(parking=ROOMY, saved=saved)

    forgotten = bench.scheduler.forget(ForgetScope(owner="k1", prefix="k1:"))

    assert forgotten.files == {"k1:a", "k1:b"}
    removed = [op for plan in bench.run(1) for op in plan.memory if isinstance(op, SessionForget)]
    assert {op.session for op in removed} == {"k1:a", "k1:b"}
    assert bench.scheduler.snapshot().saved == 2


@pytest.mark.parametrize("is_read", [True, False])
def test_a_file_that_is_just_being_read_is_forgotten_all_the_same(is_read: bool) -> None:
    saved = {"a": np.array(prompt(1, 640), np.int32)}
    bench = Bench(parking=ROOMY, saved=saved)
    bench.arrive(1, 0, 4, prompt=[*prompt(1, 640), 7], session="a")
    (fetch,) = [op for op in bench.step().memory if isinstance(op, SessionFetch)]

    forgotten = bench.scheduler.forget(ForgetScope(session="a"))
    bench.scheduler.disk_done(DiskDone(operation=fetch, ok=is_read, n_bytes=1, ms=1))
    bench.now_ns += FETCH_NS
    plans = bench.run(20)

    assert forgotten.in_use == forgotten.files == {"a"}
    assert bench.ended[1].cached_tokens == 0
    assert not [op for plan in plans for op in plan.memory if isinstance(op, SeqRestore)]
    assert bench.scheduler.snapshot().parked_bytes == 0


def test_what_is_just_being_put_back_goes_when_that_is_done() -> None:
    bench = Bench(n_cells=700, parking=ROOMY)
    take_turn(bench, 1, prompt(1, 500), session="a")
    take_turn(bench, 2, prompt(2, 500), session="b")
    bench.arrive(3, 0, 4, prompt=[*prompt(1, 500), 7], session="a")
    while not [op for op in bench.step().memory if isinstance(op, SeqRestore)]:
        assert 3 not in bench.ended, "it was to be put back"

    bench.scheduler.forget(ForgetScope())
    while 3 not in bench.ended:
        bench.step()

    assert bench.ended[3].cached_tokens > 0
    snapshot = bench.scheduler.snapshot()
    assert (snapshot.cells_retained, snapshot.parked_bytes) == (0, 0)
