"""Holds the requests that wait for a place in the KV pool, and tells which one is next.

Lanes come by priority. Within a lane the `Order` decides: first which of an app's requests stands
at the head of its queue, then between the heads of all apps. The fair order goes by what owners and
their apps were served; in it a deadline counts within its app only.

A request that has waited `AGING_NS` is offered a place before younger ones of any app and any lane.
So a busy lane never shuts out a quiet one, and no order shuts out a request that it ranks last.

Owner: the step thread.
"""

from bisect import insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from umad.config import LaneSettings
from umad.scheduler.queue.orders import Key, Order
from umad.scheduler.scheduled_request import NEVER_NS, ScheduledRequest

AGING_NS = 10_000_000_000


@dataclass(slots=True, kw_only=True, eq=False)
class _AppQueue:
    """The waiting requests of one app in one lane."""

    # Sorted by `Order.within_app`.
    entries: list[ScheduledRequest] = field(default_factory=list)
    # No request here has waited since before this time. While it is young, no request is aged and
    # none has to be looked at.
    since_ns: int = NEVER_NS

    def first(self, now_ns: int) -> ScheduledRequest | None:
        """The request that is offered a place: the oldest aged one, else the head; None where none
        may be placed now."""
        if now_ns - self.since_ns >= AGING_NS:
            self.since_ns = min(one.waiting_since_ns for one in self.entries)
            aged = [one for one in self.entries if _is_ready(one, now_ns) and _is_aged(one, now_ns)]
            if aged:
                return min(aged, key=lambda one: (one.waiting_since_ns, one.arrived_ns, one.rid))
        return next((one for one in self.entries if _is_ready(one, now_ns)), None)


class WaitingLine:
    """Every waiting request, by lane and app."""

    def __init__(self, lanes: Mapping[str, LaneSettings], order: Order) -> None:
        self._order = order
        self._lanes = sorted(lanes, key=lambda name: -lanes[name].priority)
        self._queues: dict[str, dict[tuple[str, str], _AppQueue]] = {name: {} for name in lanes}
        self._n: dict[str, int] = dict.fromkeys(lanes, 0)

    def __len__(self) -> int:
        return sum(self._n.values())

    def counts(self) -> dict[str, int]:
        """Waiting requests by lane."""
        return dict(self._n)

    def add(self, entry: ScheduledRequest) -> None:
        """Add a request, new or preempted or moved here from another lane, at the place in its
        app's queue that the order gives it."""
        queue = self._queues[entry.lane].setdefault(_app_of(entry), _AppQueue())
        insort(queue.entries, entry, key=self._order.within_app)
        queue.since_ns = min(queue.since_ns, entry.waiting_since_ns)
        self._n[entry.lane] += 1

    def remove(self, entry: ScheduledRequest) -> None:
        """Take a request out of the line, wherever it stands."""
        app = _app_of(entry)
        queue = self._queues[entry.lane][app]
        queue.entries.remove(entry)
        if not queue.entries:
            del self._queues[entry.lane][app]
        self._n[entry.lane] -= 1

    def n_before(self, entry: ScheduledRequest, now_ns: int) -> int:
        """How many requests of its own app are offered a place before `entry`."""
        queue = self._queues[entry.lane].get(_app_of(entry))
        first = None if queue is None else queue.first(now_ns)
        if queue is None or first is entry:
            return 0
        before = queue.entries[: queue.entries.index(entry)]
        n = sum(not (other.paused or other.follows) for other in before)
        return n if first is None or first in before else n + 1

    def heads(self, now_ns: int) -> Iterator[ScheduledRequest]:
        """Yield the first request of every app, in the order in which they may be placed. Do not
        change the line while iterating."""
        if not len(self):
            return
        young: list[tuple[int, Key, int, ScheduledRequest]] = []
        aged: list[tuple[Key, int, ScheduledRequest]] = []
        for rank, lane in enumerate(self._lanes):
            for queue in self._queues[lane].values():
                head = queue.first(now_ns)
                if head is None:
                    continue
                if _is_aged(head, now_ns):
                    aged.append((self._order.aged(head), head.rid, head))
                else:
                    young.append((rank, self._order.waiting(head), head.rid, head))
        aged.sort()
        young.sort()
        for *_, entry in aged:
            yield entry
        for *_, entry in young:
            yield entry


def _is_ready(entry: ScheduledRequest, now_ns: int) -> bool:
    return not entry.paused and not entry.follows and now_ns >= entry.reads_until_ns


def _is_aged(entry: ScheduledRequest, now_ns: int) -> bool:
    return now_ns - entry.waiting_since_ns >= AGING_NS


def _app_of(entry: ScheduledRequest) -> tuple[str, str]:
    return entry.owner, entry.app
