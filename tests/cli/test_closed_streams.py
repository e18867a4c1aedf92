"""Commands whose stdin, stdout or stderr leads nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Fakes

ROOT = Path(__file__).parents[2]


def umad_in_shell(
    fakes: Fakes, arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    fixed = {"PYTHONPATH": str(ROOT), "UMAD_SOCKET": str(fakes.socket), "PYTHONUNBUFFERED": ""}
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m umad {arguments}', sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | fixed | settings,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_works_without_one_of_them(fakes: Fakes, closed: str) -> None:
    ended = umad_in_shell(fakes, f"ps {closed}")
    assert ended.returncode == 0, ended.stderr


def test_a_closed_stdin_is_an_empty_one(fakes: Fakes) -> None:
    ended = umad_in_shell(fakes, "run <&-")

    assert ended.returncode == 2
    assert "stdin is empty" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["ps", "ps --json", "run hello --max-tokens 3", "--help"])
def test_a_full_disk_behind_stdout_is_one_line_and_1(
    fakes: Fakes, command: str, unbuffered: str
) -> None:
    ended = umad_in_shell(fakes, f"{command} >/dev/full", PYTHONUNBUFFERED=unbuffered)

    assert ended.returncode == 1
    assert ended.stderr == "umad: stdout cannot be written: No space left on device\n"
