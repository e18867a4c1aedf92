"""A protocol has stdin and stdout for itself, whatever its parent has closed or put there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.house import PATIENCE_S, ROOT

ECHO = """
import asyncio, contextlib, os, sys
from umad.standard_streams import give_back, take_standard_streams

async def main():
    if "late" in sys.argv:
        os.close(2)
    reader, writer = await take_standard_streams(2**16)
    print("a stray word", flush=True)
    with contextlib.suppress(OSError):
        os.write(2, b"a warning of a library")
    writer.write(await reader.read())
    await give_back(writer)

asyncio.run(main())
"""
# Says how many bytes it had, and how far the file was read ahead of it at most.
COUNT = """
import asyncio, os
from umad.standard_streams import give_back, take_standard_streams

async def main():
    reader, writer = await take_standard_streams(2**14)
    taken = ahead = 0
    while line := await reader.readline():
        taken += len(line)
        ahead = max(ahead, os.lseek(0, 0, os.SEEK_CUR) - taken)
    writer.write(f"{taken} {ahead}".encode())
    await give_back(writer)

asyncio.run(main())
"""


def run(
    program: str, redirected: str = "", *arguments: str, said: bytes = b""
) -> tuple[bytes, int]:
    """What `program` wrote to stdout, and its exit code."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-c", program, *arguments],
        input=said,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout, done.returncode


@pytest.mark.parametrize(
    ("redirected", "when"),
    [("", "early"), ("2>/dev/null", "early"), ("2>&-", "early"), ("", "late")],
)
def test_nothing_but_the_protocol_is_written_to_stdout_though_stderr_is_closed(
    redirected: str, when: str
) -> None:
    assert run(ECHO, redirected, when, said=b"a message") == (b"a message", 0)


@pytest.mark.parametrize(
    ("redirected", "heard"), [("<&- 2>&-", b""), ("</dev/null", b""), (">&- 2>&-", b"")]
)
def test_a_closed_stream_leads_nowhere(redirected: str, heard: bytes) -> None:
    assert run(ECHO, redirected, said=b"a message") == (heard, 0)


def test_a_file_is_read_no_faster_than_its_reader_takes_it(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes((b"x" * 1023 + b"\n") * 8192)

    said, code = run(COUNT, f"<{script}")

    assert code == 0
    taken, ahead = map(int, said.split())
    assert taken == 2**23
    assert ahead <= 2**18, "of eight million bytes"


def test_a_file_comes_whole_and_in_order(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"".join(b"%d\n" % number for number in range(200_000)))

    assert run(ECHO, f"<{script}") == (script.read_bytes(), 0)
