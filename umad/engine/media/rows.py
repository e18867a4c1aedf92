"""Keeps the rows of media that were encoded lately, so that the next turn encodes nothing.

The key is the content and everything else that the rows depend on: which tile of it, which
projector, and the limits of size. Rows that a live request still has to compute are held and are
never given up; beyond them the ones used longest ago go first. Owner: the step thread.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowKey:
    """Names rows: equal keys mean equal rows."""

    # `Medium.content_id`.
    content_id: str
    # The run of the medium's layout.
    index: int
    # The projector with its options of size.
    projector: str


@dataclass(slots=True)
class _Kept:
    # float32 (n_rows, width).
    rows: Rows
    n_holders: int = 0


class RowCache:
    """Rows by their keys, at most `capacity_bytes` of those that nobody holds."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        # Used longest ago first.
        self._kept: OrderedDict[RowKey, _Kept] = OrderedDict()
        self._idle_bytes = 0
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: RowKey) -> bool:
        return key in self._kept

    def take(self, key: RowKey) -> bool:
        """Hold rows until `leave`; False where there are none, and then they have to be encoded
        and `put`."""
        kept = self._kept.get(key)
        if kept is None:
            self.misses += 1
            return False
        self.hits += 1
        self._hold(key, kept)
        return True

    def put(self, key: RowKey, rows: Rows) -> None:
        """Keep rows that were encoded, held once as `take` does."""
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(rows, 0)
            self.used_bytes += rows.nbytes
            self._idle_bytes += rows.nbytes
        self._hold(key, kept)
        self._make_room()

    def rows(self, key: RowKey) -> Rows:
        """Rows that are held."""
        return self._kept[key].rows

    def leave(self, key: RowKey) -> None:
        """Hold rows no longer."""
        kept = self._kept[key]
        kept.n_holders -= 1
        if not kept.n_holders:
            self._idle_bytes += kept.rows.nbytes
            self._make_room()

    def spare(self) -> None:
        """The machine is short of memory: give up what nobody holds."""
        self._make_room(0)

    def _hold(self, key: RowKey, kept: _Kept) -> None:
        if not kept.n_holders:
            self._idle_bytes -= kept.rows.nbytes
        kept.n_holders += 1
        self._kept.move_to_end(key)

    def _make_room(self, capacity_bytes: int | None = None) -> None:
        most = self.capacity_bytes if capacity_bytes is None else capacity_bytes
        if self._idle_bytes <= most:
            return
        for key in [key for key, kept in self._kept.items() if not kept.n_holders]:
            size = self._kept.pop(key).rows.nbytes
            self._idle_bytes -= size
            self.used_bytes -= size
            if self._idle_bytes <= most:
                return
