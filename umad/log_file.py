"""Leads stderr into a file of bounded length, for daemons whose starter keeps no log (launchd).

    FILE, then FILE.1 (the newest), FILE.2, FILE.3

All that is written to stderr lands in it: the daemon's lines, the gateway's, Python's own errors.
The gateway is another process with the same descriptor. So a full file is not renamed, which would
leave the gateway writing to the old one: it is copied to FILE.1 and emptied. Descriptors add to the
end, wherever that is. What another process writes between the last look and the emptying is lost, a
line at most.

Not: the lines (`umad.stderr_log`). Owner: who opened it; `turn_if_full` belongs to the thread that
writes.
"""

import contextlib
import os
import stat
from pathlib import Path

from umad.config import LoggingSettings
from umad.errors import BadConfig
from umad.private_file import open_append, own_folder
from umad.stderr_log import STDERR_FD

KEPT = 3
_CHUNK_BYTES = 2**20
_FILE_MODE = 0o600


class LogFile:
    """stderr's file between `open` and `close`. With no path, nothing happens."""

    def __init__(self, path: Path | None, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        # stderr as the starter had it.
        self._before: int | None = None

    def open(self) -> None:
        """Lead stderr into the file. Raises `BadConfig` where it cannot be written."""
        if self._path is None:
            return
        try:
            if not self._path.parent.exists():
                own_folder(self._path.parent)
            fd = open_append(self._path)
        except OSError as error:
            raise BadConfig(
                f"the log cannot be written: {self._path}: {error.strerror}", field="logging.file"
            ) from error
        self._before = os.dup(STDERR_FD)
        os.dup2(fd, STDERR_FD)
        os.close(fd)

    def close(self) -> None:
        """Lead stderr back, so that what comes last is read where the daemon was started."""
        if self._before is None:
            return
        os.dup2(self._before, STDERR_FD)
        os.close(self._before)
        self._before = None

    def turn_if_full(self) -> None:
        """Begin the file anew where it is too long, or somebody has removed it. Never raises: a
        full disk must not end the log.
        """
        if self._before is None or self._path is None:
            return
        with contextlib.suppress(OSError):
            found = os.fstat(STDERR_FD)
            if not stat.S_ISREG(found.st_mode):
                return
            if found.st_nlink == 0:
                self._lead_to_new(self._path)
            elif found.st_size >= self._most_bytes:
                self._turn(self._path, found)

    def _turn(self, path: Path, found: os.stat_result) -> None:
        try:
            # Through links: a log that lies elsewhere by a link of the user's is to be bounded too.
            is_here = os.path.samestat(os.stat(path), found)
        except FileNotFoundError:
            is_here = False
        if not is_here:  # somebody keeps it under another name
            self._lead_to_new(path)
            return
        try:
            _keep(path)
        finally:
            # Also where the copy failed: the room is needed more than the old lines.
            os.ftruncate(STDERR_FD, 0)

    def _lead_to_new(self, path: Path) -> None:
        fd = open_append(path)
        os.dup2(fd, STDERR_FD)
        os.close(fd)


def _keep(path: Path) -> None:
    """Copy the file to FILE.1, after the older ones have moved on by one."""
    for number in range(KEPT - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            _numbered(path, number).replace(_numbered(path, number + 1))
    half = path.with_name(f"{path.name}.half")
    half.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(path, "rb") as old, open(os.open(half, flags, _FILE_MODE), "wb") as new:
            while chunk := old.read(_CHUNK_BYTES):
                new.write(chunk)
        half.replace(_numbered(path, 1))
    finally:
        half.unlink(missing_ok=True)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def log_file_of(settings: LoggingSettings) -> LogFile:
    """The log's file of this configuration."""
    path = None if settings.file is None else Path(settings.file).expanduser().absolute()
    return LogFile(path, settings.file_bytes)
