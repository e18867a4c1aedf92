"""A service manager makes the socket: the first client starts the daemon, and none is refused while
it dies and comes back.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.daemon.house import DAEMON_PROGRAM, PATIENCE_S, ROOT
from umad import Client
from umad.client import ClientOptions
from umad.daemon.activation import handed_socket
from umad.errors import BadConfig, ConnectionLost, NoDaemon, ShuttingDown
from umad.testing import FakeModel

PID = 4711
# The daemon answers later than any client of these tests gives up on a crowded machine.
PATIENT = ClientOptions(connect_s=PATIENCE_S)


def variables(count: str = "1", pid: int = PID) -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": count, "LISTEN_FDNAMES": "umad", "PATH": "/bin"}


@pytest.fixture
def listening(short_tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(short_tmp_path / "u.sock"))
        sock.listen()
        yield sock


# -- the variables ---------------------------------------------------------------------------------


def test_the_socket_is_taken_and_no_child_hears_of_it(listening: socket.socket) -> None:
    environ = variables()

    handed = handed_socket(environ, PID, first_fd=os.dup(listening.fileno()))

    assert handed is not None
    with handed:
        assert handed.getsockname() == listening.getsockname()
        assert not handed.get_inheritable()
        assert not handed.getblocking()
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"PATH": "/bin"}, id="no service manager"),
        pytest.param(variables(pid=1), id="variables of another process, such as a shell's parent"),
        pytest.param(variables(count="0"), id="no socket"),
    ],
)
def test_without_a_socket_for_this_process_it_makes_its_own(environ: dict[str, str]) -> None:
    assert handed_socket(environ, PID, first_fd=10_000) is None
    assert environ == {"PATH": "/bin"}


def test_two_sockets_are_refused() -> None:
    with pytest.raises(BadConfig, match="hands over 2 sockets"):
        handed_socket(variables(count="2"), PID)


def test_what_is_no_listening_unix_socket_is_refused(short_tmp_path: Path) -> None:
    one, other = socket.socketpair()
    tcp = socket.socket(socket.AF_INET)
    unnamed = socket.socket(socket.AF_UNIX)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(os.fspath(short_tmp_path / "u.sock"))
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other, tcp, unnamed, bound, datagrams:
        for sock in (one, tcp, unnamed, bound, datagrams):
            with pytest.raises(BadConfig, match="umad takes one listening Unix socket"):
                handed_socket(variables(), PID, first_fd=os.dup(sock.fileno()))
    with (
        open(short_tmp_path / "file", "wb") as file,
        pytest.raises(BadConfig, match="which is no socket"),
    ):
        handed_socket(variables(), PID, first_fd=file.fileno())


# -- processes -------------------------------------------------------------------------------------

Arguments = list[str]
NODE = shutil.which("node")
# A client that had the daemon looks for the next one for as long as it takes here.
RETURNING = ClientOptions(connect_s=PATIENCE_S, return_s=PATIENCE_S)


class Restarter:
    """A stand-in for the simplest service manager: starts the daemon again whenever it has ended.
    The daemon makes its own socket, so for a while nobody listens.
    """

    def __init__(self, path: Path, command: Arguments) -> None:
        self.path = path
        self._command = command
        self._closing = threading.Event()
        self.pids: list[int] = []
        self.daemon = self._start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _start(self) -> "subprocess.Popen[bytes]":
        daemon = subprocess.Popen(
            [sys.executable, *self._command],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.pids.append(daemon.pid)
        return daemon

    def _keep(self) -> None:
        while True:
            self.daemon.wait()
            if self._closing.is_set():
                return
            self.daemon = self._start()
            if self._closing.is_set():
                self.daemon.kill()

    def close(self) -> None:
        self._closing.set()
        self.daemon.kill()
        self._thread.join(PATIENCE_S)


class Supervisor:
    """A stand-in for a service manager: listens, and starts a daemon for whoever connects while
    none runs, as umad's units ask systemd to.
    """

    def __init__(self, path: Path, command: Arguments) -> None:
        self.path = path
        self._command = command
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(os.fspath(path))
        self._sock.listen(1024)
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self.daemon: subprocess.Popen[bytes] | None = None
        self.started = 0
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._closing.is_set():
            if not self._somebody_waits():
                continue
            self._start().wait()
            with self._changed:
                self.daemon = None
                self._changed.notify_all()

    def _somebody_waits(self) -> bool:
        return bool(select.select([self._sock], [], [], 0.1)[0])

    def _start(self) -> "subprocess.Popen[bytes]":
        fd = self._sock.fileno()
        # The pid that LISTEN_PID has to be is known only in the process itself, which then becomes
        # the daemon.
        program = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
            "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        )
        daemon = subprocess.Popen(
            [sys.executable, "-c", program, str(fd), *self._command],
            pass_fds=(fd,),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        with self._changed:
            self.daemon, self.started = daemon, self.started + 1
            self._changed.notify_all()
        return daemon

    def until(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, PATIENCE_S)

    def close(self) -> None:
        self._closing.set()
        if (daemon := self.daemon) is not None:
            daemon.kill()
        self._thread.join(PATIENCE_S)
        self._sock.close()


@pytest.fixture
def supervisor(short_tmp_path: Path) -> Iterator[Supervisor]:
    path = short_tmp_path / "umad" / "umad.sock"
    path.parent.mkdir(mode=0o700)
    model = FakeModel(pace_ms=5).write(short_tmp_path / "a.gguf")
    found = Supervisor(path, ["-c", DAEMON_PROGRAM, os.fspath(path), "60", os.fspath(model)])
    yield found
    found.close()


def test_no_daemon_runs_before_the_first_client_and_that_one_is_answered(
    supervisor: Supervisor,
) -> None:
    assert supervisor.started == 0

    with Client(supervisor.path, options=PATIENT) as client:
        models = client.models()

    assert [one["name"] for one in models] == ["a"]
    supervisor.until(lambda: supervisor.started == 1)


def test_a_killed_daemon_comes_back_for_a_client_that_says_so_and_asks_again(
    supervisor: Supervisor,
) -> None:
    with Client(supervisor.path, options=PATIENT) as client:
        pieces = client.text("hello", max_tokens=2000)
        next(pieces)
        first = supervisor.daemon
        assert first is not None

        first.kill()
        with pytest.raises(ConnectionLost):
            list(pieces)
        answer = "".join(client.text("hello", max_tokens=5))

    assert answer
    supervisor.until(lambda: supervisor.started == 2)


@pytest.fixture
def restarter(short_tmp_path: Path) -> Iterator[Restarter]:
    path = short_tmp_path / "umad" / "umad.sock"
    path.parent.mkdir(mode=0o700)
    model = FakeModel(pace_ms=5).write(short_tmp_path / "a.gguf")
    found = Restarter(path, ["-c", DAEMON_PROGRAM, os.fspath(path), "60", os.fspath(model)])
    yield found
    found.close()


def until_it_answers(path: Path) -> None:
    end = time.perf_counter() + PATIENCE_S
    while True:
        try:
            with Client(path, options=PATIENT) as client:
                client.models()
        except NoDaemon:
            assert time.perf_counter() < end
            time.sleep(0.05)
        else:
            return


def test_where_nobody_listens_meanwhile_a_client_that_asks_again_waits_for_the_next_daemon(
    restarter: Restarter,
) -> None:
    until_it_answers(restarter.path)
    with Client(restarter.path, options=RETURNING) as client:
        pieces = client.text("hello", max_tokens=2000)
        next(pieces)

        restarter.daemon.kill()
        with pytest.raises(ConnectionLost):
            list(pieces)
        answer = "".join(client.text("hello", max_tokens=5))

    assert answer
    assert len(restarter.pids) == 2


@pytest.mark.skipif(NODE is None, reason="no node here")
def test_a_program_of_node_says_that_the_daemon_has_gone_and_is_back_and_goes_on(
    supervisor: Supervisor, short_tmp_path: Path
) -> None:
    # The first daemon would take a minute for the answer; the next one has none of its slowness.
    FakeModel(pace_ms=1500).write(short_tmp_path / "a.gguf")
    program = [str(NODE), str(ROOT / "examples" / "socket.mjs"), "hello", str(supervisor.path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as node:
        assert node.stdout is not None
        begun = node.stdout.read(1)
        FakeModel(pace_ms=1).write(short_tmp_path / "a.gguf")
        first = supervisor.daemon
        assert first is not None

        first.kill()
        rest, said = node.communicate(timeout=2 * PATIENCE_S)

    assert node.returncode == 0
    assert begun
    assert rest.strip()
    lines = [line for line in said.decode().splitlines() if line]
    assert lines[0] == "the daemon has gone; looking for it again"
    assert lines[1].startswith("the daemon is back: umad/")
    assert len(lines) == 2
    supervisor.until(lambda: supervisor.started == 2)


def test_a_client_that_comes_while_the_daemon_ends_waits_for_the_next_one(
    supervisor: Supervisor,
) -> None:
    """The daemon that drains takes no more connections: an upgrade refuses nobody."""
    with (
        Client(supervisor.path, options=PATIENT) as running,
        Client(supervisor.path, options=PATIENT) as other,
    ):
        other.models()
        pieces = running.text("hello", max_tokens=400)
        next(pieces)
        reading = ThreadPoolExecutor(1).submit(list, pieces)
        first = supervisor.daemon
        assert first is not None
        first.send_signal(signal.SIGTERM)
        # It has noticed once it refuses new work on an old connection, or has gone.
        end = time.perf_counter() + PATIENCE_S
        while first.poll() is None and not _refuses(other):
            assert time.perf_counter() < end

        with Client(supervisor.path, options=PATIENT) as late:
            answer = "".join(late.text("hello", max_tokens=5))
        rest = reading.result(PATIENCE_S)

    assert len(rest) > 1, "the answer that ran was cut off"
    assert answer
    supervisor.until(lambda: supervisor.started == 2)


def _refuses(client: Client) -> bool:
    try:
        client.complete("x", max_tokens=1)
    except (ShuttingDown, ConnectionLost):
        return True
    return False


def test_the_socket_stays_when_the_daemon_has_ended_and_is_for_this_user_alone(
    supervisor: Supervisor,
) -> None:
    with Client(supervisor.path, options=PATIENT) as client:
        client.models()
    daemon = supervisor.daemon
    assert daemon is not None

    daemon.terminate()
    supervisor.until(lambda: supervisor.daemon is None)

    assert supervisor.path.is_socket()


def test_a_second_daemon_by_hand_is_told_of_the_service_and_of_no_pid_to_kill(
    supervisor: Supervisor, short_tmp_path: Path
) -> None:
    """The pid of the listener is the service manager's: killing it would end a whole session."""
    model = FakeModel().write(short_tmp_path / "b.gguf")
    second = subprocess.run(
        [sys.executable, "-c", DAEMON_PROGRAM, str(supervisor.path), "5.0", str(model)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert second.returncode == 1
    assert "umad service stop" in second.stderr
    assert "kill" not in second.stderr
    assert supervisor.path.is_socket()


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="no systemd here")
def test_systemds_own_program_starts_the_daemon_for_the_first_client(short_tmp_path: Path) -> None:
    path = short_tmp_path / "umad.sock"
    model = FakeModel().write(short_tmp_path / "a.gguf")
    command = [
        *("systemd-socket-activate", f"--listen={path}", f"--setenv=PYTHONPATH={ROOT}"),
        *(sys.executable, "-c", DAEMON_PROGRAM, str(path), "5.0", str(model)),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stderr is not None
            assert any("Listening on" in line for line in daemon.stderr)
            with Client(path, options=PATIENT) as client:
                models = client.models()
        finally:
            daemon.kill()
            daemon.communicate(timeout=PATIENCE_S)

    assert [one["name"] for one in models] == ["a"]
