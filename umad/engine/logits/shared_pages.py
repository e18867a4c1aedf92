"""Shares memory that one process writes and others may only read.

It is the platform seam of the logits ring. The engine makes the memory. The daemon opens it for
reading by its handle and passes that descriptor on. A client maps it.
Linux: a sealed memfd, which no process can grow, shrink, or open for writing once it is mapped.
Elsewhere: POSIX shared memory whose name the daemon removes.
Not: what lies in it (`umad.sampling.ring`).
"""

import contextlib
import fcntl
import mmap
import os
import secrets
import sys
from _posixshmem import shm_open, shm_unlink  # type: ignore[import-not-found]
from collections.abc import Mapping
from typing import Any

from umad.errors import UnknownRequest

# linux/fcntl.h; Python has no name for the last one before 3.13. Linux 5.1.
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_FUTURE_WRITE = 1, 2, 4, 16
_F_ADD_SEALS = 1033
HAS_MEMFD = sys.platform == "linux"


class SharedPages:
    """Zeroed memory, which lasts as long as some process has it mapped."""

    def __init__(self, n_bytes: int, *, memfd: bool = HAS_MEMFD) -> None:
        """Raises `OSError` where no memory or no descriptor is left."""
        self.n_bytes = n_bytes
        self._name = ""
        self._fd = self._open_memfd() if memfd else self._open_named()
        try:
            os.ftruncate(self._fd, n_bytes)
            # All pages exist before the first row: a page fault in the middle of a step is a stall.
            self.memory = mmap.mmap(self._fd, n_bytes, flags=mmap.MAP_SHARED | _POPULATE)
            if memfd:
                self._seal()
        except OSError:
            self._forget()
            raise
        # Plain values by which `open_read_only` finds the memory in any process of this user.
        self.handle = {
            "pid": os.getpid(),
            "fd": self._fd,
            "name": self._name,
            "inode": os.fstat(self._fd).st_ino,
            "n_bytes": n_bytes,
        }

    def close(self) -> None:
        """Give the memory back here. New readers cannot open it; a reader that has it mapped keeps
        it.

        Raises `BufferError` while this process still has a view on it.
        """
        self._forget()
        self.memory.close()

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._name:
            with contextlib.suppress(FileNotFoundError):
                shm_unlink(self._name)

    def _open_memfd(self) -> int:
        return os.memfd_create("umad-logits", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def _open_named(self) -> int:
        self._name = f"/umad-{secrets.token_hex(8)}"  # macOS takes 31 characters
        return int(shm_open(self._name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600))

    def _seal(self) -> None:
        """Seal the memory: what is mapped stays writable here, and no other
        mapping ever will be.
        """
        seals = _SEAL_SHRINK | _SEAL_GROW
        try:
            fcntl.fcntl(self._fd, _F_ADD_SEALS, seals | _SEAL_FUTURE_WRITE | _SEAL_SEAL)
        except OSError:
            # An older kernel has no seal against writing. There readers only get a descriptor for
            # reading.
            fcntl.fcntl(self._fd, _F_ADD_SEALS, seals | _SEAL_SEAL)


_POPULATE = getattr(mmap, "MAP_POPULATE", 0)


def open_read_only(handle: Mapping[str, Any]) -> int:
    """Open another process's `SharedPages` for reading, and remove their name. Returns a
    descriptor.

    Raises `UnknownRequest` where they are gone.
    """
    name, path = handle["name"], f"/proc/{handle['pid']}/fd/{handle['fd']}"
    try:
        if name:
            fd = int(shm_open(name, os.O_RDONLY, mode=0))
            shm_unlink(name)
        else:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UnknownRequest(
            "the request has ended, and its logits have gone", field="request"
        ) from error
    # The descriptor's number may belong to another file by now.
    if os.fstat(fd).st_ino != handle["inode"]:
        os.close(fd)
        raise UnknownRequest("the request has ended, and its logits have gone", field="request")
    return fd
