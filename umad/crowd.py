"""Many owners' members under one limit, and which of them gives way to one more.

A member rests (nothing is under way for it) or works. Where the limit is reached, the oldest of
those that rest gives way, of the owner that has most; one that works never does. So whoever holds
much pays for the crowd, and somebody who comes for the first time gets in.
Not: what a member is (a connection to the daemon, to the gateway). Pure; owner: one event loop.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

M = TypeVar("M", bound=Hashable)


@dataclass(slots=True)
class _Owned(Generic[M]):
    """One owner's. resting: the one that has rested longest first."""

    members: set[M] = field(default_factory=set)
    resting: "OrderedDict[M, None]" = field(default_factory=OrderedDict)


class Crowd(Generic[M]):
    """limit: members at once.

    own_give_way: an owner's newcomer may replace one of its own. False where its members would not
    expect to be let go of: then the newcomer is the one that is turned away.
    """

    def __init__(self, limit: int, *, own_give_way: bool) -> None:
        self.limit = limit
        self._own_give_way = own_give_way
        self._owner_of: dict[M, Hashable] = {}
        self._owned: dict[Hashable, _Owned[M]] = {}

    def __len__(self) -> int:
        return len(self._owner_of)

    def __contains__(self, member: object) -> bool:
        return member in self._owner_of

    def count(self, owner: Hashable) -> int:
        """Members of `owner`."""
        owned = self._owned.get(owner)
        return 0 if owned is None else len(owned.members)

    @property
    def is_full(self) -> bool:
        """One more would be one too many."""
        return len(self._owner_of) >= self.limit

    def who_gives_way(self, owner: Hashable) -> M | None:
        """Who should leave so that one more of `owner` may come; None where nobody can.

        An owner never grows at the cost of one that has no more than itself.
        """
        own = self.count(owner)
        greediest: _Owned[M] | None = None
        for other, owned in self._owned.items():
            if not owned.resting:
                continue
            may = self._own_give_way if other == owner else len(owned.members) > own
            if may and (greediest is None or len(owned.members) > len(greediest.members)):
                greediest = owned
        return None if greediest is None else next(iter(greediest.resting))

    def enter(self, member: M, owner: Hashable) -> None:
        """A member comes; it rests."""
        self._owner_of[member] = owner
        owned = self._owned.setdefault(owner, _Owned())
        owned.members.add(member)
        owned.resting[member] = None

    def leave(self, member: M) -> None:
        """A member goes; nothing where it has gone already."""
        owner = self._owner_of.pop(member, None)
        if owner is None:
            return
        owned = self._owned[owner]
        owned.members.discard(member)
        owned.resting.pop(member, None)
        if not owned.members:
            del self._owned[owner]

    def rest(self, member: M) -> None:
        """Nothing is under way for it from now on; the youngest of those that rest."""
        owner = self._owner_of.get(member)
        if owner is not None:
            resting = self._owned[owner].resting
            resting[member] = None
            resting.move_to_end(member)

    def work(self, member: M) -> None:
        """Something is under way for it: it does not give way."""
        owner = self._owner_of.get(member)
        if owner is not None:
            self._owned[owner].resting.pop(member, None)

    def belongs(self, member: M, owner: Hashable) -> None:
        """It is known by now whose it is."""
        before = self._owner_of.get(member)
        if before is None or before == owner:
            return
        rests = member in self._owned[before].resting
        self.leave(member)
        self.enter(member, owner)
        if not rests:
            self.work(member)
