"""Keeps the book of a draft's pool: which sequence holds the cells of which text.

A stream has a sequence as long as others do not need its room. Whatever happens to the stream
(guesses that failed, a pause, parking, a new engine), its text says what is still right: the cells
of its sequence agree with it up to some token, and the rest is given up. A sequence whose stream
has ended stays, since the next turn of a chat begins with the same text.

Pure; owner: the step thread.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A beginning that is shorter is read again rather than shared.
LEAST_SHARED = 16
_EMPTY: NDArray[np.int32] = np.empty(0, np.int32)


@dataclass(slots=True, eq=False)
class _Held:
    """One sequence. Its cells hold the first `n` of `tokens`."""

    seq: int
    # int32 (capacity,).
    tokens: NDArray[np.int32] = field(default_factory=lambda: _EMPTY)
    n: int = 0
    salt: Hashable = None
    # The stream that it belongs to; None for none.
    rid: int | None = None
    # When it was used last, counted in uses.
    used: int = 0


class Place(NamedTuple):
    """The sequence of a stream, and how many of its tokens are there."""

    seq: int
    n_held: int


class Trim(NamedTuple):
    """Give up the cells of `seq` from position `keep` on."""

    seq: int
    keep: int


class Share(NamedTuple):
    """Share the cells of positions [0, n) of `source` with the empty sequence `target`."""

    source: int
    target: int
    n: int


class HeldTexts:
    """The sequences of one pool of `n_cells`."""

    def __init__(self, n_seqs: int, n_cells: int) -> None:
        self._held = [_Held(seq) for seq in range(n_seqs)]
        self._n_cells = n_cells
        self._uses = 0
        # Operations that the context has not carried out yet, in their order.
        self._operations: list[Trim | Share] = []

    @property
    def n_used(self) -> int:
        """Cells in use. One that is shared counts for each sequence that has it."""
        return sum([one.n for one in self._held])

    def take_operations(self) -> list[Trim | Share]:
        """What the context has to be told before its next decode."""
        operations, self._operations = self._operations, []
        return operations

    def place(self, rid: int, tokens: NDArray[np.int32], salt: Hashable) -> Place:
        """The sequence of a stream whose text is `tokens`, shortened to where it agrees with it."""
        self._uses += 1
        mine = next((one for one in self._held if one.rid == rid), None)
        if mine is None or mine.salt != salt:
            mine = self._found(rid, tokens, salt)
        mine.used = self._uses
        # The last token is computed in any case: the guess is drawn from its row.
        self._trim(mine, min(_agreeing(mine, tokens), tokens.size - 1))
        return Place(mine.seq, mine.n)

    def make_room(self, needs: dict[int, int]) -> bool:
        """Give up texts until each of these sequences can grow by so many cells. Return False where
        the pool is too small for that. The sequences named are kept as they are."""
        while self.n_used + sum(needs.values()) > self._n_cells:
            others = [one for one in self._held if one.n and one.seq not in needs]
            if not others:
                return False
            oldest = min(others, key=lambda one: one.used)
            oldest.rid = None
            self._trim(oldest, 0)
        return True

    def grew(self, seq: int, tokens: NDArray[np.int32]) -> None:
        """The cells of these tokens were computed behind those of a sequence."""
        held, end = self._held[seq], self._held[seq].n + tokens.size
        if end > held.tokens.size:
            longer = np.empty(max(256, 2 * end), np.int32)
            longer[: held.n] = held.tokens[: held.n]
            held.tokens = longer
        held.tokens[held.n : end] = tokens
        held.n = end

    def clear(self) -> None:
        """Give up everything."""
        for one in self._held:
            one.rid, one.salt = None, None
            self._trim(one, 0)

    def _found(self, rid: int, tokens: NDArray[np.int32], salt: Hashable) -> _Held:
        """A sequence for a stream that has none: one that nobody uses, with the longest beginning
        of the text, or the one used longest ago."""
        alike = [one for one in self._held if one.n and one.salt == salt]
        best = max(alike, key=lambda one: _agreeing(one, tokens), default=None)
        n = 0 if best is None else _agreeing(best, tokens)
        if best is not None and best.rid is None and n >= LEAST_SHARED:
            mine = best
        else:
            rest = [one for one in self._held if one is not best] or self._held
            mine = min(rest, key=lambda one: (one.n > 0, one.rid is not None, one.used))
            self._trim(mine, 0)
            if best is not None and best is not mine and n >= LEAST_SHARED:
                self._operations.append(Share(best.seq, mine.seq, n))
                self.grew(mine.seq, best.tokens[:n])
        mine.rid, mine.salt = rid, salt
        return mine

    def _trim(self, held: _Held, keep: int) -> None:
        if keep < held.n:
            held.n = keep
            self._operations.append(Trim(held.seq, keep))


def _agreeing(held: _Held, tokens: NDArray[np.int32]) -> int:
    """How many tokens from the first on a sequence has in common with a text."""
    n = min(held.n, tokens.size)
    differ = np.flatnonzero(held.tokens[:n] != tokens[:n])
    return int(differ[0]) if differ.size else n
