"""Keeps the toy model's cells: what each sequence holds, exactly, and slabs of it in host memory.

A cell keeps its token and a hash of all tokens up to it. Sequences share cells as in llama.cpp's
pool: a cell is used as long as one sequence holds it. Owner: the step thread.
"""

import numpy as np
from numpy.typing import NDArray

from umad.engine.sessions.file import Slab
from umad.errors import EngineFailed
from umad.step import SeqPark, SeqRestore
from umad.testing.toy_tokens import FIRST_STATE, next_state

SLAB_CELLS = 64
_CELL = np.dtype([("position", "<i4"), ("token", "<i4"), ("state", "<u8")])


def slab_bytes() -> int:
    """Bytes of a full slab."""
    return SLAB_CELLS * _CELL.itemsize


class Cell:
    """One token at one position, held by one or more sequences."""

    __slots__ = ("state", "token")

    def __init__(self, token: int, state: int) -> None:
        self.token = token
        self.state = state


class ToyCells:
    """A pool of `n_cells`. Each sequence maps positions to cells."""

    def __init__(self, n_cells: int) -> None:
        self._n_cells = n_cells
        self._seqs: dict[int, dict[int, Cell]] = {}

    @property
    def used(self) -> int:
        """Cells that some sequence holds; a shared one counts once."""
        return len({id(cell) for held in self._seqs.values() for cell in held.values()})

    def length(self, seq: int) -> int:
        """One more than the last position of a sequence."""
        return max(self._seqs.get(seq, ()), default=-1) + 1

    def extend(self, seq: int, start: int, tokens: list[int]) -> int:
        """Put `tokens` at the end of a sequence, from position `start` on. Returns the hash of the
        last one. Raises `EngineFailed` where the sequence does not end there or no cell is free.
        """
        held = self._seqs.setdefault(seq, {})
        if self.length(seq) != start:
            raise EngineFailed(f"sequence {seq} has {self.length(seq)} tokens and not {start}")
        if self.used + len(tokens) > self._n_cells:
            raise EngineFailed(f"no {len(tokens)} of {self._n_cells} cells are free")
        state = held[start - 1].state if start else FIRST_STATE
        for at, token in enumerate(tokens, start):
            state = next_state(state, token)
            held[at] = Cell(token, state)
        return state

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """Let `target` hold the cells [start, end) of `source`, too."""
        held = self._seqs.setdefault(target, {})
        held.update((at, self._seqs[source][at]) for at in range(start, end))

    def trim(self, seq: int, keep_tokens: int) -> None:
        """Release every cell from position `keep_tokens` on."""
        held = self._seqs.get(seq, {})
        self._seqs[seq] = {at: cell for at, cell in held.items() if at < keep_tokens}

    def saved(self, seq: int, start: int, end: int) -> NDArray[np.uint8]:
        """The cells [start, end) of a sequence as bytes."""
        held = self._seqs[seq]
        rows = [(at, held[at].token, held[at].state) for at in range(start, end)]
        return np.array(rows, _CELL).view(np.uint8)

    def load(self, seq: int, data: NDArray[np.uint8]) -> None:
        """Put saved cells at the end of a sequence."""
        held = self._seqs.setdefault(seq, {})
        for position, token, state in data.view(_CELL).tolist():
            held[position] = Cell(token, state)

    def clear(self) -> None:
        """Empty the pool."""
        self._seqs.clear()


class ToySlabs:
    """Slabs of one pool in host memory. `umad.engine.slabs.SlabStore` says what it has to do."""

    def __init__(self, cells: ToyCells, *, scratch: int) -> None:
        self._cells = cells
        self._slabs: dict[int, dict[int, Slab]] = {}

    def park(self, operation: SeqPark) -> int:
        """Copy cells out. Returns their bytes."""
        end = operation.start + operation.n_tokens
        data = self._cells.saved(operation.seq, operation.start, end)
        self._slabs.setdefault(operation.key, {})[operation.slab] = (data, data.size)
        return data.size

    def restore(self, operation: SeqRestore) -> int:
        """Copy cells back. Returns their bytes; 0 where the slab is unknown."""
        memory, n_bytes = self._slabs.get(operation.key, {}).get(operation.slab, (None, 0))
        if memory is None:
            return 0
        self._cells.load(operation.seq, memory[: operation.n_tokens * _CELL.itemsize])
        return n_bytes

    def drop(self, key: int) -> None:
        """Forget all slabs of a key."""
        self._slabs.pop(key, None)

    def lend(self, key: int) -> list[Slab]:
        """The slabs of a key; they are never written over."""
        return [slab for _, slab in sorted(self._slabs.get(key, {}).items())]

    def take_back(self, slabs: list[Slab]) -> None:
        """Does nothing: slabs are never written over."""

    def put(self, key: int, slabs: list[Slab]) -> None:
        """Keep slabs that were read from a file as those of `key`."""
        self._slabs[key] = dict(enumerate(slabs))

    def memory(self, rooms: int = 1) -> NDArray[np.uint8]:
        """Memory for one slab: uint8 (rooms * slab_bytes,)."""
        return np.empty(rooms * slab_bytes(), np.uint8)
