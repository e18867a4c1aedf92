"""The service under macOS's own launchd: `make service-test`, on a Mac that has no umad yet.

It installs a LaunchAgent for whoever runs it, and removes it. So it is no part of `make test`.
"""

import json
import os
import plistlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import wait_until

PLIST = Path.home() / "Library" / "LaunchAgents" / "umad.daemon.plist"
TARGET = f"gui/{os.getuid()}/umad.daemon"
UMAD = Path(sys.executable).with_name("umad")
WITHIN_S = 120.0

pytestmark = pytest.mark.skipif(sys.platform != "darwin", reason="launchd is macOS's")


def umad(*words: str, code: int | None = 0) -> str:
    done = subprocess.run(
        [UMAD, *words], capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert code is None or done.returncode == code, done.stderr
    return done.stdout


def status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(umad("service", "status", "--json", code=None))
    return found


def is_running() -> bool:
    return bool(status()["state"] == "running")


@pytest.fixture(scope="module", autouse=True)
def _service() -> Iterator[None]:
    if PLIST.exists():
        pytest.skip("umad is a service here already, and stays as it is")
    umad("service", "install")
    yield
    umad("service", "uninstall")
    assert not PLIST.exists()


def test_launchd_has_the_job_and_reads_the_list_as_it_was_written() -> None:
    printed = subprocess.run(
        ["launchctl", "print", TARGET], capture_output=True, text=True, timeout=60, check=False
    )
    linted = subprocess.run(
        ["plutil", "-lint", PLIST], capture_output=True, text=True, timeout=60, check=False
    )

    assert printed.returncode == 0, printed.stderr
    assert linted.returncode == 0, linted.stdout
    assert plistlib.loads(PLIST.read_bytes())["ProgramArguments"][0] == str(UMAD)


def test_it_answers_and_its_log_is_where_logs_looks() -> None:
    wait_until(is_running, within_s=WITHIN_S)

    assert umad("run", "--max-tokens", "4", "Hello")
    assert "umad ready" in umad("service", "logs")


def test_a_killed_daemon_comes_back() -> None:
    wait_until(is_running, within_s=WITHIN_S)
    pid = status()["pid"]

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: is_running() and status()["pid"] != pid, within_s=WITHIN_S)


def test_a_second_installation_restarts_nothing() -> None:
    wait_until(is_running, within_s=WITHIN_S)
    pid = status()["pid"]

    assert "nothing has changed" in umad("service", "install")

    assert status()["pid"] == pid


def test_a_stopped_daemon_stays_stopped_until_a_start() -> None:
    umad("service", "stop")
    wait_until(lambda: status()["state"] == "stopped", within_s=WITHIN_S)

    umad("service", "start")

    wait_until(is_running, within_s=WITHIN_S)
