"""Keeps the list of the sequences that stay in the pool though their requests have left, and ranks
them for eviction.

Not: when a sequence is retained or evicted, and what happens to its cells (`residency`).
Pure; owner: the step thread.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.scheduler.memory.cell_salt import Salt
from umad.scheduler.memory.prefix_index import common_prefix


@dataclass(frozen=True, slots=True)
class Retained:
    """A sequence that is kept although its request has left."""

    tokens: NDArray[np.int32]
    session: str | None
    # The next request of this (lane, app), if its owner is the same, evicts the sequence.
    passing: tuple[str, str] | None = None
    owner: str = ""
    # The salt under which its prefix may be found.
    salt: Salt = ""


@dataclass(frozen=True, slots=True)
class _LastUse:
    """The pool's counters at the moment when a retained sequence was last of use."""

    # How many sequences had been retained since the start.
    n_retained: int
    # Milliseconds to rebuild the sequence, per cell.
    cell_ms: float
    # How many rows had passed over every cell of the pool.
    rows_passed: float


class RetainedSequences:
    """The retained sequences of one pool, by their numbers.

    rebuild_ms: the milliseconds to compute the first n tokens of a sequence.
    """

    def __init__(self, rebuild_ms: Callable[[int], float]) -> None:
        self._rebuild_ms = rebuild_ms
        # Least recently used first.
        self._kept: OrderedDict[int, Retained] = OrderedDict()
        self._used: dict[int, _LastUse] = {}
        self._n_retained = 0
        # Counts up whenever a sequence becomes retained or stops being retained.
        self.version = 0
        # Rows that have passed over every cell. `rent` counts them.
        self.rows_passed = 0.0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, seq: int) -> bool:
        return seq in self._kept

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)

    def __getitem__(self, seq: int) -> Retained:
        return self._kept[seq]

    def get(self, seq: int) -> Retained | None:
        """The sequence `seq`; None when it is not retained."""
        return self._kept.get(seq)

    def items(self) -> list[tuple[int, Retained]]:
        """All of them, in a list that stays as it is while some are removed."""
        return list(self._kept.items())

    def add(self, seq: int, kept: Retained) -> None:
        """Retain `seq`."""
        self._kept[seq] = kept
        self._n_retained += 1
        self.was_of_use(seq)
        self.version += 1

    def remove(self, seq: int) -> None:
        """Stop retaining `seq`."""
        del self._kept[seq], self._used[seq]
        self.version += 1

    def was_of_use(self, seq: int) -> None:
        """Note that a request has just begun from `seq`, or left it."""
        self._kept.move_to_end(seq)
        n_tokens = self._kept[seq].tokens.size
        self._used[seq] = _LastUse(
            self._n_retained, self._rebuild_ms(n_tokens) / n_tokens, self.rows_passed
        )

    def replaced_by(self, kept: Retained, can_share: Callable[[int], bool]) -> Iterator[int]:
        """Yield the sequences that nobody needs beside `kept`: the turn before it of the same
        session, and those of no session that `kept` begins with.

        can_share: says whether the first n tokens of `kept` can be shared.
        """
        for seq, other in self.items():
            if other.session is not None:
                if other.session == kept.session:
                    yield seq
            elif (
                other.salt == kept.salt
                and other.tokens.size <= kept.tokens.size
                and common_prefix(other.tokens, kept.tokens) == other.tokens.size
                and can_share(other.tokens.size)
            ):
                yield seq

    def rows_since_use(self, seq: int) -> float:
        """How many rows have passed over `seq` since it was last of use."""
        return self.rows_passed - self._used[seq].rows_passed

    def in_order(self) -> list[int]:
        """All of them in the order in which they will be evicted."""
        return sorted(self._kept, key=self._rank)

    def first_to_go(self, *, besides: int) -> int:
        """The one to evict next; `besides` only if it is the last."""
        return min(self._kept, key=lambda one: (one == besides, *self._rank(one)))

    def _rank(self, seq: int) -> tuple[bool, float]:
        """The sort key of eviction, lowest first. Sessions are evicted after all others. Of the
        rest, a sequence goes the earlier, the cheaper its cells are to rebuild and the longer it
        was not used: at twice the cost it is kept twice as long. Where all cells cost the same, the
        sequence used longest ago goes first."""
        used = self._used[seq]
        since = self._n_retained - used.n_retained
        return self._kept[seq].session is not None, used.cell_ms / (1 + since)
