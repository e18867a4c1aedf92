"""Measures how fast this machine reads memory, in bytes/s, and prints that one number.

Run as `python -m umad.daemon.read_probe THREADS`: in a process of its own, so that its buffers and
threads leave nothing behind in the daemon. numpy's reductions run vectorised and without the GIL.
Of those tried, the maximum of int32 comes nearest to what a tuned dot product reads (33.5 of 35.5
GB/s on two EPYC cores).
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
from numpy.typing import NDArray

from umad.clock import MonotonicClock

# Well beyond the last-level cache of a desktop, and quickly read: 8 ms at 30 GB/s. A server's cache
# holds more, but parts of the buffer are read in turn, and each part has left the cache before its
# next turn.
BUFFER_BYTES = 256 * 2**20
# At most this share of the free memory, because the machine may be nearly full.
MEMORY_SHARE = 0.125
PASSES_S = 0.5
# On a slow machine too, the best of fewer passes means nothing.
LEAST_PASSES = 3


def read_bytes_per_s(
    *, threads: int, buffer_bytes: int, now_ns: Callable[[], int], passes_s: float = PASSES_S
) -> float:
    """The best of several passes over a buffer; each thread reads its own part of it."""
    n_each = max(1, buffer_bytes // threads // 4)
    with ThreadPoolExecutor(threads) as pool:
        # Each part is written by the thread that will read it, because with several sockets the
        # writer decides in which memory it lies.
        parts = list(pool.map(lambda _: np.ones(n_each, np.int32), range(threads)))
        best, passes, began_ns = 0.0, 0, now_ns()
        while passes < LEAST_PASSES or now_ns() - began_ns < passes_s * 1e9:
            pass_ns = now_ns()
            for _ in pool.map(_read, parts):
                pass
            elapsed_ns = max(1, now_ns() - pass_ns)
            best = max(best, 4e9 * n_each * threads / elapsed_ns)
            passes += 1
    return best


def _read(part: NDArray[np.int32]) -> None:
    np.maximum.reduce(part)


def main(arguments: list[str]) -> int:
    """Probe and print."""
    free_bytes = int(psutil.virtual_memory().available * MEMORY_SHARE)
    rate = read_bytes_per_s(
        threads=int(arguments[0]),
        buffer_bytes=min(BUFFER_BYTES, free_bytes),
        now_ns=MonotonicClock().now_ns,
    )
    sys.stdout.write(f"{rate:.0f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
