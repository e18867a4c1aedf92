"""Holds the requests that wait for a place in the KV pool, and tells which one is next.

Lanes come by priority. Within a lane the `Order` decides: first which of an app's requests stands
at the head of its queue (`app_queue`), then between the heads of all apps. The fair order goes by
what owners and their apps were served; in it a deadline counts within its app only.

A request that has waited `AGING_NS` is offered a place before younger ones of any app and any lane.
So a busy lane never shuts out a quiet one, and no order shuts out a request that it ranks last.

Nothing is sorted anew for a plan: only those queues are ranked again whose heads are others now
(`ranking`).

Owner: the step thread.
"""

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from itertools import count

from umad.config import LaneSettings
from umad.scheduler.queue.app_queue import AGING_NS, AppQueue, is_aged
from umad.scheduler.queue.orders import Order
from umad.scheduler.queue.ranking import Ranking
from umad.scheduler.scheduled_request import ScheduledRequest

_App = tuple[str, str]


class WaitingLine:
    """Every waiting request, by lane and app."""

    def __init__(self, lanes: Mapping[str, LaneSettings], order: Order) -> None:
        self._order = order
        by_priority = sorted(lanes, key=lambda name: -lanes[name].priority)
        self._ranks = {name: rank for rank, name in enumerate(by_priority)}
        self._queues: dict[str, dict[_App, AppQueue]] = {name: {} for name in lanes}
        self._n: dict[str, int] = dict.fromkeys(lanes, 0)
        # The queues whose heads have aged, of all lanes; then each lane's others.
        self._aged = Ranking(order.aged, order.aged_of_owner)
        self._young = [Ranking(order.waiting, order.waiting_of_owner) for _ in lanes]
        # When the oldest request of a queue will have aged. The number decides between equal times.
        self._ages: list[tuple[int, int, AppQueue]] = []
        # Queues that are to be ranked again, because their heads may be others now.
        self._moved: dict[AppQueue, None] = {}
        # Queues that are to be ranked again before the next round: those whose heads were offered a
        # place, and those in which a request was passed over that may be ready by then.
        self._next_round: dict[AppQueue, None] = {}
        self._stamps = count(1)

    def __len__(self) -> int:
        return sum(self._n.values())

    def counts(self) -> dict[str, int]:
        """Waiting requests by lane."""
        return dict(self._n)

    def add(self, entry: ScheduledRequest) -> None:
        """Add a request, new or preempted or moved here from another lane, at the place in its
        app's queue that the order gives it."""
        queues, app = self._queues[entry.lane], _app_of(entry)
        queue = queues.get(app)
        if queue is None:
            queue = queues[app] = AppQueue(owner=entry.owner, rank=self._ranks[entry.lane])
        if queue.add(entry, self._order):
            self._moved[queue] = None
        self._n[entry.lane] += 1

    def remove(self, entry: ScheduledRequest) -> None:
        """Take a request out of the line, wherever it stands."""
        app = _app_of(entry)
        queue = self._queues[entry.lane][app]
        queue.remove(entry)
        if not len(queue):
            del self._queues[entry.lane][app]
            queue.stamp = 0
            self._moved.pop(queue, None)
            self._next_round.pop(queue, None)
        elif queue.head is entry:
            self._moved[queue] = None
        self._n[entry.lane] -= 1

    def rejuvenate(self, entry: ScheduledRequest, since_ns: int) -> None:
        """Let a request have waited since `since_ns` at the earliest."""
        self.remove(entry)
        entry.waiting_since_ns = max(entry.waiting_since_ns, since_ns)
        self.add(entry)

    def reorder(self) -> None:
        """Look at all queues anew, because what some of them were served is less than it was."""
        for queues in self._queues.values():
            self._moved.update(dict.fromkeys(queues.values()))

    def n_before(self, entry: ScheduledRequest, now_ns: int) -> int:
        """How many requests of its own app are offered a place before `entry`."""
        queue = self._queues[entry.lane].get(_app_of(entry))
        return 0 if queue is None else queue.n_before(entry, now_ns)

    def heads(self, now_ns: int) -> Iterator[ScheduledRequest]:
        """Yield the first request of every app, in the order in which they may be placed.

        A request that is taken out of the line, or that follows another one, makes room for the
        next of its app. Requests may be put in meanwhile. Nothing else may change.
        """
        self._moved.update(self._next_round)
        self._next_round.clear()
        while self._ages and self._ages[0][0] <= now_ns:
            due_ns, _, queue = heappop(self._ages)
            if queue.due_ns == due_ns and len(queue):
                self._moved[queue] = None
        while True:
            while self._moved:
                self._rank(self._moved.popitem()[0], now_ns)
            found = self._pop(now_ns)
            if found is None:
                return
            queue, head = found
            self._next_round[queue] = None
            yield head
            if len(queue) and queue.first(now_ns) is not head:
                self._moved[queue] = None

    def _rank(self, queue: AppQueue, now_ns: int) -> None:
        """Put a queue where its head belongs. Its older items do not count any more."""
        head = queue.head = queue.first(now_ns)
        queue.stamp = next(self._stamps)
        if queue.passes_over:
            self._next_round[queue] = None
        if queue.due_ns != queue.by_age[0].waiting_since_ns + AGING_NS:
            queue.due_ns = queue.by_age[0].waiting_since_ns + AGING_NS
            if queue.due_ns > now_ns:
                heappush(self._ages, (queue.due_ns, queue.stamp, queue))
        if head is not None:
            (self._aged if is_aged(head, now_ns) else self._young[queue.rank]).put(queue, head)

    def _pop(self, now_ns: int) -> tuple[AppQueue, ScheduledRequest] | None:
        """Take out the queue whose head is next; None where none is left."""
        for ranking in (self._aged, *self._young):
            while (found := ranking.pop(now_ns)) is not None:
                queue, head = found
                if head is not None:
                    return queue, head
                self._rank(queue, now_ns)
        return None


def _app_of(entry: ScheduledRequest) -> _App:
    return entry.owner, entry.app
