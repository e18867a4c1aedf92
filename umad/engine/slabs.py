"""The seam to host memory: slabs of cells that a backend copies out of its pool and back.

Not: what is parked, and when (`umad.scheduler.memory.parking`), or the files of sessions
(`session_file`). Owner: the step thread.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from umad.engine.sessions.file import Slab
from umad.step import SeqPark, SeqRestore


class SlabStore(Protocol):
    """Cells of sequences in host memory, a slab at a time. A slab is one uint8 array."""

    def park(self, operation: SeqPark) -> int:
        """Copy cells out; bytes copied, 0 where it failed and nothing has changed."""
        ...

    def restore(self, operation: SeqRestore) -> int:
        """Copy cells back; bytes copied, 0 where it failed and the sequence is as it was."""
        ...

    def drop(self, key: int) -> None:
        """Forget all slabs of a key; nothing where it is unknown."""
        ...

    def lend(self, key: int) -> list[Slab]:
        """The slabs of a key for another thread to read, until `take_back`."""
        ...

    def take_back(self, slabs: list[Slab]) -> None:
        """Nobody reads them any longer."""
        ...

    def put(self, key: int, slabs: list[Slab]) -> None:
        """Slabs read from a file become those of `key`."""
        ...

    def memory(self) -> NDArray[np.uint8]:
        """Room for one slab: uint8 (slab_bytes,)."""
        ...
