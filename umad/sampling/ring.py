"""Writes and reads a ring of logits rows in shared memory, and defines where the rows lie.

One ring belongs to one completion. The row of position p (the p-th token of the completion, from
0) lies in slot p % slots; the slot's mark says which row that is:

    marks: int64 (slots,)   2 * (p + 1): the row of position p is there; odd: it is being written;
                            0: nothing is there
    rows:  float32 (slots, n_vocab), each on a line of its own

There is one writer, any number of readers, and no lock. A reader looks at the mark before and after
it used a row. The writer marks the next slot as empty one row early, so a whole decode lies between
that mark and the slot's new numbers. So even on processors that reorder stores, no reader takes new
numbers for old ones.

Not: making the memory (`umad.engine.logits.shared_pages`), or telling a reader that a row is there.
Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.errors import LimitExceeded, ProtocolViolation

# The slot that is written next holds nothing, so a reader may be six rows behind.
SLOTS = 8
_ROWS_AT = 4096
_LINE_BYTES = 64
_ROW_ITEM_BYTES = 4
# More than any model has, and the most that a reader should map.
_MOST_VOCAB, _MOST_SLOTS = 2**24, 256

Memory = mmap | memoryview | bytearray


class RowOverwritten(LimitExceeded):
    """A reader asked for a row too late: a newer row has taken its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLayout:
    """Where marks and rows lie in the memory. Everything else follows from these two."""

    n_vocab: int
    slots: int = SLOTS

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next; whole cache lines."""
        return -(-self.n_vocab * _ROW_ITEM_BYTES // _LINE_BYTES) * _LINE_BYTES

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole memory."""
        return _ROWS_AT + self.slots * self.row_bytes

    def as_map(self) -> dict[str, int]:
        """Describe the layout for a reader that does not know this file. Offsets and sizes are in
        bytes."""
        return {
            "slots": self.slots,
            "n_vocab": self.n_vocab,
            "marks_at": 0,
            "rows_at": _ROWS_AT,
            "row_bytes": self.row_bytes,
            "n_bytes": self.n_bytes,
        }

    @classmethod
    def of_map(cls, facts: Mapping[str, Any]) -> "RingLayout":
        """Make a layout of what `as_map` gave. Raises `ProtocolViolation` for a ring that is laid
        out differently."""
        n_vocab, slots = facts.get("n_vocab"), facts.get("slots")
        if type(n_vocab) is int and type(slots) is int:
            layout = cls(n_vocab=n_vocab, slots=slots)
            if (
                0 < n_vocab <= _MOST_VOCAB
                and 2 <= slots <= _MOST_SLOTS
                and layout.as_map() == {name: facts.get(name) for name in layout.as_map()}
            ):
                return layout
        raise ProtocolViolation("the daemon's ring of logits is laid out in an unknown way")

    def marks(self, memory: Memory) -> NDArray[np.int64]:
        """int64 (slots,), a view."""
        return np.frombuffer(memory, np.int64, self.slots)

    def rows(self, memory: Memory) -> list[NDArray[np.float32]]:
        """float32 (n_vocab,) for each slot, views."""
        return [
            np.frombuffer(memory, np.float32, self.n_vocab, _ROWS_AT + slot * self.row_bytes)
            for slot in range(self.slots)
        ]


class RingWriter:
    """Writes the rows of one ring. Positions only grow. Owner: the step thread."""

    __slots__ = ("_marks", "_n_slots", "_rows")

    def __init__(self, layout: RingLayout, memory: Memory) -> None:
        self._n_slots = layout.slots
        self._marks = layout.marks(memory)
        self._rows = layout.rows(memory)

    def write(self, position: int, row: NDArray[np.float32]) -> None:
        """Copy `row`, float32 (n_vocab,), to the slot of `position`. It is the only copy made."""
        slot = position % self._n_slots
        self._marks[slot] = 2 * position + 1
        self._rows[slot][:] = row
        self._marks[slot] = 2 * position + 2
        self._marks[(position + 1) % self._n_slots] = 0


class RingReader:
    """Reads a ring that another process writes. Nothing is copied. Any thread may use it."""

    __slots__ = ("_marks", "_n_slots", "_rows")

    def __init__(self, layout: RingLayout, memory: Memory) -> None:
        self._n_slots = layout.slots
        self._marks = layout.marks(memory)
        self._rows = layout.rows(memory)

    def holds(self, position: int) -> bool:
        """Whether the whole row of `position` is there."""
        return int(self._marks[position % self._n_slots]) == 2 * position + 2

    def row(self, position: int) -> NDArray[np.float32]:
        """Return the row of `position`, float32 (n_vocab,): the memory itself. Raises
        `RowOverwritten` where the row is no longer there."""
        self.check(position)
        return self._rows[position % self._n_slots]

    def check(self, position: int) -> None:
        """Check a row again after the last look at it. Raises `RowOverwritten` when the numbers
        seen may be of two rows."""
        if not self.holds(position):
            raise RowOverwritten(
                f"the logits of position {position} have been overwritten: a ring holds "
                f"{self._n_slots - 1} rows; read faster, or choose the tokens yourself, then the "
                "engine waits",
                field="logits",
            )
