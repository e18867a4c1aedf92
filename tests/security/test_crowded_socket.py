"""One process that takes the daemon's connections: it pays, and the owner's tools get in."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live import LiveDaemon, live_daemon
from umad.client import Client
from umad.crowd import Crowd
from umad.isolated import python_module
from umad.protocol.frames import FrameReader, encode_frame
from umad.protocol.messages import Generate, Hello, Message, encode_request, parse_event
from umad.request import GenerateRequest, SamplingParams
from umad.service import Failed

LIMIT = 40
TOOL_S = 60.0
# In a process of its own, as another app would: it connects and does what it is told.
APP = """
import socket, sys
path, n, said, n_answers = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), sys.argv[4]
held = []
for _ in range(n):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(60)
    one.connect(path)
    try:
        one.sendall(said)
        for _ in range(int(n_answers)):
            one.recv(4096)
    except (BrokenPipeError, ConnectionError):
        pass
    held.append(one)
print("ready", flush=True)
sys.stdin.read()
"""
HELLO = encode_frame(encode_request(Hello(client="crowd")))
LONG = encode_frame(
    encode_request(
        Generate(
            id=1,
            request=GenerateRequest(
                prompt="x", sampling=SamplingParams(max_tokens=2000, ignore_eos=True)
            ),
        )
    )
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    folder = tmp_path_factory.mktemp("crowded")
    with live_daemon(folder, environment={"UMAD_LIMITS_CONNECTIONS": str(LIMIT)}) as one:
        yield one


@contextmanager
def app(daemon: LiveDaemon, n: int, said: bytes = HELLO) -> Iterator[None]:
    """A process with `n` connections that each said so much."""
    n_answers = int(HELLO in said)
    process = subprocess.Popen(
        [sys.executable, "-c", APP, str(daemon.socket), str(n), said.hex(), str(n_answers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.communicate()


@contextmanager
def at_a_standstill(daemon: LiveDaemon) -> Iterator[None]:
    """Its engines make no step: what is at work stays so, however long others take to start."""
    engines = daemon.engines()
    for one in engines:
        one.suspend()
    try:
        yield
    finally:
        for one in engines:
            one.resume()


def tool(daemon: LiveDaemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        python_module("umad", *arguments),
        env={**os.environ, "UMAD_SOCKET": str(daemon.socket)},
        capture_output=True,
        text=True,
        timeout=TOOL_S,
        check=False,
    )


@pytest.mark.parametrize("said", [HELLO, b"\0"], ids=["greeted", "half a frame"])
def test_idle_connections_of_one_process_lock_nobody_out(daemon: LiveDaemon, said: bytes) -> None:
    with app(daemon, 3 * LIMIT, said):
        assert tool(daemon, "ps").returncode == 0
        with Client(daemon.socket) as client:
            assert client.complete("x", temperature=0, max_tokens=2)


def test_many_processes_lock_nobody_out(daemon: LiveDaemon) -> None:
    with app(daemon, LIMIT // 2), app(daemon, LIMIT // 2), app(daemon, LIMIT // 2):
        assert tool(daemon, "ps").returncode == 0


def test_the_owners_tools_get_in_where_every_connection_is_at_work(daemon: LiveDaemon) -> None:
    with (
        at_a_standstill(daemon),
        app(daemon, LIMIT // 2, HELLO + LONG),
        app(daemon, LIMIT, HELLO + LONG),
    ):
        shown = tool(daemon, "ps")
        assert shown.returncode == 0
        assert "interactive" in shown.stdout
        assert tool(daemon, "metrics").returncode == 0
        with Client(daemon.socket) as client:
            live = client.sessions()[0]["request"]
        assert tool(daemon, "cancel", live).returncode == 0


def test_who_gets_in_only_to_look_is_told_so_when_it_asks_for_more(daemon: LiveDaemon) -> None:
    with (
        at_a_standstill(daemon),
        app(daemon, LIMIT // 2, HELLO + LONG),
        app(daemon, LIMIT, HELLO + LONG),
        socket.socket(socket.AF_UNIX) as one,
    ):
        one.settimeout(TOOL_S)
        one.connect(str(daemon.socket))
        one.sendall(HELLO + LONG)
        reader = FrameReader(2**20)
        messages: list[Message] = []
        while len(messages) < 2:
            messages += [parse_event(body)[1] for body in reader.feed(one.recv(4096))]

    assert isinstance(messages[1], Failed)
    assert (messages[1].code, messages[1].retryable) == ("limit_exceeded", True)
    assert "umad ps" in messages[1].message


def test_a_connection_that_gives_way_is_told_why(daemon: LiveDaemon, tmp_path: Path) -> None:
    held = []
    for _ in range(LIMIT - 1):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(TOOL_S)
        one.connect(str(daemon.socket))
        one.sendall(HELLO)
        one.recv(4096)
        held.append(one)
    try:
        with app(daemon, 2):
            said = held[0].recv(4096)
            assert b"idle" in said
            assert b"limit_exceeded" in said
            assert held[0].recv(1) == b""
            held[-1].sendall(encode_frame(b"\x82\xa4type\xa4ping\xa2id\x01"))
            assert held[-1].recv(4096)
    finally:
        for one in held:
            one.close()


def test_the_greediest_pays_and_an_owner_never_grows_at_the_cost_of_a_smaller_one() -> None:
    crowd: Crowd[str] = Crowd(5, own_give_way=False)
    for name in ("a1", "a2", "a3", "b1", "b2"):
        crowd.enter(name, name[0])
    crowd.work("a1")

    assert crowd.is_full
    assert crowd.who_gives_way("c") == "a2"
    assert crowd.who_gives_way("b") == "a2"
    assert crowd.who_gives_way("a") is None
    crowd.rest("a1")
    crowd.leave("a2")
    assert crowd.who_gives_way("c") == "a3"
    crowd.work("b1")
    crowd.work("b2")
    crowd.belongs("a3", "c")
    assert crowd.who_gives_way("d") == "a1"
    assert Crowd[str](0, own_give_way=True).who_gives_way("a") is None
