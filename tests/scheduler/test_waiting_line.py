"""The line of requests that wait for a place: its order, and how little of it is looked at."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from typing_extensions import override

from umad.config import LaneSettings
from umad.scheduler import Submission
from umad.scheduler.queue.app_queue import AGING_NS
from umad.scheduler.queue.orders import ORDERS, FairOrder, Key, Order
from umad.scheduler.queue.token_counters import TokenCounters
from umad.scheduler.queue.waiting_line import WaitingLine
from umad.scheduler.scheduled_request import ScheduledRequest

LANES = {"background": LaneSettings(priority=1), "interactive": LaneSettings(priority=10)}
BY_PRIORITY = ("interactive", "background")


def request(
    rid: int,
    app: str,
    *,
    now_ns: int = 0,
    lane: str = "interactive",
    owner: str = "",
    deadline_ms: int | None = None,
) -> ScheduledRequest:
    submission = Submission(
        rid=rid,
        tokens=np.zeros(4, dtype=np.int32),
        n_prompt=4,
        max_new_tokens=4,
        lane=lane,
        app=app,
        owner=owner,
        deadline_ms=deadline_ms,
    )
    return ScheduledRequest.of(submission, now_ns)


def sorted_heads(
    entries: list[ScheduledRequest], order: Order, now_ns: int
) -> list[ScheduledRequest]:
    """What the line has to yield, by sorting everything anew."""
    queues: dict[tuple[str, str, str], list[ScheduledRequest]] = {}
    for entry in entries:
        if not (entry.paused or entry.follows or now_ns < entry.reads_until_ns):
            queues.setdefault((entry.lane, entry.owner, entry.app), []).append(entry)
    aged, young = [], []
    for queue in queues.values():
        old = [one for one in queue if now_ns - one.waiting_since_ns >= AGING_NS]
        if old:
            aged.append(min(old, key=lambda one: (one.waiting_since_ns, one.arrived_ns, one.rid)))
        else:
            young.append(min(queue, key=lambda one: (order.within_app(one), one.rid)))
    aged.sort(key=lambda one: (order.aged(one), one.rid))
    young.sort(key=lambda one: (BY_PRIORITY.index(one.lane), order.waiting(one), one.rid))
    return aged + young


class LineMachine(RuleBasedStateMachine):
    """Whatever comes, goes, waits, ages and is served: the line is that of a fresh sort."""

    @initialize(order=st.sampled_from(sorted(ORDERS)))
    def on_an_order(self, order: str) -> None:
        self.order = ORDERS[order]
        self.line = WaitingLine(LANES, self.order)
        self.counters = {lane: TokenCounters() for lane in LANES}
        self.entries: list[ScheduledRequest] = []
        self.now_ns, self.n = 0, 0

    @rule(
        lane=st.sampled_from(BY_PRIORITY),
        owner=st.sampled_from(["a", "b"]),
        app=st.sampled_from(["x", "y", "z"]),
        deadline_ms=st.sampled_from([None, 5, 50_000]),
        aside=st.booleans(),
    )
    def arrives(
        self, lane: str, owner: str, app: str, deadline_ms: int | None, aside: bool
    ) -> None:
        # No two arrive at one instant, as no two of an engine do.
        self.n, self.now_ns = self.n + 1, self.now_ns + 1
        entry = request(
            self.n, app, now_ns=self.now_ns, lane=lane, owner=owner, deadline_ms=deadline_ms
        )
        entry.account = self.counters[lane].enter(owner, app)
        entry.paused = aside
        self.entries.append(entry)
        self.line.add(entry)

    @precondition(lambda self: self.entries)
    @rule(at=st.integers(0, 99), comes_back=st.booleans())
    def leaves(self, at: int, comes_back: bool) -> None:
        entry = self.entries[at % len(self.entries)]
        self.line.remove(entry)
        if comes_back:
            entry.waiting_since_ns = self.now_ns
            self.line.add(entry)
        else:
            self.entries.remove(entry)
            self.counters[entry.lane].leave(entry.owner, entry.app)

    @precondition(lambda self: self.entries)
    @rule(at=st.integers(0, 99), what=st.sampled_from(["paused", "follows"]))
    def is_passed_over_or_not(self, at: int, what: str) -> None:
        entry = self.entries[at % len(self.entries)]
        setattr(entry, what, not getattr(entry, what))

    @precondition(lambda self: self.entries)
    @rule(at=st.integers(0, 99), wait_ns=st.sampled_from([1, AGING_NS]))
    def waits_for_a_file(self, at: int, wait_ns: int) -> None:
        self.entries[at % len(self.entries)].reads_until_ns = self.now_ns + wait_ns

    @precondition(lambda self: self.entries)
    @rule(at=st.integers(0, 99))
    def reads_on(self, at: int) -> None:
        self.line.rejuvenate(self.entries[at % len(self.entries)], self.now_ns)

    @precondition(lambda self: self.entries)
    @rule(at=st.integers(0, 99), n=st.integers(1, 40))
    def is_served(self, at: int, n: int) -> None:
        self.entries[at % len(self.entries)].account.charge(n)

    @precondition(lambda self: self.entries)
    @rule(at=st.integers(0, 99), n=st.integers(1, 40))
    def is_charged_less(self, at: int, n: int) -> None:
        self.entries[at % len(self.entries)].account.charge(-n)
        self.line.reorder()

    @rule(by_ns=st.sampled_from([1, AGING_NS // 3, AGING_NS]))
    def time_goes_by(self, by_ns: int) -> None:
        self.now_ns += by_ns

    @rule(n=st.integers(1, 5))
    def some_are_looked_at(self, n: int) -> None:
        expected = sorted_heads(self.entries, self.order, self.now_ns)
        looked_at = [head for head, _ in zip(self.line.heads(self.now_ns), range(n), strict=False)]
        assert looked_at == expected[:n]

    @rule(n=st.integers(1, 5))
    def heads_are_placed(self, n: int) -> None:
        """Those behind them in their apps come up in the same round."""
        for head in self.line.heads(self.now_ns):
            assert head is sorted_heads(self.entries, self.order, self.now_ns)[0]
            self.line.remove(head)
            self.entries.remove(head)
            head.account.charge(7)
            self.counters[head.lane].leave(head.owner, head.app)
            n -= 1
            if not n:
                break

    @invariant()
    def the_line_is_that_of_a_sort(self) -> None:
        if hasattr(self, "line"):
            heads = list(self.line.heads(self.now_ns))
            assert heads == sorted_heads(self.entries, self.order, self.now_ns)
            assert len(self.line) == len(self.entries)


LineMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_the_line_is_that_of_a_sort = pytest.mark.timeout(120)(LineMachine.TestCase)


class CountingOrder(FairOrder):
    """Counts how many requests it is asked about."""

    def __init__(self) -> None:
        self.n_asked = 0

    @override
    def waiting_of_owner(self, entry: ScheduledRequest) -> Key:
        self.n_asked += 1
        return super().waiting_of_owner(entry)

    @override
    def waiting(self, entry: ScheduledRequest) -> Key:
        self.n_asked += 1
        return super().waiting(entry)


def test_a_place_is_offered_without_a_look_at_a_thousand_other_apps() -> None:
    order, counters = CountingOrder(), TokenCounters()
    line = WaitingLine(LANES, order)
    entries = [request(rid, f"app{rid}", now_ns=rid) for rid in range(1000)]
    for entry in entries:
        entry.account = counters.enter("", entry.app)
        line.add(entry)
    assert next(line.heads(1000)) is entries[0]
    order.n_asked = 0

    entries[5].account.charge(10)
    taken = first_of(line.heads(1000), 8)

    assert taken == [*entries[:5], *entries[6:9]]
    assert order.n_asked < 60


def first_of(heads: Iterator[ScheduledRequest], n: int) -> list[ScheduledRequest]:
    return [head for head, _ in zip(heads, range(n), strict=False)]
