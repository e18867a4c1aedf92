"""A stranger's first minute: a name is asked for, fetched, loaded and answers."""

import asyncio
import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.live import live_daemon
from tests.models.loopback_hub import LoopbackHub
from umad import nano
from umad.cli.here import catalogue
from umad.client import AsyncClient

NAME = "qwen3-coder:30b"
FILE = "Qwen3-Coder-30B-A3B-Instruct-Q4_K_M.gguf"


def test_a_model_that_is_not_here_is_offered_fetched_loaded_and_talked_to(
    short_tmp_path: Path,
) -> None:
    environ = {
        "HOME": str(short_tmp_path / "home"),
        "HF_HUB_CACHE": str(short_tmp_path / "hub"),
        "UMAD_MODELS": str(short_tmp_path / "store"),
    }
    with (
        LoopbackHub() as hub,
        live_daemon(short_tmp_path, "nano", environment=environ) as daemon,
    ):
        hub.add(catalogue().entry(NAME).repository, {FILE: nano.path().read_bytes()})
        environ |= {"HF_ENDPOINT": hub.url, "UMAD_SOCKET": str(daemon.socket)}

        person = Person(environ, "run", "--max-tokens", "3", "--temperature", "0", NAME)
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
        loaded = asyncio.run(names(daemon.client()))

    assert person.process.returncode == 0
    assert FILE.removesuffix(".gguf") in loaded


def test_who_does_not_want_it_gets_nothing(short_tmp_path: Path) -> None:
    environ = {
        "HOME": str(short_tmp_path / "home"),
        "HF_HUB_CACHE": str(short_tmp_path / "hub"),
        "UMAD_MODELS": str(short_tmp_path / "store"),
    }
    with (
        LoopbackHub() as hub,
        live_daemon(short_tmp_path, "nano", environment=environ) as daemon,
    ):
        hub.add(catalogue().entry(NAME).repository, {FILE: nano.path().read_bytes()})
        environ |= {"HF_ENDPOINT": hub.url, "UMAD_SOCKET": str(daemon.socket)}

        person = Person(environ, "run", NAME)
        try:
            person.until("Fetch it? [Y/n]")
            person.type("n\n")
            person.process.wait(timeout=60)
        finally:
            person.close()
        program = subprocess.run(
            [sys.executable, "-m", "umad", "run", NAME, "hello"],
            env=os.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert person.process.returncode == 130
    assert program.returncode == 1
    assert f"umad pull {NAME}" in program.stderr
    assert hub.ranges() == []


async def names(client: AsyncClient) -> list[str]:
    async with client:
        return [str(row["name"]) for row in await client.models()]


class Person:
    """Somebody at a terminal."""

    def __init__(self, environ: dict[str, str], *words: str) -> None:
        self._fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "umad", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=os.environ | environ | {"TERM": "xterm", "INPUTRC": "/dev/null"},
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
