"""Streams whose clients do not read give way to whoever waits, and go on where they stood."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduler.fake_device import Bench
from umad.scheduler.memory.parked_store import ParkShape

PARKING = ParkShape(capacity_bytes=2**20, slice_cells=16, slab_bytes=1024)


def unread(bench: Bench, n: int, *, n_prompt: int = 40, n_new: int = 200) -> None:
    """Streams of one app that run, and then are not read."""
    for rid in range(1, n + 1):
        bench.arrive(rid, n_prompt, n_new, app="deaf")
    bench.run(4 * n)
    for rid in range(1, n + 1):
        bench.scheduler.pause(rid)


def ends_soon(bench: Bench, rid: int, within: int = 60) -> bool:
    for _ in range(within):
        bench.step()
        if rid in bench.ended:
            return True
    return False


@pytest.mark.parametrize("lane", ["interactive", "background"])
@pytest.mark.parametrize("parking", [None, PARKING], ids=["dropped", "parked"])
def test_whoever_waits_gets_the_cells_of_those_who_do_not_read(
    lane: str, parking: ParkShape | None
) -> None:
    bench = Bench(n_cells=1000, parking=parking)
    unread(bench, 40)

    bench.arrive(99, 500, 20, lane=lane, app="other")

    assert ends_soon(bench, 99)


def test_sequence_numbers_are_given_up_too() -> None:
    bench = Bench(n_cells=4096, max_seqs=4)
    unread(bench, 4)

    bench.arrive(99, 10, 5, app="other")

    assert ends_soon(bench, 99)


@pytest.mark.parametrize("parking", [None, PARKING], ids=["dropped", "parked"])
def test_a_stream_that_gave_way_goes_on_once_it_is_read(parking: ParkShape | None) -> None:
    bench = Bench(n_cells=300, parking=parking)
    bench.arrive(1, 40, 200)
    bench.run(50)
    before = bench.tokens[1]
    bench.scheduler.pause(1)
    bench.arrive(2, 200, 20)
    assert ends_soon(bench, 2)
    assert bench.tokens[1] == before

    bench.scheduler.resume(1)

    assert ends_soon(bench, 1, within=300)
    assert bench.tokens[1] == 200
    assert bench.ended[1].completion_tokens == 200


def test_where_nobody_waits_an_unread_stream_keeps_its_cells() -> None:
    bench = Bench(n_cells=300)
    bench.arrive(1, 40, 200)
    bench.run(50)
    bench.scheduler.pause(1)
    bench.run(20)
    bench.scheduler.resume(1)
    plans = bench.run(20)

    assert not any(plan.prefill for plan in plans)


def test_a_stream_whose_client_chooses_its_tokens_keeps_its_cells_meanwhile() -> None:
    bench = Bench(n_cells=300)
    bench.arrive(1, 40, 200)
    bench.run(50)

    bench.scheduler.pause(1, gives_way=False)
    bench.arrive(2, 200, 20)

    assert not ends_soon(bench, 2)
    bench.scheduler.resume(1)
    assert not any(plan.prefill for plan in bench.run(1))


def test_those_who_do_not_read_go_before_lower_lanes_that_run() -> None:
    bench = Bench(n_cells=520)
    bench.arrive(1, 40, 200, lane="background", app="job")
    bench.arrive(2, 40, 200, app="deaf")
    bench.run(60)
    bench.scheduler.pause(2)
    before, n_plans = bench.scheduler.snapshot().preemptions_total, len(bench.plans)

    bench.arrive(3, 100, 20, app="other")

    assert ends_soon(bench, 3)
    assert bench.scheduler.snapshot().preemptions_total == before + 1
    starts = [one.start for plan in bench.plans[n_plans:] for one in plan.prefill if one.rid == 1]
    assert 0 not in starts


def test_time_without_a_reader_is_no_waiting_that_puts_it_before_others() -> None:
    bench = Bench(n_cells=300)
    bench.arrive(1, 40, 200, lane="background", app="deaf")
    bench.run(50)
    bench.scheduler.pause(1)
    bench.arrive(2, 60, 240)
    bench.run(5)
    bench.now_ns += 60_000_000_000  # a minute of somebody who does not read
    bench.step()
    bench.scheduler.resume(1)
    bench.arrive(3, 60, 200)
    bench.step()

    while 2 not in bench.ended:
        bench.step()
    bench.run(20)

    assert bench.tokens[3] > 0
    assert 1 not in bench.ended


@settings(max_examples=60, deadline=None)
@given(
    crowd=st.lists(
        st.tuples(
            st.integers(1, 120),
            st.integers(1, 60),
            st.sampled_from(["interactive", "background"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=25,
    ),
    parked=st.booleans(),
)
def test_however_many_do_not_read_everybody_else_ends_and_so_do_they_once_they_read(
    crowd: list[tuple[int, int, str, bool]], parked: bool
) -> None:
    bench = Bench(n_cells=256, max_seqs=6, parking=PARKING if parked else None)
    deaf = [rid for rid, one in enumerate(crowd) if one[3]]
    for rid, (n_prompt, n_new, lane, is_deaf) in enumerate(crowd):
        bench.arrive(rid, n_prompt, n_new, lane=lane, app="deaf" if is_deaf else "other")
        bench.run(2)
        if is_deaf:
            bench.scheduler.pause(rid)
    others = set(range(len(crowd))) - set(deaf)

    for _ in range(6000):
        if others <= set(bench.ended):
            break
        bench.step()
    assert others <= set(bench.ended)

    for rid in deaf:
        bench.scheduler.resume(rid)
    for _ in range(6000):
        if len(bench.ended) == len(crowd):
            break
        bench.step()
    assert {rid: bench.tokens[rid] for rid in range(len(crowd))} == {
        rid: one[1] for rid, one in enumerate(crowd)
    }
