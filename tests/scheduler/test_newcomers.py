"""Whose prompt comes first among those who wait for their first token, and in what pieces."""

from tests.scheduler.fake_device import Bench
from umad.config import SchedulerSettings
from umad.step import StepPlan


def pieces(plan: StepPlan) -> dict[int, int]:
    return {piece.rid: piece.n_tokens for piece in plan.prefill}


def test_a_short_prompt_does_not_wait_for_a_long_one_that_came_before() -> None:
    bench = Bench()
    bench.arrive(1, 2000, 5, app="agent")
    bench.run(3)

    bench.arrive(2, 20, 1, app="editor")

    assert pieces(bench.step()) == {2: 20}
    assert 2 in bench.ended
    assert 1 in pieces(bench.step()), "which goes on where it was"


def test_it_does_not_wait_for_one_of_its_own_app_either() -> None:
    bench = Bench()
    bench.arrive(1, 2000, 5, app="editor")
    bench.run(1)
    bench.arrive(2, 20, 1, app="editor")

    bench.run(1)

    assert list(bench.ended) == [2]


def test_beside_running_streams_it_does_not_either() -> None:
    bench = Bench()
    bench.arrive(1, 20, 400, app="chat")
    bench.run(3)
    bench.arrive(2, 2000, 5, app="agent")
    bench.run(5)

    bench.arrive(3, 8, 1, app="editor")
    plans = bench.run(3)

    assert 3 in bench.ended
    assert all(plan.decode for plan in plans)


def test_a_long_prompt_keeps_a_quarter_however_many_short_ones_come() -> None:
    bench = Bench(n_cells=8192)
    bench.arrive(1, 2000, 1, app="agent")
    rid, long_ms, all_ms = 100, 0.0, 0.0
    while 1 not in bench.ended:
        if rid == 100 or rid in bench.ended:
            rid += 1
            bench.arrive(rid, 56, 1, app=f"app{rid}")
        before_ns = bench.now_ns
        plan = bench.step()
        took_ms = (bench.now_ns - before_ns) / 1e6
        all_ms += took_ms
        long_ms += took_ms if 1 in pieces(plan) else 0.0
        assert bench.now_ns < 60e9, "the long prompt starved"

    assert long_ms >= 0.24 * all_ms


def test_the_one_that_is_nearly_read_is_finished_first() -> None:
    bench = Bench()
    bench.arrive(1, 70, 1, app="one")
    bench.run(1)
    left = 70 - sum(pieces(bench.plans[-1]).values())
    bench.arrive(2, left + 20, 1, app="two")

    bench.run(2)

    assert list(bench.ended) == [1, 2]


def test_a_deadline_goes_before_the_shorter_prompt() -> None:
    bench = Bench()
    bench.arrive(1, 30, 1, app="one")
    bench.arrive(2, 40, 1, app="two", deadline_ms=5_000)

    assert 2 in pieces(bench.step())
    assert list(bench.ended)[:1] == [2]


def test_a_first_token_does_not_wait_for_a_part_of_another_prompt() -> None:
    bench = Bench()
    bench.arrive(1, 30, 1, app="one")
    bench.arrive(2, 2000, 1, app="two")

    assert pieces(bench.step()) == {1: 30}


def test_prompts_that_cost_little_beside_each_other_are_read_together() -> None:
    bench = Bench()
    for rid in (1, 2):
        bench.arrive(rid, 2, 1, app=f"app{rid}")

    assert pieces(bench.step()) == {1: 2, 2: 2}


def test_on_a_slow_machine_a_slice_is_still_a_whole_tile() -> None:
    bench = Bench(settings=SchedulerSettings(slice_ms=50.0), tiles=True, cut_share=1.0)
    bench.arrive(1, 100, 1)

    assert pieces(bench.step()) == {1: 64}
    assert pieces(bench.step()) == {1: 36}


def test_where_there_are_no_tiles_a_slice_keeps_to_its_time() -> None:
    bench = Bench(settings=SchedulerSettings(slice_ms=100.0), cut_share=1.0)
    bench.arrive(1, 100, 1)

    (n_tokens,) = pieces(bench.step()).values()

    assert 10 <= n_tokens <= 20
