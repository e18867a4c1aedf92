"""A client says nothing to a process of another user, whatever lies at the socket's path.

The other user is `nobody`; only root can become one, so these run where the tests are root's.
"""

import asyncio
import http.client
import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from umad.client import AsyncClient, Client, ClientOptions
from umad.client.trust import trusted_owners
from umad.errors import BadConfig, ConnectionLost, Refused, UmadError

UMAD = Path(sys.executable).with_name("umad")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which root can")

# Writes down what it hears, and answers nothing.
LISTENER = """
import os, socket, sys
path, heard = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX)
sock.bind(path)
os.chmod(path, 0o777)
out = os.open(heard, os.O_WRONLY | os.O_CREAT)
{become}
sock.listen(8)
print("listening", flush=True)
while True:
    peer, _ = sock.accept()
    peer.settimeout(60)
    try:
        os.write(out, peer.recv(65536))
    except TimeoutError:
        pass
    peer.close()
"""
NOBODY = "import pwd; os.setgroups([]); os.setuid(pwd.getpwnam('nobody').pw_uid)"


@contextmanager
def listener(path: Path, heard: Path, *, become: str) -> Iterator[None]:
    """A process at `path` that is no daemon."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", LISTENER.format(become=become), str(path), str(heard)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"listening\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask_blocking(path: Path, options: ClientOptions) -> None:
    with Client(path, options=options) as client:
        client.models()


def ask_async(path: Path, options: ClientOptions) -> None:
    async def run() -> None:
        async with AsyncClient(path, options=options) as client:
            await client.models()

    asyncio.run(run())


CLIENTS = pytest.mark.parametrize("ask", [ask_blocking, ask_async])
Ask = Callable[[Path, ClientOptions], None]
QUICK = ClientOptions(connect_s=60.0)


@as_root
@CLIENTS
def test_a_socket_that_another_user_listens_on_hears_nothing(
    ask: Ask, short_tmp_path: Path
) -> None:
    path, heard = short_tmp_path / "u.sock", short_tmp_path / "heard"

    with listener(path, heard, become=NOBODY), pytest.raises(Refused) as caught:
        ask(path, QUICK)

    assert "nobody" in caught.value.message
    assert "UMAD_SOCKET_OWNER" in caught.value.message
    assert heard.read_bytes() == b""


@as_root
@CLIENTS
def test_a_link_to_it_is_no_way_around(ask: Ask, short_tmp_path: Path) -> None:
    path, heard = short_tmp_path / "real.sock", short_tmp_path / "heard"
    link = short_tmp_path / "u.sock"
    link.symlink_to(path)

    with listener(path, heard, become=NOBODY), pytest.raises(Refused):
        ask(link, QUICK)

    assert heard.read_bytes() == b""


@as_root
@pytest.mark.parametrize("owner", ["nobody", str(pwd.getpwnam("nobody").pw_uid)])
@CLIENTS
def test_a_service_user_that_was_named_is_spoken_to(
    ask: Ask, owner: str, short_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, heard = short_tmp_path / "u.sock", short_tmp_path / "heard"
    monkeypatch.setenv("UMAD_SOCKET_OWNER", owner)

    with listener(path, heard, become=NOBODY), pytest.raises(ConnectionLost):
        ask(path, QUICK)  # it hears the hello and has no answer

    assert b"hello" in heard.read_bytes()


@as_root
def test_the_command_line_says_nothing_either(short_tmp_path: Path) -> None:
    path, heard = short_tmp_path / "u.sock", short_tmp_path / "heard"
    plain = {name: text for name, text in os.environ.items() if not name.startswith("UMAD_")}

    with listener(path, heard, become=NOBODY):
        ended = subprocess.run(
            [UMAD, "run", f"--socket={path}", "my secret"],
            env=plain,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ended.returncode == 4
    assert ended.stderr.count("\n") == 1
    assert "nothing was sent" in ended.stderr
    assert heard.read_bytes() == b""


@as_root
def test_the_gateway_says_nothing_either(short_tmp_path: Path) -> None:
    path, heard = short_tmp_path / "u.sock", short_tmp_path / "heard"
    plain = {name: text for name, text in os.environ.items() if not name.startswith("UMAD_")}
    command = [str(UMAD), "gateway", f"--socket={path}", "--http=127.0.0.1:0"]

    with (
        listener(path, heard, become=NOBODY),
        subprocess.Popen(command, env=plain, stderr=subprocess.PIPE, text=True) as gateway,
    ):
        try:
            assert gateway.stderr is not None
            ready = re.search(r"address=http://(\S+)", gateway.stderr.readline())
            assert ready is not None
            connection = http.client.HTTPConnection(ready[1], timeout=60)
            connection.request("POST", "/v1/completions", json.dumps({"prompt": "my secret"}))
            status = connection.getresponse().status
            connection.close()
        finally:
            gateway.terminate()

    assert status >= 400
    assert heard.read_bytes() == b""


@CLIENTS
def test_a_socket_where_others_may_write_hears_nothing(ask: Ask, short_tmp_path: Path) -> None:
    folder = short_tmp_path / "it's open"
    folder.mkdir()
    path, heard = folder / "u.sock", short_tmp_path / "heard"
    folder.chmod(0o777)

    with listener(path, heard, become=""), pytest.raises(Refused) as caught:
        ask(path, QUICK)

    assert heard.read_bytes() == b""
    assert f"chmod go-w '{short_tmp_path}/it'\"'\"'s open'" in caught.value.message


@CLIENTS
def test_a_link_from_a_good_folder_into_an_open_one_is_refused(
    ask: Ask, short_tmp_path: Path
) -> None:
    folder = short_tmp_path / "open"
    folder.mkdir()
    path, heard = folder / "u.sock", short_tmp_path / "heard"
    (short_tmp_path / "link.sock").symlink_to(path)
    folder.chmod(0o777)

    with listener(path, heard, become=""), pytest.raises(Refused):
        ask(short_tmp_path / "link.sock", QUICK)

    assert heard.read_bytes() == b""


@CLIENTS
def test_a_sticky_folder_is_good_enough_where_the_listener_is_ours(
    ask: Ask, short_tmp_path: Path
) -> None:
    folder = short_tmp_path / "sticky"
    folder.mkdir()
    path, heard = folder / "u.sock", short_tmp_path / "heard"
    folder.chmod(0o1777)

    with listener(path, heard, become=""), pytest.raises(ConnectionLost):
        ask(path, QUICK)

    assert b"hello" in heard.read_bytes()


def test_an_owner_who_does_not_exist_is_said_before_anything_is_sent() -> None:
    with pytest.raises(UmadError) as caught:
        trusted_owners("nobody-of-that-name", {})

    assert isinstance(caught.value, BadConfig)
    assert trusted_owners(None, {}) == {os.geteuid(), 0}
