"""Who goes first, by `scheduler.order`."""

import pytest
from typing_extensions import override

from tests.scheduler.fake_device import Bench
from umad.config import SchedulerSettings
from umad.scheduler.queue.orders import ORDERS, FairOrder, Key
from umad.scheduler.scheduled_request import ScheduledRequest

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


@pytest.mark.parametrize("settings", [SchedulerSettings(), DEADLINE], ids=["fair", "deadline"])
def test_its_own_apps_deadlines_do_not_shut_a_request_out(settings: SchedulerSettings) -> None:
    bench = Bench(max_seqs=1, settings=settings)
    bench.arrive(2, 20, 20)
    bench.run(2)
    bench.arrive(1, 20, 5)
    rid = 100
    while 1 not in bench.ended and rid < 2_000:
        rid += 1
        bench.arrive(rid, 20, 20, deadline_ms=1_000_000)
        bench.run(5)

    assert 1 in bench.ended


def test_a_request_that_has_waited_long_is_behind_none_of_its_app() -> None:
    bench = Bench(max_seqs=1)
    bench.arrive(2, 20, 2_000)
    bench.run(2)
    bench.arrive(1, 20, 5)
    while bench.now_ns < 11_000_000_000:
        bench.step()
    bench.arrive(3, 20, 5, deadline_ms=60_000)
    bench.step()

    waits = bench.scheduler.waits(bench.now_ns)

    assert waits == {1: "as many run as may at once", 3: "behind 1 of its app"}


class _LatestFirst(FairOrder):
    @override
    def within_app(self, entry: ScheduledRequest) -> Key:
        return (-entry.arrived_ns, -entry.rid)


def test_an_order_decides_between_the_requests_of_one_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ORDERS, "fair", _LatestFirst())
    bench = Bench(max_seqs=1)
    bench.arrive(1, 20, 5)
    bench.run(2)
    for rid in (2, 3, 4):
        bench.arrive(rid, 20, 5)

    while len(bench.ended) < 4:
        bench.step()

    assert list(bench.ended) == [1, 4, 3, 2]


def test_for_a_higher_lane_the_latest_deadline_gives_way() -> None:
    bench = Bench(max_seqs=2, settings=DEADLINE)
    bench.arrive(1, 20, 500, lane="background", deadline_ms=90_000)
    bench.arrive(2, 20, 500, lane="background", deadline_ms=10_000)
    bench.run(10)

    bench.arrive(3, 20, 5)
    bench.run(3)

    assert bench.scheduler.waits(bench.now_ns).keys() == {1, 2}
    assert bench.scheduler.waits(bench.now_ns)[1] == "no cells"
