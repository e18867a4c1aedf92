"""Whose turn it is: apps, lanes, deadlines, preemption, pauses."""

from tests.scheduler.fake_device import Bench
from umad.config import SchedulerSettings
from umad.scheduler.queue.app_queue import AGING_NS


def test_an_apps_own_deadlines_decide_who_of_its_requests_goes_first() -> None:
    bench = Bench(max_seqs=1)
    bench.arrive(1, 20, 5)
    bench.run(2)
    bench.arrive(2, 20, 5)
    bench.arrive(3, 20, 5, deadline_ms=60_000)
    bench.arrive(4, 20, 5, deadline_ms=20_000)

    while len(bench.ended) < 4:
        bench.step()

    assert list(bench.ended) == [1, 4, 3, 2]


def test_a_deadline_takes_no_turn_from_another_app() -> None:
    bench = Bench(max_seqs=1)
    for rid in range(1, 11):
        bench.arrive(rid, 20, 10, app="hasty", deadline_ms=60_000)
        bench.arrive(100 + rid, 20, 10, app="calm")

    while len(bench.ended) < 10:
        bench.step()

    assert 4 <= len([rid for rid in bench.ended if rid > 100]) <= 6


def test_apps_of_a_lane_share_by_tokens_however_many_requests_they_send() -> None:
    bench = Bench(max_seqs=2)
    for rid in range(1, 41):
        bench.arrive(rid, 20, 20, app="greedy")
    for rid in range(101, 111):
        bench.arrive(rid, 20, 20, app="modest")

    while len([rid for rid in bench.ended if rid > 100]) < 10:
        bench.step()

    served_greedy = len([rid for rid in bench.ended if rid <= 40])
    assert 8 <= served_greedy <= 12, "about as many as the modest app's ten"


def test_within_an_app_the_first_to_come_is_the_first_to_start() -> None:
    bench = Bench(max_seqs=1)
    for rid in (3, 1, 2):
        bench.arrive(rid, 20, 5)

    while len(bench.ended) < 3:
        bench.step()

    assert list(bench.ended) == [3, 1, 2]


def test_an_interactive_request_takes_the_place_of_a_background_one_which_loses_nothing() -> None:
    bench = Bench(max_seqs=1)
    bench.arrive(1, 40, 30, lane="background", app="batch")
    bench.run(10)
    before = bench.tokens[1]

    bench.arrive(2, 40, 5)
    while 2 not in bench.ended:
        bench.step()
    while 1 not in bench.ended:
        bench.step()

    assert before > 0
    assert list(bench.ended) == [2, 1]
    assert bench.tokens[1] == 30, "every token was drawn exactly once"
    assert bench.scheduler.snapshot().preemptions_total == 1


def test_a_preempted_request_finds_its_cells_again_where_nobody_needed_them() -> None:
    bench = Bench(max_seqs=2, n_cells=150)
    bench.arrive(1, 60, 60, lane="background", app="batch")
    bench.run(10)

    bench.arrive(2, 40, 5)  # does not fit beside the promise of 119 cells
    while 1 not in bench.ended:
        bench.step()

    recomputed = [s for plan in bench.plans[10:] for s in plan.prefill if s.rid == 1]
    assert recomputed
    assert min(s.start for s in recomputed) >= 60


def test_a_paused_stream_stands_still_and_the_others_do_not() -> None:
    bench = Bench()
    bench.arrive(1, 20, 50, app="slow")
    bench.arrive(2, 20, 50, app="quick")
    bench.run(5)
    before = bench.tokens.copy()

    bench.scheduler.pause(1)
    bench.run(10)
    bench.scheduler.resume(1)
    paused = bench.tokens.copy()
    bench.run(10)

    assert paused[1] == before[1]
    assert paused[2] == before[2] + 10
    assert bench.tokens[1] == paused[1] + 10


def test_a_request_moved_to_the_interactive_lane_is_served_as_one_at_once() -> None:
    bench = Bench()
    bench.arrive(1, 20, 100)
    bench.arrive(2, 20, 100, lane="background")
    bench.run(60)

    bench.scheduler.set_lane(2, "interactive")
    plans = bench.run(20)

    # Its prompt is finished first, in newcomer's slices.
    assert all({row.rid for row in plan.decode} == {1, 2} for plan in plans[5:])


def test_streams_beyond_max_merge_take_turns() -> None:
    bench = Bench(settings=SchedulerSettings(max_merge=4))
    for rid in range(6):
        bench.arrive(rid, 5, 100, app=f"app{rid}")
    bench.run(10)
    before = bench.tokens.copy()

    plans = bench.run(30)

    assert all(len(plan.decode) == 4 for plan in plans)
    served = [bench.tokens[rid] - before[rid] for rid in range(6)]
    assert max(served) - min(served) <= 1


def test_a_request_of_a_quiet_lane_is_placed_when_it_has_waited_long_enough() -> None:
    bench = Bench(max_seqs=1)
    bench.arrive(0, 20, 10)
    bench.arrive(500, 20, 2, lane="background", app="batch")
    rid = 0
    while 500 not in bench.ended:
        if rid in bench.ended or rid == 0:
            rid += 1
            bench.arrive(rid, 20, 10)
        bench.step()
        assert bench.now_ns < 2 * AGING_NS, "the background request starved"


def test_apps_share_by_tokens_though_one_asks_for_long_answers_and_one_for_short_ones() -> None:
    bench = Bench(max_seqs=1)
    for rid in range(1, 31):
        bench.arrive(rid, 20, 100, app="long")
    for rid in range(101, 301):
        bench.arrive(rid, 20, 10, app="short")

    while sum(bench.tokens.values()) < 1700:
        bench.step()

    n_long = sum(n for rid, n in bench.tokens.items() if rid < 100)
    n_short = sum(n for rid, n in bench.tokens.items() if rid > 100)
    # A short answer's prompt, half the price of what is drawn, is a third of what it costs.
    assert 0.4 < n_short / n_long < 0.8


def test_an_app_that_was_away_is_not_served_for_the_time_it_did_not_ask() -> None:
    bench = Bench(max_seqs=1)
    for rid in range(1, 31):
        bench.arrive(rid, 20, 10, app="steady")
    while len(bench.ended) < 8:
        bench.step()

    for rid in range(101, 131):
        bench.arrive(rid, 20, 10, app="returned")
    while len(bench.ended) < 24:
        bench.step()

    assert bench.now_ns < AGING_NS, "age would decide"
    assert 7 <= len([rid for rid in bench.ended if rid > 100]) <= 9, "of sixteen that ended since"


def test_a_request_too_large_for_what_others_leave_is_not_passed_over_for_ever() -> None:
    bench = Bench(n_cells=600)
    rid = 0
    for rid in range(1, 6):
        bench.arrive(rid, 20, 20 * rid, app=f"small{rid}")
    bench.run(3)
    bench.arrive(1000, 450, 5, app="large")

    while 1000 not in bench.ended:
        # Whenever one ends, another takes its place: there is never room for the large one.
        for _ in range(5 - len([one for one in bench.tokens if one not in bench.ended])):
            rid += 1
            bench.arrive(rid, 20, 60 + rid % 40, app=f"small{rid % 5}")
        bench.step()
        assert bench.now_ns < 6 * AGING_NS, "the large request starved"


def test_of_background_requests_the_youngest_gives_way() -> None:
    bench = Bench(max_seqs=2)
    bench.arrive(1, 20, 200, lane="background", app="batch")
    bench.run(20)
    bench.arrive(2, 20, 200, lane="background", app="batch")
    bench.run(20)
    drawn = bench.tokens.copy()

    bench.arrive(3, 20, 30)
    while 3 not in bench.ended:
        bench.step()

    assert bench.tokens[1] > drawn[1] > 0
    assert bench.tokens[2] == drawn[2] > 0
