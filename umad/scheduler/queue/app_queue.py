"""Holds the requests of one app and lane that wait for a place in the KV pool.

The first one is offered a place: the oldest of those that have waited `AGING_NS`, else the first in
the `Order`. One that may not be placed now is passed over.

Not: which app is next (`waiting_line`). Owner: the step thread.
"""

from bisect import insort
from dataclasses import dataclass, field

from umad.scheduler.queue.orders import Order
from umad.scheduler.scheduled_request import NEVER_NS, ScheduledRequest

AGING_NS = 10_000_000_000


@dataclass(slots=True, kw_only=True, eq=False)
class AppQueue:
    """The requests of one app in one lane, in the order and by age."""

    owner: str
    # The place of its lane among all lanes.
    rank: int
    # An owner has an account in each lane.
    account: tuple[str, int] = field(init=False)
    # Sorted by `Order.within_app`.
    in_order: list[ScheduledRequest] = field(default_factory=list)
    # Those that have waited longest are first.
    by_age: list[ScheduledRequest] = field(default_factory=list)
    # `first` has passed over a request that may not be placed now, but may be later.
    passes_over: bool = False
    # What the line knows of the queue: its first request when it was last ranked, the number of
    # that ranking, and when its oldest request will have aged.
    head: ScheduledRequest | None = None
    stamp: int = 0
    due_ns: int = NEVER_NS

    def __post_init__(self) -> None:
        self.account = self.owner, self.rank

    def __len__(self) -> int:
        return len(self.in_order)

    def add(self, entry: ScheduledRequest, order: Order) -> bool:
        """Add a request. Whether it stands before all others."""
        insort(self.in_order, entry, key=order.within_app)
        insort(self.by_age, entry, key=_age)
        return self.in_order[0] is entry or self.by_age[0] is entry

    def remove(self, entry: ScheduledRequest) -> None:
        """Take a request out."""
        self.in_order.remove(entry)
        self.by_age.remove(entry)

    def first(self, now_ns: int) -> ScheduledRequest | None:
        """The request that is offered a place; None where none may be placed now."""
        self.passes_over = False
        for one in self.by_age:
            if not is_aged(one, now_ns):
                break
            if _is_ready(one, now_ns):
                return one
            self.passes_over = True
        for one in self.in_order:
            if _is_ready(one, now_ns):
                return one
            self.passes_over = True
        return None

    def n_before(self, entry: ScheduledRequest, now_ns: int) -> int:
        """How many requests are offered a place before `entry`."""
        first = self.first(now_ns)
        if first is entry:
            return 0
        before = self.in_order[: self.in_order.index(entry)]
        n = sum(not (other.paused or other.follows) for other in before)
        return n if first is None or first in before else n + 1


def is_aged(entry: ScheduledRequest, now_ns: int) -> bool:
    """Whether a request has waited so long that it goes before younger ones."""
    return now_ns - entry.waiting_since_ns >= AGING_NS


def _is_ready(entry: ScheduledRequest, now_ns: int) -> bool:
    return not entry.paused and not entry.follows and now_ns >= entry.reads_until_ns


def _age(entry: ScheduledRequest) -> tuple[int, int, int]:
    return entry.waiting_since_ns, entry.arrived_ns, entry.rid
