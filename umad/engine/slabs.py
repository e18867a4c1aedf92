"""Defines the seam to host memory: slabs of cells, and checkpoints of states, that a backend copies
out of its pool and back.

Not: what is parked, and when (`umad.scheduler.memory.parking`), or the files of sessions
(`sessions.file`). Owner: the step thread.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from umad.engine.sessions.file import Slab
from umad.step import SeqPark, SeqRestore, StateLoad, StateSave


class SlabStore(Protocol):
    """Keeps cells of sequences in host memory, a slab at a time. A slab is one uint8 array."""

    def park(self, operation: SeqPark) -> int:
        """Copy cells out. Returns the bytes copied; 0 where it failed, and then nothing has
        changed.
        """
        ...

    def restore(self, operation: SeqRestore) -> int:
        """Copy cells back. Returns the bytes copied; 0 where it failed, and then the sequence is as
        it was.
        """
        ...

    def drop(self, key: int) -> None:
        """Forget all slabs of a key; an unknown key does nothing."""
        ...

    def lend(self, key: int) -> list[Slab]:
        """Lend the slabs of a key to another thread for reading, until `take_back`."""
        ...

    def take_back(self, slabs: list[Slab]) -> None:
        """The other thread reads these slabs no longer."""
        ...

    def put(self, key: int, slabs: list[Slab]) -> None:
        """Keep slabs that were read from a file as those of `key`."""
        ...

    def memory(self, rooms: int = 1) -> NDArray[np.uint8]:
        """Memory for one slab, as large as `rooms` of them: uint8 (rooms * slab_bytes,)."""
        ...


class StateStore(Protocol):
    """Keeps checkpoints in host memory. A checkpoint is one uint8 array."""

    def save(self, operation: StateSave) -> int:
        """Copy a state out. Returns the bytes copied; 0 where it failed, and then there is no such
        checkpoint.
        """
        ...

    def load(self, operation: StateLoad) -> int:
        """Put a state back. Returns the bytes copied; 0 where it failed, and then the sequence is
        empty.
        """
        ...

    def drop(self, key: int) -> None:
        """Forget a checkpoint; an unknown key does nothing."""
        ...

    def lend(self, key: int) -> Slab | None:
        """Lend a checkpoint to another thread for reading, until `take_back`; None where there is
        no such one.
        """
        ...

    def take_back(self, state: Slab) -> None:
        """The other thread reads this checkpoint no longer."""
        ...

    def put(self, key: int, state: Slab) -> None:
        """Keep a checkpoint that was read from a file as that of `key`."""
        ...

    def memory(self, n_bytes: int) -> NDArray[np.uint8]:
        """Memory for one checkpoint: uint8 (n_bytes,)."""
        ...
