"""Counts how often tokens were seen, in arrays that are always ready for numpy.

A dictionary alone would need a conversion for each sampled token. Here tokens lie packed in
`ids[:n]` beside `counts[:n]`, and the dictionary only says at which index.

Owner: one `LogitEdits`.
"""

import numpy as np
from numpy.typing import NDArray


class TokenCounts:
    """Counts of distinct tokens. `add` and `remove` take under a microsecond."""

    __slots__ = ("_counts", "_ids", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._ids: NDArray[np.intp] = np.empty(64, dtype=np.intp)
        self._counts: NDArray[np.float32] = np.empty(64, dtype=np.float32)

    @property
    def ids(self) -> NDArray[np.intp]:
        """The distinct tokens, in no particular order; a view, good until the next change."""
        return self._ids[: len(self._slots)]

    @property
    def counts(self) -> NDArray[np.float32]:
        """The count of each of `ids`, at least 1; a view, good until the next change."""
        return self._counts[: len(self._slots)]

    def add(self, token: int) -> None:
        """Count `token` once more."""
        slot = self._slots.get(token)
        if slot is not None:
            self._counts[slot] += 1.0
            return
        slot = len(self._slots)
        if slot == self._ids.size:
            self._ids = np.concatenate([self._ids, np.empty_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.empty_like(self._counts)])
        self._slots[token] = slot
        self._ids[slot] = token
        self._counts[slot] = 1.0

    def remove(self, token: int) -> None:
        """Count `token` once less. It must have been added."""
        slot = self._slots[token]
        if self._counts[slot] > 1.0:
            self._counts[slot] -= 1.0
            return
        # The last one moves into the gap, so that the arrays stay packed.
        del self._slots[token]
        last = len(self._slots)
        if slot != last:
            moved = int(self._ids[last])
            self._slots[moved] = slot
            self._ids[slot] = moved
            self._counts[slot] = self._counts[last]
