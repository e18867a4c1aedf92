"""Gives each job a lock that its process holds for as long as it lives.

The runner takes the lock and hands it to the process that it starts. So from the first moment to
the last somebody holds it, and the kernel lets it go when the process ends, however that ends.
Whoever looks, another daemon too, sees at once whether a job lives. Blocks for the disk only.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from umad.errors import Refused
from umad.private_file import own_folder

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class JobLock:
    """The lock of one job, held or not."""

    def __init__(self, folder: Path, job_id: str) -> None:
        self.path = folder / f"{job_id}.lock"

    def take(self) -> int | None:
        """A descriptor that holds the lock until all its copies are closed; None where somebody
        has it. Raises `Refused` where the file system has no such lock.
        """
        with self._told():
            own_folder(self.path.parent)
            fd = os.open(self.path, _FLAGS, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException as error:
                os.close(fd)
                if isinstance(error, BlockingIOError):
                    return None
                raise
            return fd

    def is_held(self) -> bool:
        """Whether a process of the job lives. Raises `Refused` where that cannot be seen."""
        with self._told(), self._opened() as fd:
            if fd is None:
                return False
            try:
                # Shared: two that look at once do not see each other.
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Refused(f"{self.path} cannot be locked: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)
