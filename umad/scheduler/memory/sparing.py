"""Makes do with less host memory while the machine runs short of it, and gives the rest back.

Host memory holds copies of cells and states (`parked_store`, `checkpoints`). Copies that no session
needs are kept prefixes: they only save time, and go first. The pool's own cells stay, because
llama.cpp allocates the pool once, and a free cell takes as much memory as a used one.

Not: when memory is short (`umad.memory_pressure`). Pure; owner: the step thread.
"""

from dataclasses import dataclass

from umad.scheduler.memory.park_budget import ParkBudget
from umad.step import HostLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Spared:
    """The bytes that an engine gave up, and those it still holds."""

    freed_bytes: int
    kept_bytes: int
    # It holds so much more than it may, because requests are getting it back right now.
    over_bytes: int


class Sparing:
    """The share of one engine's host memory that may be used."""

    def __init__(self, budget: ParkBudget) -> None:
        self._budget = budget
        self._whole_bytes = budget.capacity_bytes
        self._limit: HostLimit | None = None

    @property
    def is_told(self) -> bool:
        """True where the engine knows the limit in force."""
        return self._limit is None

    def spare(self, share: float) -> Spared:
        """Keep within `share` of the host memory from now on; 1 is all of it.

        With less than all of it, what no session needs goes at once, and of the rest as much as has
        no room. What a request is getting back stays until a later call.
        """
        budget = self._budget
        before_bytes = budget.used_bytes
        budget.capacity_bytes = round(min(1.0, max(0.0, share)) * self._whole_bytes)
        if share < 1:
            budget.drop_prefixes()
        budget.make_room(0)
        self._limit = HostLimit(capacity_bytes=budget.capacity_bytes, keeps_spare=share >= 1)
        return Spared(
            freed_bytes=before_bytes - budget.used_bytes,
            kept_bytes=budget.used_bytes,
            over_bytes=max(0, budget.used_bytes - budget.capacity_bytes),
        )

    def take_ops(self) -> tuple[HostLimit, ...]:
        """The limit, once after each change. It comes after the drops of the same plan."""
        limit, self._limit = self._limit, None
        return () if limit is None else (limit,)
