"""Wraps a llama_batch: the rows of one decode, as numpy arrays that llama.cpp reads in place.

Not: what stands in the rows (`umad.engine.llamacpp.batch`). Owner: the step thread.
"""

import ctypes
from typing import Any

import numpy as np

from umad.engine.llamacpp.library import lib


class Batch:
    """A llama_batch over numpy arrays: fill the first rows, set `n_rows`, decode."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        # int32 (capacity,).
        self.token = np.zeros(capacity, np.int32)
        # int32 (capacity,).
        self.pos = np.zeros(capacity, np.int32)
        # int32 (capacity,): the one sequence of each row.
        self.seq = np.zeros(capacity, np.int32)
        # int8 (capacity,).
        self.wants_logits = np.zeros(capacity, np.int8)
        self._n_seq = np.ones(capacity, np.int32)
        # Row i's list of sequences is the one element seq[i]. The pointers never change.
        self._seq_pointers = self.seq.ctypes.data + 4 * np.arange(capacity, dtype=np.uint64)
        i32, i8 = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int8)
        struct: Any = lib.llama_batch()  # Any: the binding declares arrays where C has pointers
        struct.token = self.token.ctypes.data_as(i32)
        struct.pos = self.pos.ctypes.data_as(i32)
        struct.n_seq_id = self._n_seq.ctypes.data_as(i32)
        struct.seq_id = self._seq_pointers.ctypes.data_as(ctypes.POINTER(i32))
        struct.logits = self.wants_logits.ctypes.data_as(i8)
        self.struct = struct

    def set_rows(self, n_rows: int) -> None:
        """Set how many rows the next decode computes."""
        self.struct.n_tokens = n_rows
