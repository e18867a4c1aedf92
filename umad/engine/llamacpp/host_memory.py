"""Hands out host memory for copies, and takes it back to hand it out again.

A page's first use costs twenty times what a copy into it does afterwards (measured 0.6 ms and
0.03 ms a MB). So memory that is given back is kept for the next copy of the same size. Slabs of
cells and checkpoints of states share one limit: memory of one size is freed when the other size
needs the room.
Not: what is copied, and when (`umad.scheduler.memory`). Owner: the step thread.
"""

import numpy as np
from numpy.typing import NDArray


class HostMemory:
    """Memory for copies, up to `capacity_bytes`. The scheduler keeps within it; this class only
    frees what it kept needlessly.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        # By size, memory that nobody uses.
        self._free: dict[int, list[NDArray[np.uint8]]] = {}
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes in use, and bytes kept for the next use."""
        return self._held_bytes

    def take(self, n_bytes: int) -> NDArray[np.uint8]:
        """Memory of exactly so many bytes: uint8 (n_bytes,). Raises `MemoryError`."""
        kept = self._free.get(n_bytes)
        if kept:
            return kept.pop()
        for others in self._free.values():
            while others and self._held_bytes + n_bytes > self._capacity_bytes:
                self._held_bytes -= others.pop().size
        memory = np.empty(n_bytes, np.uint8)
        self._held_bytes += n_bytes
        return memory

    def give(self, memory: NDArray[np.uint8]) -> None:
        """Take back memory that `take` handed out."""
        if self._held_bytes > self._capacity_bytes:
            self._held_bytes -= memory.size
        else:
            self._free.setdefault(memory.size, []).append(memory)
