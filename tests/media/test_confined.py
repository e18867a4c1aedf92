"""A decoding process can open, write and start nothing: a fault in a decoder gets nobody far."""

import subprocess
import sys

import pytest

CONFINED = """
import os, socket, sys
from umad.media.decoder_child import _confine
from umad.media.limits import MediaLimits
_confine(MediaLimits(run_s=5, wall_s=20, memory_bytes=64 * 2**20))
try:
    {attempt}
except (OSError, MemoryError) as error:
    os._exit(7)
os._exit(0)
"""


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "os.open('/tmp', os.O_RDONLY)",
        "socket.socket()",
        "os.pipe()",
        "os.dup(2)",
        pytest.param(
            "bytearray(2**28)",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="macOS sets no such limit"),
        ),
    ],
)
def test_a_decoding_process_is_denied(attempt: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CONFINED.format(attempt=attempt)], timeout=60, check=False
    )

    assert ended.returncode == 7


def test_without_being_confined_all_of_it_would_work() -> None:
    program = CONFINED.format(attempt="open('/etc/passwd'); bytearray(2**28); os.pipe()")
    unconfined = program.replace("_confine(MediaLimits", "(lambda _: None)(MediaLimits")

    ended = subprocess.run([sys.executable, "-c", unconfined], timeout=60, check=False)

    assert ended.returncode == 0
