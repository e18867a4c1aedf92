"""A model that cannot be opened costs one clear line; the daemon and its other model go on."""

import asyncio
import contextlib
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.live import LiveDaemon, collect, greedy, wait_until
from umad.errors import UmadError

START_S = 60


def missing(folder: Path, nano: Path) -> Path:
    return folder / "missing.gguf"


def text_file(folder: Path, nano: Path) -> Path:
    path = folder / "notes.gguf"
    path.write_text("this is not a model\n" * 100)
    return path


def empty_file(folder: Path, nano: Path) -> Path:
    path = folder / "empty.gguf"
    path.touch()
    return path


def truncated(folder: Path, nano: Path) -> Path:
    path = folder / "truncated.gguf"
    path.write_bytes(nano.read_bytes()[: nano.stat().st_size // 2])
    return path


def cut_in_the_header(folder: Path, nano: Path) -> Path:
    path = folder / "header.gguf"
    path.write_bytes(nano.read_bytes()[:2000])
    return path


def unknown_architecture(folder: Path, nano: Path) -> Path:
    path = folder / "alien.gguf"
    body = nano.read_bytes()
    at = body.index(b"general.architecture") + len(b"general.architecture") + 4
    (length,) = struct.unpack_from("<Q", body, at)
    path.write_bytes(body[: at + 8] + b"z" * length + body[at + 8 + length :])
    return path


def too_large(folder: Path, nano: Path) -> Path:
    """A file that says, truthfully to `stat`, that it is larger than this machine's memory."""
    path = folder / "huge.gguf"
    shutil.copy(nano, path)
    os.truncate(path, 2 * psutil.virtual_memory().total)
    return path


BAD = [
    (missing, "model_load_failed", "no such file"),
    (text_file, "model_load_failed", "GGUF"),
    (empty_file, "model_load_failed", "GGUF"),
    (truncated, "model_load_failed", ""),
    (cut_in_the_header, "model_load_failed", ""),
    (unknown_architecture, "model_load_failed", "architecture"),
    (too_large, "model_too_large", "this machine has"),
]


@pytest.mark.parametrize(("make", "code", "says"), BAD, ids=[one[0].__name__ for one in BAD])
def test_loading_it_into_a_running_daemon_is_an_error_of_that_call_alone(
    daemon: LiveDaemon, tmp_path: Path, nano_path: Path, make: object, code: str, says: str
) -> None:
    assert callable(make)
    path = make(tmp_path, nano_path)

    async def run() -> tuple[UmadError, list[int]]:
        async with daemon.client() as client:
            with pytest.raises(UmadError) as caught:
                await client.load(str(path))
            after = await collect(client, greedy("x = ", 5))
            return caught.value, after.ids

    error, ids = asyncio.run(run())

    assert error.code == code
    assert says in error.message
    assert "\n" not in error.message
    assert len(ids) == 5
    wait_until(lambda: zombies_of(daemon) == [], what="the end of its processes")


def zombies_of(daemon: LiveDaemon) -> list[int]:
    """Processes that nobody waits for."""
    found = []
    for child in psutil.Process(daemon.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if child.status() == psutil.STATUS_ZOMBIE:
                found.append(child.pid)
    return found


@pytest.mark.parametrize(("make", "code", "says"), BAD, ids=[one[0].__name__ for one in BAD])
def test_serving_it_ends_with_one_line_and_exit_code_1(
    tmp_path: Path,
    short_tmp_path: Path,
    nano_path: Path,
    make: object,
    code: str,
    says: str,
) -> None:
    assert callable(make)
    path = make(tmp_path, nano_path)
    flags = ["--socket", str(short_tmp_path / "u.sock"), "--log-level", "error"]
    ran = subprocess.run(
        [sys.executable, "-m", "umad", "serve", str(path), *flags],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )

    lines = ran.stderr.strip().splitlines()
    assert ran.returncode == 1
    assert len(lines) == 1, ran.stderr
    assert path.stem in lines[0]
    assert says in lines[0]
