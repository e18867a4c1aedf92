"""Who goes first, by `scheduler.order`."""

from tests.scheduler.fake_device import Bench
from umad.config import SchedulerSettings

DEADLINE = SchedulerSettings(order="deadline")


def test_the_earliest_deadline_goes_first_whichever_app_it_is_of() -> None:
    bench = Bench(max_seqs=1, settings=DEADLINE)
    bench.arrive(1, 20, 5, app="hasty")
    bench.run(2)
    bench.arrive(2, 20, 5, app="calm")
    bench.arrive(3, 20, 5, app="hasty", deadline_ms=60_000)
    bench.arrive(4, 20, 5, app="hasty", deadline_ms=20_000)
    bench.arrive(5, 20, 5, app="other", deadline_ms=40_000)

    while len(bench.ended) < 5:
        bench.step()

    assert list(bench.ended) == [1, 4, 5, 3, 2]


def test_the_fair_order_serves_the_same_requests_by_their_apps_turns() -> None:
    bench = Bench(max_seqs=1)
    bench.arrive(1, 20, 5, app="hasty")
    bench.run(2)
    bench.arrive(2, 20, 5, app="calm")
    bench.arrive(3, 20, 5, app="hasty", deadline_ms=60_000)
    bench.arrive(4, 20, 5, app="hasty", deadline_ms=20_000)
    bench.arrive(5, 20, 5, app="other", deadline_ms=40_000)

    while len(bench.ended) < 5:
        bench.step()

    assert list(bench.ended).index(2) < list(bench.ended).index(3)


def test_a_request_without_a_deadline_is_not_shut_out_by_those_that_have_one() -> None:
    bench = Bench(max_seqs=1, settings=DEADLINE)
    bench.arrive(1, 20, 5, app="calm")
    rid = 100
    while 1 not in bench.ended and rid < 2_000:
        rid += 1
        bench.arrive(rid, 20, 20, app="hasty", deadline_ms=1_000_000)
        bench.run(5)

    assert 1 in bench.ended


def test_for_a_higher_lane_the_latest_deadline_gives_way() -> None:
    bench = Bench(max_seqs=2, settings=DEADLINE)
    bench.arrive(1, 20, 500, lane="background", deadline_ms=90_000)
    bench.arrive(2, 20, 500, lane="background", deadline_ms=10_000)
    bench.run(10)

    bench.arrive(3, 20, 5)
    bench.run(3)

    assert bench.scheduler.waits(bench.now_ns).keys() == {1, 2}
    assert bench.scheduler.waits(bench.now_ns)[1] == "no cells"
