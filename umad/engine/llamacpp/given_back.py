"""Gives back the pages of a file whose weights were packed into private memory.

llama.cpp maps the whole file and reads it once; afterwards it uses only what was not packed. The
pages stay in the process's memory, so the weights would count twice. They are dropped from it here.
What is used again comes back from the system's cache with the first step, and what is not can be
dropped there, too, when memory is short. Linux only: elsewhere nothing is given back.

Owner: the engine's main thread, before the first step.
"""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

# <bits/mman-linux.h>. The next access to a mapped file reads its page anew.
_MADV_DONTNEED = 4
_MAPS = Path("/proc/self/maps")


def give_back(paths: Iterable[Path]) -> int:
    """Drop the mapped pages of these files from this process's memory, and return how many bytes
    are mapped."""
    files = set()
    for path in paths:
        found = os.stat(path)
        files.add((os.major(found.st_dev), os.minor(found.st_dev), found.st_ino))
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return 0  # no Linux
    n_bytes = 0
    for begin, end in _mapped(lines, files):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED) == 0:
            n_bytes += end - begin
    return n_bytes


def _mapped(lines: Iterable[str], files: set[tuple[int, int, int]]) -> Iterable[tuple[int, int]]:
    """Where these files are mapped and can only be read, so that no change is lost: proc(5)."""
    for line in lines:
        span, rights, _, device, inode, *_ = line.split(maxsplit=5)
        major, minor = (int(one, 16) for one in device.split(":"))
        if "w" not in rights and (major, minor, int(inode)) in files:
            begin, end = (int(one, 16) for one in span.split("-"))
            yield begin, end
