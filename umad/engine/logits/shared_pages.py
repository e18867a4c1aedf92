"""Memory that one process writes and others may only read: the platform seam of the logits ring.

The engine makes it, the daemon opens it for reading by its handle and passes that descriptor on, a
client maps it. Linux: a sealed memfd that nobody can grow, shrink, or open for writing once it is
mapped. Elsewhere: POSIX shared memory whose name the daemon takes away.
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
    """Zeroed memory. handle: plain values with which `open_read_only` finds it, in whatever process
    of this user. Its memory lasts as long as somebody has it mapped."""

    def __init__(self, n_bytes: int, *, memfd: bool = HAS_MEMFD) -> None:
        """Raises `OSError` where there is no memory or no descriptor left."""
        self.n_bytes = n_bytes
        self._name = ""
        self._fd = self._open_memfd() if memfd else self._open_named()
        try:
            os.ftruncate(self._fd, n_bytes)
            # Pages are there before the first row: a fault in the middle of a step is a stall.
            self.memory = mmap.mmap(self._fd, n_bytes, flags=mmap.MAP_SHARED | _POPULATE)
            if memfd:
                self._seal()
        except OSError:
            self._forget()
            raise
        self.handle = {
            "pid": os.getpid(),
            "fd": self._fd,
            "name": self._name,
            "inode": os.fstat(self._fd).st_ino,
            "n_bytes": n_bytes,
        }

    def close(self) -> None:
        """Give it back here. Nobody can open it any more; who has it mapped keeps it.

        Raises `BufferError` while somebody in this process still looks at it.
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
        """What is mapped stays writable here; nothing else ever will be."""
        seals = _SEAL_SHRINK | _SEAL_GROW
        try:
            fcntl.fcntl(self._fd, _F_ADD_SEALS, seals | _SEAL_FUTURE_WRITE | _SEAL_SEAL)
        except OSError:
            # An older kernel: readers get a descriptor for reading, which has to do.
            fcntl.fcntl(self._fd, _F_ADD_SEALS, seals | _SEAL_SEAL)


_POPULATE = getattr(mmap, "MAP_POPULATE", 0)


def open_read_only(handle: Mapping[str, Any]) -> int:
    """A descriptor for reading of another process's `SharedPages`; its name goes away.

    Raises `UnknownRequest` where they have gone.
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
            "its logits have gone: the request has ended", field="request"
        ) from error
    # The number may be that of another file by now.
    if os.fstat(fd).st_ino != handle["inode"]:
        os.close(fd)
        raise UnknownRequest("its logits have gone: the request has ended", field="request")
    return fd
