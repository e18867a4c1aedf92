"""Reads a model's files into memory before llama.cpp maps them, giving way to other engines.

llama.cpp reads a mapped file in one call of the kernel, as fast as the disk can, which nobody can
slow down or watch. Read here first, the same bytes are in the system's cache by then. A thread of
low priority reads them piece by piece. While another engine has interactive work, it rests as long
after each piece as the piece took, up to two minutes in all. So a load from the disk takes at most
half of the disk, and a quarter of a busy core, from somebody who waits for tokens.
What is in memory already is not read, where the system tells that without reading it (Linux). Not:
which weights a model reads at all (`fitting`). Owner: the main thread, which waits for the one that
reads.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from umad.engine.company import Company
from umad.engine.prctl import name_thread
from umad.engine.process import let_others_first

log = logging.getLogger("umad.engine")

# A piece takes 3 ms from a fast disk and 80 ms from a slow one.
PIECE_BYTES = 8 * 2**20
# The system reads and drops files in runs longer than this.
_PROBE_BYTES = 2**20
_MOST_REST_S = 0.5
# All rests of a load. A load has a bound (`limits.load_s`), and beside a chat that never ends it
# would take twice as long as the disk needs.
_MOST_RESTS_S = 120.0

# Whether a part of an open file is in memory: descriptor, first byte, number of bytes.
IsHere = Callable[[int, int, int], bool]


def is_here(descriptor: int, start: int, n_bytes: int) -> bool:
    """Whether a part of a file is in memory, as far as looking at some of its pages tells. False
    where the system does not tell.
    """
    flag: int | None = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return False
    byte = bytearray(1)
    try:
        for at in range(start, start + n_bytes, _PROBE_BYTES):
            if os.preadv(descriptor, [byte], at, flag) != 1:
                return False
    except OSError:  # not in memory, or a file system that cannot say
        return False
    return True


def read_through(
    files: Sequence[Path],
    company: Company,
    *,
    rest: Callable[[float], None] = time.sleep,
    here: IsHere = is_here,
) -> None:
    """Read what is not in memory of these files, and return when all of it is. rest: waits for so
    many seconds.
    """
    reading = threading.Thread(
        target=_read_all, args=(files, company, rest, here), name="umad-reading", daemon=True
    )
    reading.start()
    reading.join()


def _read_all(
    files: Sequence[Path], company: Company, rest: Callable[[float], None], here: IsHere
) -> None:
    name_thread("umad-reading")
    let_others_first()
    piece = memoryview(bytearray(PIECE_BYTES))
    try:
        sizes = [path.stat().st_size for path in files]
        total_bytes, done_bytes = max(1, sum(sizes)), 0
        left_s = _MOST_RESTS_S
        for path, size in zip(files, sizes, strict=True):
            with path.open("rb", buffering=0) as file:
                for at in range(0, size, PIECE_BYTES):
                    n_bytes = min(PIECE_BYTES, size - at)
                    if not here(file.fileno(), at, n_bytes):
                        began_s = time.perf_counter()
                        file.seek(at)
                        file.readinto(piece[:n_bytes])
                        took_s = time.perf_counter() - began_s
                        if left_s > 0 and company.is_busy:
                            rest_s = min(_MOST_REST_S, took_s)
                            left_s -= rest_s
                            rest(rest_s)
                    done_bytes += n_bytes
                    company.has_read(done_bytes / total_bytes)
    except OSError as error:
        # llama.cpp meets the same, and says it in the load's error.
        log.info("the model's file cannot be read ahead reason=%s", error)
