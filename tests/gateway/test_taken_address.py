"""An address that somebody else listens at: one line, and the daemon's other clients go on."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.live import live_daemon, wait_until
from umad.client import Client

SAYS = "another program listens there; end it, or name another address"


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        yield one


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def gateway_at(listen: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`umad gateway` run to its end."""
    (folder / "none.yaml").touch()
    return subprocess.run(
        [sys.executable, "-m", "umad", "gateway", "--http", listen],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "UMAD_CONFIG": str(folder / "none.yaml")},
    )


def test_a_taken_port_is_one_line_and_exit_code_1(taken: socket.socket, tmp_path: Path) -> None:
    ended = gateway_at(address_of(taken), tmp_path)

    assert ended.returncode == 1
    assert ended.stderr == f"umad: --http {address_of(taken)}: {SAYS}\n"


def test_a_taken_unix_socket_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "h.sock"
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(path))
        other.listen()
        ended = gateway_at(f"unix:{path}", tmp_path)

    assert ended.returncode == 1
    assert ended.stderr == f"umad: --http unix:{path}: {SAYS}\n"
    assert path.exists()


def test_the_daemon_serves_its_socket_meanwhile_and_the_port_once_it_is_free(
    taken: socket.socket, tmp_path: Path
) -> None:
    with live_daemon(tmp_path, "--http", address_of(taken)) as daemon:
        wait_until(lambda: "gateway ended status=1 again_s=" in daemon.log, what="its end")
        assert f"umad: --http {address_of(taken)}: {SAYS}" in daemon.log
        with Client(daemon.socket) as client:
            assert client.complete("one two", temperature=0)

        taken.close()
        wait_until(lambda: "umad gateway ready" in daemon.log, within_s=60, what="a gateway")
