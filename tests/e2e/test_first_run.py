"""A stranger's first minute: a name is asked for, fetched, loaded and answers."""

import asyncio
import contextlib
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live import LiveDaemon, live_daemon
from tests.models.loopback_hub import LoopbackHub
from umad import nano
from umad.cli.here import catalogue
from umad.client import AsyncClient

NAME, OTHER = "qwen3-coder:30b", "gemma4:e4b"
FILE = "Qwen3-Coder-30B-A3B-Instruct-Q4_K_M.gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An empty machine with a daemon, and a hub that has two models of the catalogue."""

    hub: LoopbackHub
    daemon: LiveDaemon
    environ: Mapping[str, str]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    own = {
        "HOME": str(folder / "home"),
        "HF_HUB_CACHE": str(folder / "hub"),
        "UMAD_MODELS": str(folder / "store"),
    }
    try:
        with LoopbackHub() as hub, live_daemon(folder, "nano", environment=own) as daemon:
            for name in (NAME, OTHER):
                repository = catalogue().entry(name).repository
                hub.add(repository, {FILE: nano.path().read_bytes()})
            environ = own | {"HF_ENDPOINT": hub.url, "UMAD_SOCKET": str(daemon.socket)}
            yield Machine(hub=hub, daemon=daemon, environ=environ)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_model_that_is_not_here_is_offered_fetched_loaded_and_talked_to(
    machine: Machine,
) -> None:
    person = Person(machine.environ, "run", "--max-tokens", "3", "--temperature", "0", NAME)
    try:
        person.until("to fetch")
        person.until("Fetch it? [Y/n]")
        person.type("\n")
        person.until(FILE[:18])  # its bar
        person.until("> ")
        person.type("def fibonacci\n")
        person.until("\n> ")
        person.type("\x04")
        person.process.wait(timeout=60)
    finally:
        person.close()

    assert person.process.returncode == 0
    assert FILE.removesuffix(".gguf") in asyncio.run(names(machine.daemon.client()))


def test_who_does_not_want_it_gets_nothing(machine: Machine) -> None:
    machine.hub.seen.clear()

    person = Person(machine.environ, "run", OTHER)
    try:
        person.until("Fetch it? [Y/n]")
        person.type("n\n")
        person.process.wait(timeout=60)
    finally:
        person.close()

    assert person.process.returncode == 130
    assert machine.hub.ranges() == []


def test_a_program_is_not_asked_and_reads_how_to_fetch_it(machine: Machine) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "umad", "run", OTHER, "hello"],
        env={**os.environ, **machine.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert f"umad pull {OTHER}" in done.stderr


async def names(client: AsyncClient) -> list[str]:
    async with client:
        return [str(row["name"]) for row in await client.models()]


class Person:
    """Somebody at a terminal."""

    def __init__(self, environ: Mapping[str, str], *words: str) -> None:
        self._fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "umad", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, **environ} | {"TERM": "xterm", "INPUTRC": "/dev/null"},
        )
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, text: str) -> None:
        """Read up to and with `text`. pytest's own timeout bounds it."""
        while text not in self.seen:
            data = b""
            with contextlib.suppress(OSError):  # Linux: the other end is closed
                data = os.read(self._fd, 4096)
            assert data, f"it ended without {text!r}: {self.seen!r}"
            self.seen += data.decode(errors="replace").replace("\r", "")
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)
