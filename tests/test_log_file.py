"""A log that launchd keeps has a bound, and everything that is written to stderr is in it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.house import PATIENCE_S, ROOT
from umad.config import LoggingSettings
from umad.errors import BadConfig
from umad.log_file import KEPT, log_file_of

# Writes argv[3] numbered lines of 100 bytes into the log argv[1], which has argv[2] bytes at most.
PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from umad.log_file import LogFile
from umad.stderr_log import StderrLog
path, most, lines = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
file = LogFile(path, most)
file.open()
log = StderrLog(after_line=file.turn_if_full)
log.open("info")
subprocess.run(["sh", "-c", "echo of a child >&2"], check=True)
for number in range(lines):
    log.say(f"{number:099d}")
if len(sys.argv) > 4:
    os.rename(path, sys.argv[4])
    log.say("x" * most)
    log.say("after it was moved")
log.close()
file.close()
os.write(2, b"back at the terminal")
"""


def run(path: Path, most: int, lines: int, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(most), str(lines), *more],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stderr


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines() if line.isdecimal()]


def test_lines_of_the_daemon_and_of_its_children_are_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "umad.log"

    rest = run(path, 2**20, 10)

    assert path.read_text().startswith("of a child\n")
    assert numbers(path) == list(range(10))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rest == "back at the terminal"


def test_a_full_file_is_begun_anew_and_no_line_of_the_daemon_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "umad.log"

    run(path, 1000, 25)

    files = [path.with_name("umad.log.2"), path.with_name("umad.log.1"), path]
    assert [number for file in files for number in numbers(file)] == list(range(25))
    assert all(file.stat().st_size <= 1100 for file in files)
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


def test_only_the_last_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "umad.log"

    run(path, 1000, 195)

    kept = {one.name for one in tmp_path.iterdir()}
    assert kept == {"umad.log", *(f"umad.log.{number}" for number in range(1, KEPT + 1))}
    assert numbers(path)[-1] == 194


def test_a_log_behind_a_link_is_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    path = tmp_path / "umad.log"
    path.symlink_to(tmp_path / "disk" / "umad.log")

    run(path, 1000, 25)

    assert path.stat().st_size <= 1100
    assert numbers(path)[-1] == 24
    assert [number for n in (2, 1) for number in numbers(tmp_path / f"umad.log.{n}")] == list(
        range(20)
    )


def test_a_later_daemon_adds_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "umad.log"

    run(path, 2**20, 2)
    run(path, 2**20, 2)

    assert numbers(path) == [0, 1, 0, 1]


def test_a_file_that_somebody_has_moved_is_theirs_and_a_new_one_is_begun(tmp_path: Path) -> None:
    path, moved = tmp_path / "umad.log", tmp_path / "mine"

    run(path, 1000, 5, str(moved))

    assert numbers(moved) == list(range(5))
    assert path.read_text() == "after it was moved\n"


def test_a_place_that_cannot_be_written_is_an_error_with_the_option_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(BadConfig, match="the log cannot be written") as caught:
        log_file_of(LoggingSettings(file=str(tmp_path / "file" / "umad.log"))).open()

    assert caught.value.field == "logging.file"


def test_a_pipe_that_nobody_reads_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "umad.log")

    with pytest.raises(BadConfig, match="it is a socket, or a pipe that nobody reads"):
        log_file_of(LoggingSettings(file=str(tmp_path / "umad.log"))).open()


def test_without_a_file_stderr_is_left_alone() -> None:
    log_file = log_file_of(LoggingSettings())

    log_file.open()
    log_file.turn_if_full()
    log_file.close()
