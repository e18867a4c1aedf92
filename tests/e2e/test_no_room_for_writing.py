"""Every folder that umad writes to is full or read-only, and every answer comes all the same."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.gateways import live_gateway


def _mounted(folder: Path, options: str) -> Path:
    """A small file system of its own at `folder`. Skips where this user may mount none."""
    folder.mkdir()
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("only Linux has a tmpfs")
    command = ["mount", "-t", "tmpfs", "-o", options, "umad-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may mount nothing")
    return folder


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.fixture(params=["a full disk", "a read-only disk", "a home that is no folder"])
def folder(request: pytest.FixtureRequest, short_tmp_path: Path) -> Iterator[Path]:
    """Nothing can be written to it."""
    if request.param == "a home that is no folder":
        yield Path("/dev/null/home")
        return
    mounted = short_tmp_path / "disk"
    is_full = request.param == "a full disk"
    _mounted(mounted, "size=64k,mode=700" if is_full else "ro,size=64k,mode=700")
    try:
        if is_full:
            _fill(mounted / "full")
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.usefixtures("nano_path")
def test_every_answer_comes(folder: Path, short_tmp_path: Path) -> None:
    body = {"model": "nano", "max_tokens": 4, "temperature": 0}
    response = {"model": "nano", "max_output_tokens": 16}
    native = {"prompt": "def f(", "max_tokens": 4, "session": "s", "stream": False}
    environment = {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}
    arguments = [
        *("--session-dir", str(folder / "sessions")),
        *("--gateway-store", str(folder / "store" / "r.sqlite3")),
        *("--logging-scorecard-csv", str(folder / "card.csv")),
        *("--logging-scorecard-interval-s", "0.2"),
    ]
    with (
        live_gateway(short_tmp_path, *arguments, environment=environment) as gateway,
        gateway.http() as http,
    ):
        generated = [http.post("/generate", json=native) for _ in range(2)]
        chat = http.post(
            "/v1/chat/completions", json=body | {"messages": [{"role": "user", "content": "hi"}]}
        )
        first = http.post("/v1/responses", json=response | {"input": "hi"})
        second = http.post(
            "/v1/responses",
            json=response | {"input": "on", "previous_response_id": first.json().get("id")},
        )
        forgotten = http.post("/forget", json={"session": "s"})
        (row,) = http.get("/status").json()["models"]

    answers = [*generated, chat, first, second, forgotten]
    assert [one.status_code for one in answers] == [200] * 6, [one.text for one in answers]
    assert (row["state"], row["restarts"]) == ("ready", 0)
    assert gateway.daemon.process.returncode == 0
