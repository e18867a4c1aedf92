"""Reads a model's files into memory before llama.cpp maps them, giving way to other engines.

llama.cpp reads a mapped file in one call of the kernel, as fast as the disk can, which nobody can
slow down or watch. Read here first, the same bytes are in the system's cache by then. A thread of
the lowest priority reads them piece by piece. While another engine has interactive work, it rests
as long after each piece as the piece took. So a load from the disk takes at most half of the disk
and a trickle of the cores from somebody who waits for tokens.
What is in memory already is not read. Not: which weights a model reads at all (`fitting`). Owner:
the main thread, which waits for the one that reads.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from umad.engine.company import Company
from umad.engine.process import name_thread, take_only_idle_cores
from umad.engine.residency import resident_bytes

log = logging.getLogger("umad.engine")

# A piece takes 3 ms from a fast disk and 80 ms from a slow one.
PIECE_BYTES = 8 * 2**20
# Pages that nobody reads may be missing from a file that is in memory.
_HERE_SHARE = 0.98
_MOST_REST_S = 0.5


def read_through(
    files: Sequence[Path], company: Company, *, rest: Callable[[float], None] = time.sleep
) -> None:
    """Read what is not in memory of these files, and return when all of it is. rest: waits for so
    many seconds.
    """
    reading = threading.Thread(
        target=_read_all, args=(files, company, rest), name="umad-reading", daemon=True
    )
    reading.start()
    reading.join()


def _read_all(files: Sequence[Path], company: Company, rest: Callable[[float], None]) -> None:
    name_thread("umad-reading")
    take_only_idle_cores()
    try:
        sizes = [path.stat().st_size for path in files]
        total_bytes, done_bytes = max(1, sum(sizes)), 0
        for path, size in zip(files, sizes, strict=True):
            if not _is_here(path, size):
                _read(path, company, rest, lambda n, at=done_bytes: (at + n) / total_bytes)
            done_bytes += size
            company.has_read(done_bytes / total_bytes)
    except OSError as error:
        # llama.cpp meets the same, and says it in the load's error.
        log.info("the model's file cannot be read ahead reason=%s", error)


def _is_here(path: Path, size: int) -> bool:
    here = resident_bytes(path)
    return here is not None and here >= _HERE_SHARE * size


def _read(
    path: Path,
    company: Company,
    rest: Callable[[float], None],
    share_of: Callable[[int], float],
) -> None:
    piece = memoryview(bytearray(PIECE_BYTES))
    n_read = 0
    with path.open("rb", buffering=0) as file:
        while True:
            began_s = time.perf_counter()
            n_bytes = file.readinto(piece)
            if not n_bytes:
                return
            took_s = time.perf_counter() - began_s
            n_read += n_bytes
            company.has_read(share_of(n_read))
            if company.is_busy:
                rest(min(_MOST_REST_S, took_s))
