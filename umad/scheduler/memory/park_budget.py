"""Shares one budget of host memory between everything that is parked: cells and states.

Each keeper (`parked_store`, `checkpoints`) names what it would drop first, and what that is worth.
The budget drops the cheapest of all of them until there is room. What is kept for a session goes
after all else. Of the rest, the one goes that costs least to compute again for the room it takes,
counted from when it was last of use (GreedyDual, Cao and Irani 1997): `clock` is the worth of the
last one that was dropped, and whatever is of use begins anew from there.

Pure; owner: the step thread.
"""

from collections.abc import Set
from typing import NamedTuple, Protocol


class Least(NamedTuple):
    """The first thing that a keeper would drop. The smallest of all keepers is dropped."""

    is_session: bool
    # The clock when it was last of use, plus the milliseconds to make it again for its room.
    worth: float
    key: int


class Keeper(Protocol):
    """Keeps some of the things that the budget pays for."""

    def least(self, protected: Set[int]) -> Least | None:
        """Return what may be dropped first; None for nothing. protected: keys of parked cells that
        must stay."""
        ...

    def spare_bytes(self, protected: Set[int]) -> int:
        """Return how many bytes could be given up without dropping what a session needs."""
        ...

    def drop(self, key: int) -> None:
        """Forget `key` and give its bytes back."""
        ...


class ParkBudget:
    """The bytes of one engine's host memory for parking."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        # The keepers count what they take and give back.
        self.used_bytes = 0
        self.clock = 0.0
        self._keepers: list[Keeper] = []

    def join(self, keeper: Keeper) -> None:
        """Let `keeper` take part."""
        self._keepers.append(keeper)

    def spare_bytes(self, protected: Set[int]) -> int:
        """How many bytes are free or could be given up without dropping what a session needs."""
        given_up = sum(keeper.spare_bytes(protected) for keeper in self._keepers)
        return self.capacity_bytes - self.used_bytes + given_up

    def make_room(self, n_bytes: int, protected: Set[int] = frozenset()) -> bool:
        """Drop things until `n_bytes` are free. Return False where that is not possible."""
        if n_bytes > self.capacity_bytes:
            return False
        while self.used_bytes + n_bytes > self.capacity_bytes:
            found = self._least(protected)
            if found is None:
                return False
            least, keeper = found
            self.clock = max(self.clock, least.worth)
            keeper.drop(least.key)
        return True

    def drop_prefixes(self) -> None:
        """Drop everything that no session needs and no request is getting back."""
        while (found := self._least(frozenset())) is not None and not found[0].is_session:
            least, keeper = found
            keeper.drop(least.key)

    def _least(self, protected: Set[int]) -> tuple[Least, Keeper] | None:
        """The copy to drop first, and its keeper; None where nothing may be dropped."""
        found = [
            (least, at)
            for at, keeper in enumerate(self._keepers)
            if (least := keeper.least(protected)) is not None
        ]
        if not found:
            return None
        least, at = min(found)
        return least, self._keepers[at]
