"""Log lines reach stderr in order, and a reader that is stuck stops nobody."""

import contextlib
import os
import subprocess
import sys

import pytest

from tests.daemon.house import PATIENCE_S, ROOT

PROGRAM = """
import logging, os, sys
from umad.stderr_log import QUEUED_LINES, StderrLog
log = StderrLog()
log.open("info")
for number in range(int(sys.argv[1])):
    logging.getLogger("test").info("line %d", number)
log.say("umad ready")
os.write(1, b"done")
log.close()
"""


def start(n_lines: int, stderr: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(n_lines)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_every_line_is_written_in_order_before_the_process_ends() -> None:
    with start(100, subprocess.PIPE) as process:
        _, errors = process.communicate(timeout=PATIENCE_S)

    lines = errors.decode().splitlines()
    assert [line.rpartition(" ")[2] for line in lines[:-1]] == [str(i) for i in range(100)]
    assert lines[-1] == "umad ready"


def test_a_pipe_that_nobody_reads_stops_neither_the_work_nor_the_end() -> None:
    read_end, write_end = os.pipe()
    try:
        with start(10_000, write_end) as process:
            output, _ = process.communicate(timeout=PATIENCE_S)

        assert output == b"done"
        assert process.returncode == 0
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_pipe_that_another_program_made_to_not_wait_loses_no_line() -> None:
    """As Node does with a terminal that it shares: a full one is an error there, and no end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(write_end, b"x" * 4096)
    with start(10, write_end) as process:
        os.close(write_end)
        # It has said all, and stands before a full pipe.
        assert process.stdout is not None
        assert process.stdout.read(4) == b"done"
        with open(read_end, "rb") as errors:
            lines = errors.read()[filled:].decode().splitlines()

    assert [line.rpartition(" ")[2] for line in lines[:-1]] == [str(i) for i in range(10)]


def test_a_reader_that_has_gone_stops_neither() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        with start(1000, write_end) as process:
            output, _ = process.communicate(timeout=PATIENCE_S)

        assert output == b"done"
        assert process.returncode == 0
    finally:
        os.close(write_end)


def test_what_a_terminal_would_obey_is_written_out() -> None:
    program = PROGRAM.replace('"line %d"', r'"\x1b[2J\x9b\tl\xe9on %d"')

    with subprocess.Popen(
        [sys.executable, "-c", program, "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        _, errors = process.communicate(timeout=PATIENCE_S)

    assert errors.decode().splitlines()[0].endswith(r" \x1b[2J\x9b" + "\tl\xe9on 0")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has it")
def test_a_log_on_a_full_disk_stops_neither_and_goes_on_when_there_is_room() -> None:
    program = """
import logging, os, time
from umad.stderr_log import StderrLog
log = StderrLog()
log.open("info")
logging.getLogger("test").info("lost")
while not log._n_dropped:
    time.sleep(0.01)
os.dup2(1, 2)  # room again
log.say("umad ready")
log.close()
"""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=full,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        os.close(full)

    assert ended.returncode == 0
    assert ended.stdout.decode().splitlines() == ["1 lines were dropped here", "umad ready"]
