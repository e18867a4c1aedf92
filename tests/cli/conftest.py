"""A real daemon with fake engines in a process of its own, and commands run against it."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live import wait_until
from umad.cli.app import main
from umad.client import Client
from umad.testing import FakeModel

ROOT = Path(__file__).parents[2]

DAEMON = """
import sys
from umad.config import LimitSettings, LoggingSettings, Settings
from umad.daemon.server import run_daemon
from umad.testing import fake_command

settings = Settings(
    models=(sys.argv[2],),
    socket=sys.argv[1],
    limits=LimitSettings(drain_s=1.0, max_tokens=1_000_000),
    logging=LoggingSettings(scorecard_interval_s=3600.0),
)
sys.exit(run_daemon(settings, launcher=lambda file, fd: fake_command(file.path, fd)))
"""


@dataclass(frozen=True, slots=True)
class Fakes:
    """A running daemon. model: the file of its one model, `m`, which is slow enough to be
    interrupted; other: a file that is not loaded."""

    socket: Path
    model: Path
    other: Path


@pytest.fixture(scope="session")
def fakes() -> Iterator[Fakes]:
    with tempfile.TemporaryDirectory(prefix="umad-", dir="/tmp", ignore_cleanup_errors=True) as at:
        folder = Path(at)
        found = Fakes(
            socket=folder / "umad.sock",
            model=FakeModel(pace_ms=2.0).write(folder / "m.gguf"),
            other=FakeModel().write(folder / "other.gguf"),
        )
        daemon = subprocess.Popen(
            [sys.executable, "-c", DAEMON, str(found.socket), str(found.model)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert daemon.stderr is not None
        try:
            said = []
            for line in daemon.stderr:
                said.append(line)
                if line.startswith("umad ready"):
                    break
            else:
                pytest.fail("the daemon did not start: " + "".join(said))
            # Its log is read all the time: a full pipe would hold up what it says last.
            reading = threading.Thread(target=daemon.stderr.read, daemon=True)
            reading.start()
            yield found
            assert daemon.poll() is None, "a command ended the daemon"
            daemon.terminate()
            reading.join(60)
        finally:
            daemon.kill()
            daemon.stderr.close()
            daemon.wait(timeout=60)


@pytest.fixture(autouse=True)
def _nothing_is_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a killed command had asked for ends a moment after it, and the next test looks at all
    that runs.
    """
    daemon: Fakes | None = None
    if "fakes" in request.fixturenames:
        daemon = request.getfixturevalue("fakes")
    yield
    if daemon is not None:
        with Client(daemon.socket) as client:
            wait_until(lambda: not client.sessions(), what="the end of what a test has started")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Umad = Callable[..., Ended]


@pytest.fixture
def plain_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing of the developer's own settings."""
    for name in list(os.environ):
        if name.startswith(("UMAD_", "XDG_", "HF_", "OLLAMA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def umad(plain_environment: None, capfd: pytest.CaptureFixture[str]) -> Umad:
    """Run one command line in this process."""

    def run(*args: str) -> Ended:
        code = main(args)
        out, err = capfd.readouterr()
        return Ended(code=code, out=out, err=err)

    return run


@pytest.fixture
def asking(umad: Umad, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Umad:
    """Run one command line against the daemon."""
    monkeypatch.setenv("UMAD_SOCKET", str(fakes.socket))
    return umad


@pytest.fixture
def spawn(fakes: Fakes) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command line in a process of its own, against the daemon."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "umad", *args],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "UMAD_SOCKET": str(fakes.socket)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
