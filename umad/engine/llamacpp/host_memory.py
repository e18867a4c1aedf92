"""Hands out host memory for copies, and takes it back to hand it out again.

A page's first use costs twenty times what a copy into it does afterwards (measured 0.6 ms and
0.03 ms a MB). So memory that is given back is kept for the next copy of the same size. Slabs of
cells and checkpoints of states share one limit: memory of one size is freed when the other size
needs the room. While the machine is short of memory nothing is kept for the next copy, and what was
kept goes back to the system, on a thread of its own: freeing 1 GB takes a tenth of a second.
Not: what is copied, and when (`umad.scheduler.memory`). Owner: the step thread.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from umad.engine.prctl import name_thread
from umad.engine.process import let_others_first, trim_heap


class HostMemory:
    """Memory for copies, up to `capacity_bytes`. The scheduler keeps within it; this class only
    frees what it kept needlessly.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._keeps_spare = True
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
        if not self._keeps_spare or self._held_bytes > self._capacity_bytes:
            self._held_bytes -= memory.size
        else:
            self._free.setdefault(memory.size, []).append(memory)

    def limit(self, capacity_bytes: int, *, keeps_spare: bool) -> None:
        """Hold at most so many bytes from now on. Without `keeps_spare`, memory that nobody uses
        goes back to the system.
        """
        self._capacity_bytes, self._keeps_spare = capacity_bytes, keeps_spare
        if keeps_spare:
            return
        spare = [memory for kept in self._free.values() for memory in kept]
        self._free.clear()
        self._held_bytes -= sum(memory.size for memory in spare)
        threading.Thread(
            target=_free_beside, args=(spare,), name="umad-freeing", daemon=True
        ).start()


def _free_beside(spare: list[NDArray[np.uint8]]) -> None:
    """Free memory piece by piece, so that the step thread gets the interpreter in between."""
    name_thread("umad-freeing")
    let_others_first()
    while spare:
        spare.pop()
    # What lies between pieces that are in use goes back, too.
    trim_heap()
