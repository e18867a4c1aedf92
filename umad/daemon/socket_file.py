"""Owns the daemon's place in the file system: folder, lock file and listening socket.

The lock file beside the socket decides which daemon owns the socket. It is never unlinked, because
two daemons could otherwise lock two files of one name. The holder of the lock may replace a socket
that a dead daemon left behind. A socket that a service manager has made stays the manager's
(`umad.daemon.activation`): the lock is taken all the same, and the file is left where it is.
"""

import contextlib
import fcntl
import os
import shlex
import socket
import stat
import sys
import time
from pathlib import Path
from typing import Self

from umad.errors import AlreadyRunning, BadConfig
from umad.socket_path import check_socket_path

# Clients that may connect while the loop is busy; the next one is told that there is no room. So
# the limit allows for a test suite or a crowd of agents. The kernel may shorten it.
BACKLOG = 1024
# Whoever asks whether a daemon is there has the lock for a moment (`is_owned`): a tab key does.
_TRIES, _PAUSE_S = 5, 0.02
# Pids have 7 digits at most (PID_MAX_LIMIT, 4 million).
_PID_BYTES = 12


class SocketFile:
    """An owned, listening Unix socket. Use `claim` or `adopt`; close it before the process ends."""

    def __init__(
        self, path: Path, lock_fd: int, sock: socket.socket, *, is_handed: bool = False
    ) -> None:
        self.path = path
        self.sock = sock
        # A service manager listens too, and goes on when this process ends.
        self.is_handed = is_handed
        # A link to the socket, removed with it (`umad.daemon.socket_places`).
        self.link: Path | None = None
        self._lock_fd = lock_fd
        made = os.stat(path)
        self._made = (made.st_dev, made.st_ino)

    @classmethod
    def claim(cls, path: Path) -> Self:
        """Own `path` and listen on it.

        Raises `AlreadyRunning` where another daemon owns it, `BadConfig` where nobody can.
        """
        path = Path(os.path.abspath(path))
        check_socket_path(os.fspath(path), sys.platform)
        _make_folder(path.parent)
        lock_fd = _lock(path.with_name(path.name + ".lock"), path)
        try:
            _remove_stale(path)
            return cls(path, lock_fd, _listen(path))
        except BaseException:
            os.close(lock_fd)
            raise

    @classmethod
    def adopt(cls, sock: socket.socket) -> Self:
        """Own the place of a socket that a service manager has handed over, and its file stays.

        Raises `AlreadyRunning` where another daemon owns the place, `BadConfig` where it is not
        this user's.
        """
        path = Path(os.path.abspath(sock.getsockname()))
        _make_folder(path.parent)
        lock_fd = _lock(path.with_name(path.name + ".lock"), path)
        try:
            return cls(path, lock_fd, sock, is_handed=True)
        except FileNotFoundError as error:
            os.close(lock_fd)
            raise BadConfig(
                f"the service manager listens on {path}, and the file is gone: umad service stop, "
                "then: umad service start",
                field="socket",
            ) from error
        except BaseException:
            os.close(lock_fd)
            raise

    def close(self) -> None:
        """Stop listening, remove the socket if it is still the one made here, release the lock."""
        self.sock.close()
        if self.link is not None and self.link.is_symlink():
            with contextlib.suppress(OSError):
                if os.readlink(self.link) == os.fspath(self.path):
                    self.link.unlink()
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(self.path)
            if not self.is_handed and (found.st_dev, found.st_ino) == self._made:
                self.path.unlink()
        os.close(self._lock_fd)


def _make_folder(folder: Path) -> None:
    """Make the folder of the socket with mode 0700.

    A folder that exists keeps its mode. It is refused where others may write to it.
    """
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise BadConfig(
            f"the socket's folder cannot be made: {folder}: {error.strerror}; name another socket "
            "with --socket or UMAD_SOCKET",
            field="socket",
        ) from error
    if found.st_uid not in (os.getuid(), 0):
        # The owner of the folder could put another socket in our place.
        raise BadConfig(
            f"the socket's folder belongs to uid {found.st_uid}: {folder}; name another with "
            "--socket or UMAD_SOCKET",
            field="socket",
        )
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == os.getuid() and folder.name == "umad" and mode != 0o700:
        folder.chmod(0o700)
    elif mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        # Everybody who may write to the folder could do the same.
        raise BadConfig(
            f"others may write to the socket's folder: chmod go-w {shlex.quote(str(folder))}",
            field="socket",
        )


def _lock(lock_path: Path, path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(lock_path, flags, 0o600)
    except OSError as error:
        raise BadConfig(
            f"the lock file cannot be opened: {lock_path}: {error.strerror}", field="socket"
        ) from error
    found = os.fstat(fd)
    if found.st_uid != os.getuid() or found.st_nlink != 1:
        # Another user may have put the file there, or the name may lead to a file that must not be
        # overwritten.
        os.close(fd)
        raise BadConfig(
            f"the lock file is not this user's own: {lock_path}; name another socket with "
            "--socket or UMAD_SOCKET",
            field="socket",
        )
    try:
        _take(fd)
    except BlockingIOError as error:
        said = os.pread(fd, _PID_BYTES, 0).strip()
        os.close(fd)
        raise taken(path, said) from error
    except OSError as error:  # a file system that has no locks
        os.close(fd)
        raise BadConfig(
            f"the lock file cannot be locked: {lock_path}: {error.strerror}", field="socket"
        ) from error
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
    except OSError as error:  # a full disk; or what lies there is no file
        os.close(fd)
        raise BadConfig(
            f"the lock file cannot be written: {lock_path}: {error.strerror}", field="socket"
        ) from error
    return fd


def _take(fd: int) -> None:
    """Take the lock. Raises `BlockingIOError` where another daemon has it."""
    for _ in range(_TRIES - 1):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_owned(path: Path) -> bool:
    """Whether a daemon holds the lock of the socket at `path`.

    The lock is held for a moment to find out. A daemon that starts at this very moment tries again.
    """
    try:
        fd = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def handed_out(path: Path) -> AlreadyRunning:
    """The error for a socket on which a service manager listens, with no daemon behind it yet.

    No pid is named: it is the manager's own, and killing it would end the user's whole session.
    """
    return AlreadyRunning(
        f"no daemon listens on {path}, but a program that starts one at the first connection, as "
        "the service of umad does; use it, or end it with: umad service stop"
    )


def taken(path: Path, said: bytes) -> AlreadyRunning:
    """The error for a socket that another daemon owns.

    said: its pid, as the lock file has it. It goes into the suggested command only as a number,
    because others may have written the file.
    """
    if not said.isdigit() or len(said) == _PID_BYTES or not int(said):
        return AlreadyRunning(f"another daemon owns {path}; use it, or stop it")
    pid = int(said)
    return AlreadyRunning(
        f"another daemon (pid {pid}) owns {path}; use it, or stop it with: kill {pid}"
    )


def _remove_stale(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise BadConfig(f"{path} is there and is no socket; name another path", field="socket")
    path.unlink()


def _listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # bind() makes the file with the umask's mode; a chmod afterwards would leave a moment open.
    umask = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
    except OSError as error:
        sock.close()
        raise BadConfig(f"cannot listen on {path}: {error.strerror}", field="socket") from error
    finally:
        os.umask(umask)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock
