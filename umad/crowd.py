"""Shares one limit between the members of many owners, and chooses who leaves for a newcomer.

A member rests (nothing is under way for it) or works. When the limit is reached, one resting member
leaves: the one that has rested longest, of the owner that has most members. A working member never
leaves. So an owner that holds much makes room, and somebody who comes for the first time gets in.
Not: what a member is (a connection to the daemon, to the gateway). Pure; owner: one event loop.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

M = TypeVar("M", bound=Hashable)


@dataclass(slots=True)
class _Owned(Generic[M]):
    """The members of one owner."""

    members: set[M] = field(default_factory=set)
    # The one that has rested longest comes first.
    resting: "OrderedDict[M, None]" = field(default_factory=OrderedDict)


class Crowd(Generic[M]):
    """The members of all owners.

    limit: the number of members at once. own_give_way: whether an owner's newcomer may replace a
    resting member of the same owner. False where members would not expect to be closed; then the
    newcomer is turned away.
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
        """Whether the limit is reached."""
        return len(self._owner_of) >= self.limit

    def who_gives_way(self, owner: Hashable) -> M | None:
        """The member that should leave so that one more of `owner` may come; None where no one can.

        An owner never grows at the cost of an owner that has no more members than itself.
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
        """Add a member; it rests at first."""
        self._owner_of[member] = owner
        owned = self._owned.setdefault(owner, _Owned())
        owned.members.add(member)
        owned.resting[member] = None

    def leave(self, member: M) -> None:
        """Remove a member; no effect where it has gone already."""
        owner = self._owner_of.pop(member, None)
        if owner is None:
            return
        owned = self._owned[owner]
        owned.members.discard(member)
        owned.resting.pop(member, None)
        if not owned.members:
            del self._owned[owner]

    def rest(self, member: M) -> None:
        """Note that nothing is under way for the member; it becomes the last of those that rest."""
        owner = self._owner_of.get(member)
        if owner is not None:
            resting = self._owned[owner].resting
            resting[member] = None
            resting.move_to_end(member)

    def work(self, member: M) -> None:
        """Note that something is under way for the member, so it does not leave."""
        owner = self._owner_of.get(member)
        if owner is not None:
            self._owned[owner].resting.pop(member, None)

    def belongs(self, member: M, owner: Hashable) -> None:
        """Move the member to `owner`, because its owner is known only now."""
        before = self._owner_of.get(member)
        if before is None or before == owner:
            return
        rests = member in self._owned[before].resting
        self.leave(member)
        self.enter(member, owner)
        if not rests:
            self.work(member)
