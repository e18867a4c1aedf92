"""Defines the orders in which requests are served, one class for each order.

Every "who goes first" of the scheduler asks its `Order` for a sort key; the smallest key is first.
`scheduler.order` chooses the class by its name. A new order is one class and one row in `ORDERS`: a
subclass of `FairOrder` that overrides the keys in which it differs.

Not: lanes. A lane with a higher priority goes first in every order, and so does a request that has
waited for `waiting_line.AGING_NS`, so that nobody starves. Pure; nothing here has a state.
"""

from typing import Protocol

from typing_extensions import override

from umad.scheduler.scheduled_request import ScheduledRequest

Key = tuple[float, ...]


class Order(Protocol):
    """Sort keys. Each method is called once for each request that is compared."""

    def within_app(self, entry: ScheduledRequest) -> Key:
        """The key among the requests of one app and lane that wait for a place. It must not change
        while the request waits."""
        ...

    def waiting(self, entry: ScheduledRequest) -> Key:
        """The key among the requests of one lane that wait for a place, each the first of its
        app."""
        ...

    def aged(self, entry: ScheduledRequest) -> Key:
        """The key among the requests of all lanes that have waited for `waiting_line.AGING_NS`,
        each the oldest of its app."""
        ...

    def waiting_of_owner(self, entry: ScheduledRequest) -> Key:
        """The same order as `waiting` among those of one owner. What the owner was served
        has no part in it, so that the key stays as it is while others of the owner's apps are
        served."""
        ...

    def aged_of_owner(self, entry: ScheduledRequest) -> Key:
        """The same order as `aged` among those of one owner and lane, without what it was
        served."""
        ...

    def newcomer(self, entry: ScheduledRequest) -> Key:
        """The key among the interactive requests in the pool whose prompts are not read yet."""
        ...

    def background(self, entry: ScheduledRequest, priority: int) -> Key:
        """The key among the background requests in the pool. priority: its lane's priority."""
        ...

    def gives_way(self, entry: ScheduledRequest, priority: int) -> Key:
        """The key among the requests that could be preempted for one of a higher lane."""
        ...


class FairOrder(Order):
    """The owner that was served fewest tokens goes first, and of its apps the one that was served
    fewest. A deadline counts within its app only."""

    @override
    def within_app(self, entry: ScheduledRequest) -> Key:
        return (entry.deadline_ns, entry.arrived_ns)

    @override
    def waiting(self, entry: ScheduledRequest) -> Key:
        return (*entry.account.turn, entry.arrived_ns)

    @override
    def aged(self, entry: ScheduledRequest) -> Key:
        # No key here may rank a request last for ever: in an overload all that wait are aged.
        return (*entry.account.turn, entry.arrived_ns)

    @override
    def waiting_of_owner(self, entry: ScheduledRequest) -> Key:
        return (entry.account.served, entry.arrived_ns)

    @override
    def aged_of_owner(self, entry: ScheduledRequest) -> Key:
        return (entry.account.served, entry.arrived_ns)

    @override
    def newcomer(self, entry: ScheduledRequest) -> Key:
        # A short prompt delays a long one by next to nothing. A long prompt delays a short one by
        # seconds.
        return (entry.deadline_ns, entry.n_pending)

    @override
    def background(self, entry: ScheduledRequest, priority: int) -> Key:
        return (-priority, entry.deadline_ns)

    @override
    def gives_way(self, entry: ScheduledRequest, priority: int) -> Key:
        # The youngest request has the fewest tokens to compute again.
        return (priority, -entry.arrived_ns)


class DeadlineOrder(FairOrder):
    """The earliest deadline goes first, whichever app it is of (EDF, Liu and Layland 1973).

    Requests without a deadline come after those that have one, in the fair order.
    """

    @override
    def waiting(self, entry: ScheduledRequest) -> Key:
        return (entry.deadline_ns, *entry.account.turn, entry.arrived_ns)

    @override
    def waiting_of_owner(self, entry: ScheduledRequest) -> Key:
        return (entry.deadline_ns, entry.account.served, entry.arrived_ns)

    @override
    def gives_way(self, entry: ScheduledRequest, priority: int) -> Key:
        return (priority, -entry.deadline_ns, -entry.arrived_ns)


ORDERS: dict[str, Order] = {"fair": FairOrder(), "deadline": DeadlineOrder()}
