"""The daemon as a process: who owns the socket, what signals do, what is left behind."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.daemon.house import PATIENCE_S, asks
from tests.live import still_running
from umad.protocol.frames import FrameReader, encode_frame
from umad.protocol.messages import Hello, Message, Models, Request, encode_request, parse_event
from umad.service import Done, Failed, Tokens
from umad.testing import FakeModel

Spawn = Callable[..., "subprocess.Popen[str]"]

# Nobody waits so long for an engine that was only asked to stop.
NEVER_S = 3600.0


class Client:
    """A blocking client that sees every message."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(PATIENCE_S)
        self._sock.connect(os.fspath(path))
        self._frames = FrameReader(2**24)
        self.send(Hello(client="test"))
        self.messages = self._read()
        next(self.messages)

    def send(self, request: Request | Hello) -> None:
        self._sock.sendall(encode_frame(encode_request(request)))

    def _read(self) -> Iterator[Message]:
        while data := self._sock.recv(2**16):
            for body in self._frames.feed(data):
                yield parse_event(body)[1]

    def until(self, kind: type) -> Message:
        return next(message for message in self.messages if isinstance(message, kind))

    def ask(self, request: Request) -> object:
        self.send(request)
        return getattr(next(self.messages), "value", None)

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[[], Client]]:
    clients: list[Client] = []

    def one() -> Client:
        clients.append(Client(tmp_path / "umad.sock"))
        return clients[-1]

    yield one
    for client in clients:
        client.close()


def ready_line(daemon: "subprocess.Popen[str]") -> str:
    """The first line that is not a log record; the pipe's end is a line too."""
    assert daemon.stderr is not None
    for line in daemon.stderr:
        if line.startswith("umad"):
            return line.strip()
    return ""


def rest_of(daemon: "subprocess.Popen[str]") -> str:
    assert daemon.stderr is not None
    return daemon.stderr.read()


def children(daemon: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(daemon.pid).children()


def all_gone(processes: list[psutil.Process]) -> bool:
    return not still_running(processes)


def test_readiness_is_one_line_that_names_socket_and_models(spawn: Spawn, tmp_path: Path) -> None:
    daemon = spawn(FakeModel(), FakeModel())

    line = ready_line(daemon)

    assert line == f"umad ready socket={tmp_path}/umad.sock model=a,b"


def test_the_socket_and_its_lock_are_for_this_user_alone(spawn: Spawn, tmp_path: Path) -> None:
    ready_line(spawn(FakeModel()))

    for name in ("umad.sock", "umad.sock.lock"):
        assert stat.S_IMODE((tmp_path / name).lstat().st_mode) == 0o600


def test_a_second_daemon_on_the_socket_is_refused_and_the_first_serves_on(
    spawn: Spawn, connect: Callable[[], Client]
) -> None:
    first = spawn(FakeModel())
    ready_line(first)

    second = spawn(FakeModel())

    assert second.wait(PATIENCE_S) == 1
    assert f"another daemon (pid {first.pid}) owns" in rest_of(second)
    assert connect().ask(Models(id=1))


def test_a_daemon_killed_with_kill_9_leaves_no_engine_and_its_socket_is_taken_over(
    spawn: Spawn, connect: Callable[[], Client]
) -> None:
    first = spawn(FakeModel())
    ready_line(first)
    engines = children(first)

    first.kill()
    first.wait()
    second = spawn(FakeModel())

    assert ready_line(second).startswith("umad ready")
    assert connect().ask(Models(id=1))
    assert all_gone(engines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_running_requests_end_and_refuses_new_ones(
    spawn: Spawn, connect: Callable[[], Client], tmp_path: Path, number: int
) -> None:
    gate = tmp_path / "gate"
    daemon = spawn(FakeModel(pace_ms=5, gate=str(gate)), drain_s=600.0)
    ready_line(daemon)
    engines = children(daemon)
    running, late = connect(), connect()
    # It runs until somebody has been refused, however late that is.
    running.send(asks(1, "gate@149", max_tokens=150))
    running.until(Tokens)

    daemon.send_signal(number)
    refusal = None
    while refusal is None:  # the signal takes its time to arrive
        late.send(asks(1, max_tokens=1))
        answer = next(m for m in late.messages if isinstance(m, Done | Failed))
        refusal = answer if isinstance(answer, Failed) else None

    assert (refusal.code, refusal.retryable) == ("shutting_down", True)
    gate.touch()
    done = running.until(Done)
    assert isinstance(done, Done)
    assert done.finish_reason == "length"
    assert daemon.wait(PATIENCE_S) == 0
    assert all_gone(engines)
    assert not (tmp_path / "umad.sock").exists()


def test_a_daemon_under_nohup_outlives_its_terminal(
    spawn: Spawn, connect: Callable[[], Client]
) -> None:
    daemon = spawn(FakeModel(), at_hangup=signal.SIG_IGN)
    ready_line(daemon)

    daemon.send_signal(signal.SIGHUP)

    # Whatever a signal did would be done by the second answer.
    assert connect().ask(Models(id=1))
    assert connect().ask(Models(id=1))
    assert daemon.poll() is None


def test_what_still_runs_when_the_drain_is_over_is_cancelled(
    spawn: Spawn, connect: Callable[[], Client]
) -> None:
    daemon = spawn(FakeModel(pace_ms=10), drain_s=0.2)
    ready_line(daemon)
    client = connect()
    client.send(asks(1, max_tokens=2000))
    client.until(Tokens)

    daemon.terminate()

    done = client.until(Done)
    assert isinstance(done, Done)
    assert done.finish_reason == "cancelled"
    assert daemon.wait(PATIENCE_S) == 0


def test_a_second_signal_ends_everything_at_once(
    spawn: Spawn, connect: Callable[[], Client]
) -> None:
    daemon = spawn(FakeModel(pace_ms=10), drain_s=600.0, stop_s=NEVER_S)
    ready_line(daemon)
    engines = children(daemon)
    client = connect()
    client.send(asks(1, max_tokens=2000))
    client.until(Tokens)

    daemon.terminate()
    assert daemon.stderr is not None
    assert any("draining" in line for line in daemon.stderr)
    daemon.terminate()

    assert daemon.wait(PATIENCE_S) == 130
    assert all_gone(engines)


@pytest.mark.parametrize("busy", [True, False])
def test_a_hanging_engine_does_not_keep_the_daemon_from_stopping(
    spawn: Spawn, connect: Callable[[], Client], busy: bool
) -> None:
    """Busy: the first signal waits for its request. Idle: for the engine itself."""
    daemon = spawn(FakeModel(), drain_s=600.0, stop_s=NEVER_S)
    ready_line(daemon)
    engines = children(daemon)
    engines[0].send_signal(signal.SIGSTOP)
    client = connect()
    if busy:
        client.send(asks(1, max_tokens=2000))
        next(client.messages)

    daemon.terminate()
    assert daemon.stderr is not None
    assert any("draining" in line for line in daemon.stderr)
    daemon.terminate()

    assert daemon.wait(PATIENCE_S) == 130
    assert all_gone(engines)


def test_a_model_that_cannot_be_loaded_ends_the_start_with_one_line(spawn: Spawn) -> None:
    daemon = spawn(FakeModel(), FakeModel(fatal=("model_load_failed", "bad magic")))

    status = daemon.wait(PATIENCE_S)

    assert status == 1
    lines = [line for line in rest_of(daemon).splitlines() if line.startswith("umad")]
    assert lines == ["umad: b: bad magic"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("/nowhere/x.gguf", "no such file: /nowhere/x.gguf"), ("nanoo", "no model is called")],
)
def test_a_model_that_is_not_there_ends_the_start_with_one_line(
    spawn: Spawn, name: str, words: str
) -> None:
    daemon = spawn(names=(name,))

    status = daemon.wait(PATIENCE_S)

    assert status == 1
    assert words in rest_of(daemon).splitlines()[-1]


@pytest.mark.parametrize("part", ["llama_cpp", "umad.scheduler", "umad.sampling"])
def test_the_daemon_never_loads_what_only_engines_need(part: str) -> None:
    """A killed daemon is back the sooner for it."""
    program = f"import sys, umad.cli.serve; sys.exit({part!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
