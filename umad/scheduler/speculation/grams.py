"""Finds where the last tokens of a text stand in one text, by a table of fixed size.

The table maps a hash of `GRAM` tokens to the place behind their latest occurrence. A place is
checked before it is used, so a collision costs a guess and is never wrong in another way. A token
costs one hash, whatever the length of the text.

Pure; owner: the step thread.
"""

import numpy as np
from numpy.typing import NDArray

# So many tokens are looked up. Two find too much that goes on differently.
GRAM = 3
# The length of an agreement is counted up to here. `acceptance` has no use for more.
MOST_RUN = 32
# Stands behind each text where several stand behind one another. No token is negative.
END = -1
_LEAST_BITS, _MOST_BITS = 8, 17
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_WORD = 2**64 - 1


def hashed(tokens: NDArray[np.int32], end: int) -> int:
    """The hash of the `GRAM` tokens before `end`. The same in every text."""
    item, found = tokens.item, 0
    for at, multiplier in enumerate(_MULTIPLIERS, end - GRAM):
        found += item(at) * multiplier
    return found & _WORD


class GramTable:
    """One text, of which the first `n` tokens are taken in.

    tokens: int32 (most,), which the owner of the text fills while it grows.
    """

    __slots__ = ("_shift", "_table", "n", "tokens")

    def __init__(self, tokens: NDArray[np.int32]) -> None:
        self.tokens = tokens
        bits = min(_MOST_BITS, max(_LEAST_BITS, int(tokens.size).bit_length()))
        self._shift = 64 - bits
        # The place behind the latest occurrence of each hash; 0 for none. At most 512 KiB.
        self._table = np.zeros(1 << bits, np.int32)
        self.n = 0

    def put(self, gram: int, end: int) -> None:
        """Remember that the tokens with this hash end before `end`."""
        self._table[gram >> self._shift] = end

    def put_piece(self, first: int, end: int) -> int:
        """Remember all places from `first` on, but for `end` itself; return the hash of the tokens
        before `end`. first: `GRAM` or more, and at most `end`."""
        words = self.tokens[first - GRAM : end].astype(np.uint64)
        hashes = np.zeros(end - first + 1, np.uint64)
        for at, multiplier in enumerate(_MULTIPLIERS):
            hashes += words[at : at + hashes.size] * np.uint64(multiplier)
        # Where a hash occurs twice, numpy leaves the last value: the latest place.
        slots = (hashes[:-1] >> np.uint64(self._shift)).astype(np.intp)
        self._table[slots] = np.arange(first, end, dtype=np.int32)
        return int(hashes[-1])

    def found(self, gram: int, tokens: NDArray[np.int32], end: int) -> tuple[int, int]:
        """Look up the tokens of any text before `end`, whose hash is `gram`. Return the place
        behind them here, and how many tokens agree before it; zeros for no such place."""
        source = self._table.item(gram >> self._shift)
        if not source:
            return 0, 0
        mine, item, run = self.tokens.item, tokens.item, 0
        while (
            run < MOST_RUN
            and run < source
            and run < end
            and mine(source - 1 - run) == item(end - 1 - run)
        ):
            run += 1
        return (source, run) if run >= GRAM else (0, 0)

    def clear(self) -> None:
        """Forget the text itself, too."""
        self.n = 0
        self.tokens[:] = 0
        self._table[:] = 0
