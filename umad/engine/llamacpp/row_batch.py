"""Wraps a llama_batch of rows instead of tokens: a part of a medium, for one sequence.

llama.cpp takes either tokens or rows in one decode. Under M-RoPE each row has four positions, all
of the first dimension first. Owner: the step thread.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp.library import lib


class RowBatch:
    """A llama_batch over rows: fill it, decode it.

    width: numbers of a row. dimensions: of a position, 4 under M-RoPE, else 1.
    """

    def __init__(self, capacity: int, *, width: int, dimensions: int) -> None:
        self.capacity = capacity
        self._dimensions = dimensions
        # float32 (capacity, width).
        self._rows = np.zeros((capacity, width), np.float32)
        # int32: (dimensions, n) of the rows of one decode lie in its first elements.
        self._positions = np.zeros(dimensions * capacity, np.int32)
        self._seq = np.zeros(1, np.int32)
        self._n_seq = np.ones(capacity, np.int32)
        self._no_logits = np.zeros(capacity, np.int8)
        # Every row's list of sequences is the same one element.
        self._seq_pointers = np.full(capacity, self._seq.ctypes.data, np.uint64)
        i32, i8 = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int8)
        struct: Any = lib.llama_batch()  # Any: the binding declares arrays where C has pointers
        struct.embd = self._rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        struct.pos = self._positions.ctypes.data_as(i32)
        struct.n_seq_id = self._n_seq.ctypes.data_as(i32)
        struct.seq_id = self._seq_pointers.ctypes.data_as(ctypes.POINTER(i32))
        struct.logits = self._no_logits.ctypes.data_as(i8)
        self.struct = struct

    def fill(
        self,
        rows: NDArray[np.float32],
        *,
        seq: int,
        position: int,
        places: NDArray[np.int32] | None = None,
    ) -> None:
        """rows: float32 (n, width). places: int32 (4, n) of these rows, as `RowPiece` has them;
        then `position` is that of the run's first row. Without, it is that of the first of these
        rows, and the others follow it."""
        n = rows.shape[0]
        self._rows[:n] = rows
        self._seq[0] = seq
        positions = self._positions[: self._dimensions * n].reshape(self._dimensions, n)
        if places is None:
            positions[:] = np.arange(position, position + n)
        else:
            positions[:3] = places[:3] + position
            positions[3] = places[3]
        self.struct.n_tokens = n
