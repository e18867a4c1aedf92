"""Asks the system how much of a file is in memory now. Nothing is read.

A mapped file's pages are in memory once anybody has read them, until something else needs the room.
So this shows how much of a model's weights, and of experts that stay in the file, is warm. Linux
and macOS tell it by mincore(2); elsewhere nobody does.
"""

import ctypes
import mmap
import os
import sys
from pathlib import Path

import numpy as np

from umad.models.files import whole_headers
from umad.models.gguf import parts

_MAP_SHARED = 1


def resident_bytes(path: Path, *, start: int = 0) -> int | None:
    """The bytes of `path`, from `start` on, whose pages are in memory; None where the system does
    not tell.
    """
    # Of a file that somebody else owns, Linux says that all of it is there.
    if sys.platform not in ("linux", "darwin") or not os.access(path, os.W_OK):
        return None
    page = mmap.PAGESIZE
    at = start // page * page
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2) - at
            if size <= 0:
                return 0
            return _counted(file.fileno(), at, size, page)
    except OSError:
        return None


def resident_weights(path: Path) -> tuple[int, int] | None:
    """The bytes of a model's weights that are in memory, and of all of them, given its first file;
    None where the system does not tell. Raises `ModelLoadFailed` for a file that is none.
    """
    headers = whole_headers(path)
    here = 0
    for file, header in zip(parts(path, headers[0]), headers, strict=True):
        found = resident_bytes(file, start=header.data_at)
        if found is None:
            return None
        here += found
    return here, sum(header.file_bytes - header.data_at for header in headers)


def _counted(descriptor: int, at: int, size: int, page: int) -> int | None:
    library = ctypes.CDLL(None, use_errno=True)
    map_file, unmap, mincore = library.mmap, library.munmap, library.mincore
    map_file.restype = ctypes.c_void_p
    map_file.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    mapped = map_file(None, size, mmap.PROT_READ, _MAP_SHARED, descriptor, at)
    if mapped in (None, ctypes.c_void_p(-1).value):
        return None
    try:
        # One byte a page; its lowest bit says that the page is in memory.
        seen = np.zeros(-(-size // page), np.uint8)
        if mincore(mapped, size, seen.ctypes.data):
            return None
        n_here = int(np.count_nonzero(seen & 1))
        return min(n_here * page, size)
    finally:
        unmap(mapped, size)
