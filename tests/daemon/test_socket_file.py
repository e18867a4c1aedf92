"""The socket's place in the file system: owned by one daemon, closed to everybody else."""

import errno
import fcntl
import os
import socket
import stat
import sys
import time
from pathlib import Path

import pytest

from umad.daemon.socket_file import SocketFile
from umad.errors import AlreadyRunning, BadConfig
from umad.socket_path import socket_path_limit_bytes

LIMIT_BYTES = socket_path_limit_bytes(sys.platform)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_folder_socket_and_lock_are_closed_to_other_users(tmp_path: Path) -> None:
    path = tmp_path / "umad" / "umad.sock"

    owned = SocketFile.claim(path)

    assert mode(path.parent) == 0o700
    assert mode(path) == 0o600
    assert mode(path.with_name("umad.sock.lock")) == 0o600
    owned.close()


def test_a_folder_of_ours_that_was_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "umad"
    folder.mkdir()
    folder.chmod(0o755)

    SocketFile.claim(folder / "umad.sock").close()

    assert mode(folder) == 0o700


def test_a_folder_of_another_name_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    folder.chmod(0o755)

    SocketFile.claim(folder / "umad.sock").close()

    assert mode(folder) == 0o755


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, 12_345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12_345)

    with pytest.raises(BadConfig, match="belongs to uid"):
        SocketFile.claim(folder / "umad.sock")


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(BadConfig, match="chmod go-w"):
        SocketFile.claim(folder / "umad.sock")


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "umad.sock"
    owned = SocketFile.claim(path)

    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        SocketFile.claim(path)

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))  # the first one's socket is untouched
    owned.close()


def test_who_only_asks_for_an_owner_keeps_no_daemon_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tab key asks, and has the lock for a moment."""
    path = tmp_path / "umad" / "umad.sock"
    SocketFile.claim(path).close()
    asking = os.open(f"{path}.lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        fcntl.flock(asking, fcntl.LOCK_UN)

    monkeypatch.setattr(time, "sleep", pause)
    SocketFile.claim(path).close()
    os.close(asking)

    assert len(paused) == 1


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "umad.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))

    owned = SocketFile.claim(path)

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
    owned.close()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")

    with pytest.raises(BadConfig, match="no socket"):
        SocketFile.claim(path)

    assert path.read_text() == "precious"


def test_closing_removes_the_socket_and_leaves_the_lock_file(tmp_path: Path) -> None:
    path = tmp_path / "umad.sock"
    owned = SocketFile.claim(path)

    owned.close()

    assert not path.exists()
    assert path.with_name("umad.sock.lock").exists()
    SocketFile.claim(path).close()


def test_closing_leaves_a_socket_that_somebody_else_put_there(tmp_path: Path) -> None:
    path = tmp_path / "umad.sock"
    owned = SocketFile.claim(path)
    path.rename(tmp_path / "moved.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.fspath(path))

        owned.close()

    assert path.exists()


def test_a_path_too_long_for_the_system_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / ("x" * LIMIT_BYTES)

    with pytest.raises(BadConfig, match="name a shorter one"):
        SocketFile.claim(path)


def test_the_longest_path_the_system_allows_is_taken(tmp_path: Path) -> None:
    room = LIMIT_BYTES - len(os.fsencode(tmp_path)) - 1
    path = tmp_path / ("s" * room)

    SocketFile.claim(path).close()

    assert len(os.fsencode(path)) == LIMIT_BYTES


def test_a_lock_file_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full_disk)

    with pytest.raises(BadConfig, match=r"cannot be written: .*u\.sock\.lock: No space left"):
        SocketFile.claim(tmp_path / "u.sock")


def test_a_lock_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "u.sock.lock")

    with pytest.raises(BadConfig, match=r"u\.sock\.lock"):
        SocketFile.claim(tmp_path / "u.sock")


def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)

    with pytest.raises(BadConfig, match=r"cannot be locked: .*u\.sock\.lock"):
        SocketFile.claim(tmp_path / "u.sock")
