"""Holds the requests that wait for a place in the KV pool, and tells which one is next.

Lanes come by priority. Within a lane the `Order` decides between owners and their apps; the fair
order goes by what they were served. Of one app's requests in a lane, those with a deadline go
first, the earliest at the head; so in the fair order a deadline never takes a turn from another
app.

A request that has waited `AGING_NS` is offered a place before younger ones of any lane, so a busy
lane never shuts out a quiet one.

Owner: the step thread.
"""

from collections import deque
from collections.abc import Iterator, Mapping

from umad.config import LaneSettings
from umad.scheduler.queue.orders import Key, Order
from umad.scheduler.scheduled_request import NEVER_NS, ScheduledRequest

AGING_NS = 10_000_000_000


class WaitingLine:
    """Every waiting request. Within an app of a lane, the earliest deadline is first, then the
    earliest arrival."""

    def __init__(self, lanes: Mapping[str, LaneSettings], order: Order) -> None:
        self._order = order
        self._lanes = sorted(lanes, key=lambda name: -lanes[name].priority)
        self._queues: dict[str, dict[tuple[str, str], deque[ScheduledRequest]]] = {
            name: {} for name in lanes
        }
        self._n: dict[str, int] = dict.fromkeys(lanes, 0)

    def __len__(self) -> int:
        return sum(self._n.values())

    def counts(self) -> dict[str, int]:
        """Waiting requests by lane."""
        return dict(self._n)

    def append(self, entry: ScheduledRequest) -> None:
        """Add a new request to its app's queue: at the end, or before those of a later deadline."""
        queue = self._queues[entry.lane].setdefault(_app_of(entry), deque())
        if entry.deadline_ns == NEVER_NS:
            queue.append(entry)
            self._n[entry.lane] += 1
        else:
            self.insert_by_arrival(entry)

    def insert_by_arrival(self, entry: ScheduledRequest) -> None:
        """Add a request that was here before (preempted, or moved to another lane) at the place
        that its deadline and its arrival give it in its app's queue."""
        queue = self._queues[entry.lane].setdefault(_app_of(entry), deque())
        mine = (entry.deadline_ns, entry.arrived_ns)
        at = sum(1 for other in queue if (other.deadline_ns, other.arrived_ns) <= mine)
        queue.insert(at, entry)
        self._n[entry.lane] += 1

    def remove(self, entry: ScheduledRequest) -> None:
        """Take a request out of the line, wherever it stands."""
        app = _app_of(entry)
        queue = self._queues[entry.lane][app]
        queue.remove(entry)
        if not queue:
            del self._queues[entry.lane][app]
        self._n[entry.lane] -= 1

    def n_before(self, entry: ScheduledRequest) -> int:
        """How many requests of its own app are offered a place before `entry`."""
        n = 0
        for other in self._queues[entry.lane].get(_app_of(entry), ()):
            if other is entry:
                break
            n += not other.paused
        return n

    def heads(self, now_ns: int) -> Iterator[ScheduledRequest]:
        """Yield the first request of every app, in the order in which they may be placed. Do not
        change the line while iterating."""
        if not len(self):
            return
        young: list[tuple[int, Key, int, ScheduledRequest]] = []
        aged: list[tuple[int, Key, int, ScheduledRequest]] = []
        for rank, lane in enumerate(self._lanes):
            for queue in self._queues[lane].values():
                head = next(
                    (one for one in queue if not one.paused and now_ns >= one.reads_until_ns), None
                )
                if head is None:
                    continue
                is_aged = now_ns - head.waiting_since_ns >= AGING_NS
                line = aged if is_aged else young
                line.append((0 if is_aged else rank, self._order.waiting(head), head.rid, head))
        for group in (aged, young):
            group.sort()
            for *_, entry in group:
                yield entry


def _app_of(entry: ScheduledRequest) -> tuple[str, str]:
    return entry.owner, entry.app
