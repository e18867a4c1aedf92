"""A ring of logits rows in shared memory: where everything lies, how it is written and read.

One ring belongs to one completion. The row of position p (the p-th token of the completion, from
0) lies in slot p % slots; the slot's mark says which row that is:

    marks: int64 (slots,)   2 * (p + 1): the row of position p is there; odd: it is being written;
                            0: nothing is there
    rows:  float32 (slots, n_vocab), each on a line of its own

One writer, any number of readers, no lock. A reader looks at the mark before and after it used a
row. The writer marks the slot that comes next as empty one row early, so a whole decode lies
between that and its new numbers: also on processors that reorder stores nobody takes new numbers
for old.
Not: who makes the memory (`umad.engine.logits.shared_pages`), who tells whom that a row is there.
Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.errors import LimitExceeded, ProtocolViolation

# The one that is written next holds nothing, so a reader may be six rows behind.
SLOTS = 8
_ROWS_AT = 4096
_LINE_BYTES = 64
_ROW_ITEM_BYTES = 4
# More than any model has, and any reader should map.
_MOST_VOCAB, _MOST_SLOTS = 2**24, 256

Memory = mmap | memoryview | bytearray


class RowOverwritten(LimitExceeded):
    """The row was read too late: newer ones have taken its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLayout:
    """Where marks and rows lie in the memory. Everything else follows from these two."""

    n_vocab: int
    slots: int = SLOTS

    @property
    def row_bytes(self) -> int:
        """From one row to the next; whole cache lines."""
        return -(-self.n_vocab * _ROW_ITEM_BYTES // _LINE_BYTES) * _LINE_BYTES

    @property
    def n_bytes(self) -> int:
        """Of the whole memory."""
        return _ROWS_AT + self.slots * self.row_bytes

    def as_map(self) -> dict[str, int]:
        """For a reader who does not know this file. Offsets and sizes in bytes."""
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
        """Inverse of `as_map`. Raises `ProtocolViolation` for a ring laid out differently."""
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
    """Owner: the step thread. Positions only grow."""

    __slots__ = ("_marks", "_n_slots", "_rows")

    def __init__(self, layout: RingLayout, memory: Memory) -> None:
        self._n_slots = layout.slots
        self._marks = layout.marks(memory)
        self._rows = layout.rows(memory)

    def write(self, position: int, row: NDArray[np.float32]) -> None:
        """Copy float32 (n_vocab,) to where the row of `position` belongs: the one copy there is."""
        slot = position % self._n_slots
        self._marks[slot] = 2 * position + 1
        self._rows[slot][:] = row
        self._marks[slot] = 2 * position + 2
        self._marks[(position + 1) % self._n_slots] = 0


class RingReader:
    """A view of somebody else's ring. Nothing is copied. Any thread."""

    __slots__ = ("_marks", "_n_slots", "_rows")

    def __init__(self, layout: RingLayout, memory: Memory) -> None:
        self._n_slots = layout.slots
        self._marks = layout.marks(memory)
        self._rows = layout.rows(memory)

    def holds(self, position: int) -> bool:
        """Whether the row of `position` is there, whole."""
        return int(self._marks[position % self._n_slots]) == 2 * position + 2

    def row(self, position: int) -> NDArray[np.float32]:
        """float32 (n_vocab,), the memory itself. Raises `RowOverwritten` where it has gone."""
        self.check(position)
        return self._rows[position % self._n_slots]

    def check(self, position: int) -> None:
        """Call it after the last look at a row. Raises `RowOverwritten`: what was seen may be of
        two rows."""
        if not self.holds(position):
            raise RowOverwritten(
                f"the logits of position {position} have been overwritten: a ring holds "
                f"{self._n_slots - 1} rows; read faster, or choose the tokens yourself, then the "
                "engine waits",
                field="logits",
            )
