"""Of requests that begin alike and arrive together, one computes the beginning."""

from itertools import count

import pytest

from tests.scheduler.fake_device import Bench
from tests.scheduler.fake_states import Kind
from tests.scheduler.test_states import KINDS, SYSTEM, Pool, computed, said
from umad.step import StepPlan

PROMPT = list(range(600))


def n_computed(plans: list[StepPlan], *rids: int) -> int:
    return sum(piece.n_tokens for plan in plans for piece in plan.prefill if piece.rid in rids)


def run_all(bench: Bench, *rids: int) -> list[StepPlan]:
    before = len(bench.plans)
    for _ in count():
        if all(rid in bench.ended for rid in rids):
            return bench.plans[before:]
        bench.step()
    raise AssertionError


@pytest.mark.parametrize("lane", ["interactive", "background"])
def test_completions_of_one_prompt_compute_it_once(lane: str) -> None:
    bench = Bench()
    for rid in (1, 2, 3, 4):
        bench.arrive(rid, 0, 5, prompt=PROMPT, lane=lane)

    plans = run_all(bench, 1, 2, 3, 4)

    assert n_computed(plans, 1) == 600
    assert n_computed(plans, 2, 3, 4) == 3, "each draws its first token from its own last row"
    assert [bench.ended[rid].cached_tokens for rid in (1, 2, 3, 4)] == [0, 599, 599, 599]


def test_the_first_token_comes_as_soon_as_for_one_alone_and_the_others_right_behind_it() -> None:
    alone, bench = Bench(), Bench()
    alone.arrive(1, 0, 1, prompt=PROMPT)
    run_all(alone, 1)
    for rid in (1, 2, 3, 4):
        bench.arrive(rid, 0, 1, prompt=PROMPT)

    run_all(bench, 1)
    assert bench.now_ns <= 1.5 * alone.now_ns
    run_all(bench, 2, 3, 4)
    assert bench.now_ns <= 1.6 * alone.now_ns


def test_agents_with_the_same_instructions_compute_these_once() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 0, 5, prompt=[*PROMPT, *[1000 + rid] * 100], app=f"agent {rid}")

    plans = run_all(bench, 1, 2, 3)

    assert n_computed(plans, 1, 2, 3) == 600 + 3 * 100


def test_a_few_common_tokens_are_not_waited_for() -> None:
    bench = Bench()
    for rid in (1, 2):
        bench.arrive(rid, 0, 5, prompt=[*PROMPT[:40], *[1000 + rid] * 100], app=f"chat {rid}")

    bench.step()

    assert bench.scheduler.waits(bench.now_ns).get(2) != "the same prompt is being read"


def test_a_short_beginning_of_a_long_prompt_is_not_waited_for() -> None:
    bench = Bench()
    bench.arrive(1, 0, 5, prompt=[*PROMPT[:100], *[1001] * 2000], app="agent")
    bench.arrive(2, 0, 5, prompt=[*PROMPT[:100], *[1002] * 20], app="editor")

    run_all(bench, 2)

    assert 1 not in bench.ended
    assert bench.now_ns < 1.5e9, "its 120 tokens take half a second"


def test_other_requests_of_the_app_go_past_one_that_waits() -> None:
    bench = Bench()
    bench.arrive(1, 0, 5, prompt=PROMPT)
    bench.arrive(2, 0, 5, prompt=PROMPT)
    bench.arrive(3, 0, 1, prompt=[5000] * 20)

    run_all(bench, 3)

    assert 1 not in bench.ended
    assert n_computed(bench.plans, 2) == 0


def test_an_interactive_request_does_not_wait_for_a_background_one() -> None:
    bench = Bench()
    bench.arrive(1, 0, 5, prompt=PROMPT, lane="background", app="indexer")
    bench.step()
    bench.arrive(2, 0, 1, prompt=PROMPT, app="editor")

    run_all(bench, 2)

    assert 1 not in bench.ended
    assert bench.ended[2].cached_tokens < 600


def test_owners_do_not_wait_for_each_other() -> None:
    bench = Bench()
    bench.arrive(1, 0, 5, prompt=PROMPT, owner="one")
    bench.arrive(2, 0, 5, prompt=PROMPT, owner="two")

    plans = run_all(bench, 1, 2)

    assert n_computed(plans, 1) == n_computed(plans, 2) == 600


@pytest.mark.parametrize("how", ["cancelled", "paused", "moved to the background"])
def test_who_waited_goes_on_alone_when_the_other_one_will_not_get_there(how: str) -> None:
    bench = Bench()
    bench.arrive(1, 0, 5, prompt=PROMPT)
    bench.arrive(2, 0, 5, prompt=PROMPT)
    bench.step()
    if how == "cancelled":
        bench.scheduler.cancel(1)
    elif how == "paused":
        bench.scheduler.pause(1)
    else:
        bench.scheduler.set_lane(1, "background")

    plan = bench.step()

    assert [piece.rid for piece in plan.prefill][:1] == [2]
    run_all(bench, 2)


def test_whoever_waits_can_be_cancelled() -> None:
    bench = Bench()
    bench.arrive(1, 0, 5, prompt=PROMPT)
    bench.arrive(2, 0, 5, prompt=PROMPT)
    bench.step()

    assert bench.scheduler.cancel(2) is not None

    run_all(bench, 1)
    assert not bench.scheduler.snapshot().running


def test_the_reason_is_told() -> None:
    bench = Bench()
    bench.arrive(1, 0, 5, prompt=PROMPT)
    bench.arrive(2, 0, 5, prompt=PROMPT)
    bench.step()

    assert bench.scheduler.waits(bench.now_ns) == {2: "the same prompt is being read"}


@pytest.mark.parametrize("kind", KINDS)
def test_where_states_are_shared_the_others_begin_at_the_place_that_is_copied(kind: Kind) -> None:
    pool = Pool(kind)
    prompt = [*SYSTEM, *said(1, 100), 7, 7, 7]
    for rid in (1, 2, 3):
        pool.submit(rid, prompt, len(prompt) - 3)

    for rid in (1, 2, 3):
        pool.run(rid)

    assert computed(pool.plans, 1) == len(prompt)
    assert computed(pool.plans, 2) + computed(pool.plans, 3) <= 2 * 3
