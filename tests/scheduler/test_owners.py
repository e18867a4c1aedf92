"""Requests of several owners: what they may share, and how a lane is divided among them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scheduler.fake_device import Bench
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.queue.token_counters import MOST_IDLE, TokenCounters
from umad.step import PrefillSlice, SeqCopy, SeqRestore

PROMPT = list(range(400))


def run_out(bench: Bench, n: int) -> None:
    while len(bench.ended) < n:
        bench.step()


def first_slice(bench: Bench, rid: int) -> PrefillSlice:
    for plan in bench.plans:
        for piece in plan.prefill:
            if piece.rid == rid:
                return piece
    raise AssertionError(f"no prompt of {rid} was computed")


def test_a_prompt_is_computed_again_for_another_owner_and_not_for_the_same() -> None:
    bench = Bench()
    bench.arrive(1, 0, 3, prompt=PROMPT, owner="a")
    run_out(bench, 1)
    bench.arrive(2, 0, 3, prompt=[*PROMPT, 7], owner="b")
    run_out(bench, 2)
    bench.arrive(3, 0, 3, prompt=[*PROMPT, 8], owner="a")
    run_out(bench, 3)

    assert first_slice(bench, 2).start == 0
    assert first_slice(bench, 3).start == 400
    assert [bench.ended[rid].cached_tokens for rid in (1, 2, 3)] == [0, 0, 400]


def test_a_prompt_that_is_running_is_not_shared_with_another_owner() -> None:
    bench = Bench()
    bench.arrive(1, 0, 200, prompt=PROMPT, owner="a")
    bench.run(6)
    bench.arrive(2, 0, 3, prompt=[*PROMPT, 7], owner="b")
    plan = bench.step()
    assert not [op for op in plan.memory if isinstance(op, SeqCopy)]


def test_a_longer_prompt_does_not_end_what_another_owner_keeps_of_its_beginning() -> None:
    bench = Bench()
    bench.arrive(1, 0, 3, prompt=PROMPT, owner="a")
    bench.arrive(2, 0, 3, prompt=[*PROMPT, *[7] * 100], owner="b")
    run_out(bench, 2)
    bench.arrive(3, 0, 3, prompt=[*PROMPT, 8], owner="a")
    run_out(bench, 3)
    assert bench.ended[3].cached_tokens == 400


def test_an_apps_next_request_ends_nothing_of_another_owners_app_of_that_name() -> None:
    bench = Bench(skip_ms=1e-9)
    bench.arrive(1, 0, 3, prompt=PROMPT, lane="background", app="batch", owner="a")
    run_out(bench, 1)
    kept = bench.scheduler.snapshot().cells_retained
    bench.arrive(2, 20, 3, lane="background", app="batch", owner="b")
    bench.step()
    assert kept > 0
    assert bench.scheduler.snapshot().cells_retained == kept


def test_what_is_parked_in_host_memory_is_not_given_to_another_owner() -> None:
    shape = ParkShape(capacity_bytes=64 << 20, slice_cells=64, slab_bytes=1 << 16)
    bench = Bench(n_cells=1024, max_seqs=4, parking=shape, slab_ms=0.01)
    bench.arrive(1, 0, 3, prompt=PROMPT, owner="a")
    run_out(bench, 1)
    bench.arrive(2, 900, 3, owner="c")
    run_out(bench, 2)
    assert bench.scheduler.snapshot().parked == 1
    bench.arrive(3, 0, 3, prompt=[*PROMPT, 7], owner="b")
    run_out(bench, 3)
    bench.arrive(4, 900, 3, owner="c")
    run_out(bench, 4)
    bench.arrive(5, 0, 3, prompt=[*PROMPT, 8], owner="a")
    run_out(bench, 5)

    restored = [op.seq for plan in bench.plans for op in plan.memory if isinstance(op, SeqRestore)]
    assert bench.ended[3].cached_tokens == 0
    assert bench.ended[5].cached_tokens >= 384
    assert restored


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(17, 60)),
        min_size=2,
        max_size=12,
    )
)
def test_no_owner_is_ever_told_of_tokens_it_did_not_send(
    requests: list[tuple[str, int, int]],
) -> None:
    """Four texts, cut anywhere, in any order: what is cached of a request is no more than its own
    owner has sent before."""
    bench = Bench(n_cells=2048, max_seqs=8)
    texts = [np.random.default_rng(seed).integers(0, 1000, 64).tolist() for seed in range(4)]
    longest: dict[tuple[str, int], int] = {}
    for rid, (owner, text, size) in enumerate(requests, 1):
        bench.arrive(rid, 0, 2, prompt=texts[text][:size], owner=owner)
        run_out(bench, rid)
        assert bench.ended[rid].cached_tokens <= longest.get((owner, text), 0)
        longest[owner, text] = max(size + 2, longest.get((owner, text), 0))


def served_by_owner(bench: Bench, owners: dict[int, str]) -> dict[str, int]:
    served: dict[str, int] = {}
    for rid, n in bench.tokens.items():
        served[owners[rid]] = served.get(owners[rid], 0) + n
    return served


def test_a_thousand_names_of_apps_get_one_owners_share() -> None:
    """One owner asks under a name of its own for every request, the other under one."""
    bench = Bench(n_cells=600, max_seqs=4)
    owners: dict[int, str] = {}
    for rid in range(1, 201):
        many = rid % 2 == 0
        owners[rid] = "many" if many else "one"
        app = f"app-{rid}" if many else "app"
        bench.arrive(rid, 100, 20, app=app, owner=owners[rid])
    for _ in range(900):
        bench.step()
    served = served_by_owner(bench, owners)
    assert served["one"] > 100
    assert served["many"] / served["one"] == pytest.approx(1.0, abs=0.25)


def test_names_of_apps_that_have_gone_are_forgotten() -> None:
    counters = TokenCounters()
    steady = counters.enter("", "steady")
    for n in range(10_000):
        account = counters.enter("", f"name-{n}")
        account.charge(1000 + n)
        counters.leave("", f"name-{n}")
        other = counters.enter(f"owner-{n}", "app")
        other.charge(5)
        counters.leave(f"owner-{n}", "app")
    assert steady.live == 1
    assert len(counters) <= 2 * MOST_IDLE + 4
    counters.leave("", "steady")
    assert len(counters) == 0
