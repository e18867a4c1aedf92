"""One user's daemon is found wherever its socket lies, and is the only one of that user."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.daemon.house import PATIENCE_S, ROOT
from umad.client.finding import find_socket
from umad.daemon.socket_file import SocketFile, is_owned
from umad.daemon.socket_places import claim_socket, refuse_other_daemon
from umad.errors import AlreadyRunning, BadConfig
from umad.socket_path import default_socket_path, socket_places
from umad.testing import FakeModel

LINUX = "linux"
Environ = Mapping[str, str]
# Variables of logins of one user; {} stands for the test's own folder.
LOGIN = {"XDG_RUNTIME_DIR": "{}/run", "HOME": "{}/home"}
CRON = {"HOME": "{}/home"}
OTHER_RUN = {"XDG_RUNTIME_DIR": "{}/other", "HOME": "{}/home"}
EMPTY_RUN = {"XDG_RUNTIME_DIR": "", "HOME": "{}/home"}
SUDO = {"XDG_RUNTIME_DIR": "{}/hers", "HOME": "{}/home"}
PAIRS = [
    pytest.param(LOGIN, CRON, id="a login's daemon, asked by cron"),
    pytest.param(CRON, LOGIN, id="a daemon of cron, asked by a login"),
    pytest.param(LOGIN, OTHER_RUN, id="a login's daemon, asked over ssh with another folder"),
    pytest.param(LOGIN, EMPTY_RUN, id="a login's daemon, asked with an empty variable"),
    pytest.param(CRON, SUDO, id="one's own daemon, asked with the variable of who used sudo"),
    pytest.param(LOGIN, LOGIN, id="a login's daemon, asked by the same"),
]


def at(folder: Path, environ: Environ) -> dict[str, str]:
    return {name: text.format(folder) for name, text in environ.items()}


def found(environ: Environ) -> str:
    return find_socket(socket_places(environ, LINUX, os.getuid()), None)


@pytest.fixture
def claim(short_tmp_path: Path) -> Iterator[Callable[[Environ], SocketFile]]:
    claimed: list[SocketFile] = []

    def start(environ: Environ) -> SocketFile:
        claimed.append(claim_socket(None, at(short_tmp_path, environ), LINUX))
        return claimed[-1]

    yield start
    for one in claimed:
        one.close()


@pytest.mark.parametrize(("daemons", "clients"), PAIRS)
def test_clients_find_it(
    claim: Callable[[Environ], SocketFile],
    short_tmp_path: Path,
    daemons: Environ,
    clients: Environ,
) -> None:
    owned = claim(daemons)

    assert os.path.realpath(found(at(short_tmp_path, clients))) == os.path.realpath(owned.path)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_second_one_is_refused_and_the_first_is_named(
    claim: Callable[[Environ], SocketFile], first: Environ, second: Environ
) -> None:
    owned = claim(first)

    with pytest.raises(AlreadyRunning) as caught:
        claim(second)

    assert f"(pid {os.getpid()})" in caught.value.message
    assert os.path.realpath(owned.path) in caught.value.message


def test_a_socket_with_a_name_is_that_persons_own_business(
    claim: Callable[[Environ], SocketFile], short_tmp_path: Path
) -> None:
    claim(LOGIN)

    claim_socket(str(short_tmp_path / "mine.sock"), at(short_tmp_path, LOGIN), LINUX).close()


def test_a_daemon_that_has_ended_leaves_nothing_that_a_client_would_try(
    short_tmp_path: Path,
) -> None:
    claim_socket(None, at(short_tmp_path, LOGIN), LINUX).close()

    assert not list(short_tmp_path.rglob("umad.sock"))


def test_a_killed_daemon_is_in_nobodys_way(short_tmp_path: Path) -> None:
    """Its socket and its link stay where they are, and nobody listens."""
    login, cron = at(short_tmp_path, LOGIN), at(short_tmp_path, CRON)
    _claim_and_die(login)
    assert Path(default_socket_path(cron, LINUX)).is_symlink()

    owned = claim_socket(None, cron, LINUX)

    try:
        assert found(login) == found(cron) == os.fspath(owned.path)
    finally:
        owned.close()


# -- a socket that a service manager has made -----------------------------------------------------


@pytest.fixture
def handed(short_tmp_path: Path) -> Iterator[Callable[[Environ], socket.socket]]:
    """Listens where a login's daemon would, as its service manager does."""
    made: list[socket.socket] = []

    def listen(environ: Environ) -> socket.socket:
        path = Path(default_socket_path(at(short_tmp_path, environ), LINUX))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.append(socket.socket(socket.AF_UNIX))
        made[-1].bind(os.fspath(path))
        made[-1].listen()
        return made[-1]

    yield listen
    for one in made:
        one.close()


def adopted(
    folder: Path, environ: Environ, sock: socket.socket, named: str | None = None
) -> SocketFile:
    return claim_socket(named, at(folder, environ), LINUX, sock.dup())


def test_its_lock_is_taken_and_its_file_stays_when_the_daemon_ends(
    handed: Callable[[Environ], socket.socket], short_tmp_path: Path
) -> None:
    owned = adopted(short_tmp_path, LOGIN, handed(LOGIN))

    assert is_owned(owned.path)
    owned.close()

    assert owned.path.is_socket()
    assert not is_owned(owned.path)


def test_clients_of_other_logins_find_it_and_the_link_goes_with_the_daemon(
    handed: Callable[[Environ], socket.socket], short_tmp_path: Path
) -> None:
    owned = adopted(short_tmp_path, LOGIN, handed(LOGIN))
    at_home = Path(default_socket_path(at(short_tmp_path, CRON), LINUX))

    assert os.path.realpath(found(at(short_tmp_path, CRON))) == os.path.realpath(owned.path)
    owned.close()

    assert not at_home.is_symlink()


def test_a_daemon_of_another_login_refuses_the_one_of_the_service(
    claim: Callable[[Environ], SocketFile],
    handed: Callable[[Environ], socket.socket],
    short_tmp_path: Path,
) -> None:
    claim(CRON)

    with pytest.raises(AlreadyRunning, match=rf"\(pid {os.getpid()}\)"):
        adopted(short_tmp_path, LOGIN, handed(LOGIN))


def test_a_daemon_by_hand_is_refused_while_a_service_listens_and_no_pid_is_named(
    handed: Callable[[Environ], socket.socket],
    claim: Callable[[Environ], SocketFile],
) -> None:
    handed(LOGIN)

    with pytest.raises(AlreadyRunning) as caught:
        claim(LOGIN)

    assert "umad service stop" in caught.value.message
    assert "kill" not in caught.value.message


def test_a_socket_other_than_the_configured_one_is_refused(
    handed: Callable[[Environ], socket.socket], short_tmp_path: Path
) -> None:
    listening = handed(LOGIN)

    with pytest.raises(BadConfig, match="umad service install"):
        adopted(short_tmp_path, LOGIN, listening, named=str(short_tmp_path / "other.sock"))
    adopted(short_tmp_path, LOGIN, listening, named=listening.getsockname()).close()


def test_a_named_socket_of_a_service_is_not_taken_from_it(
    handed: Callable[[Environ], socket.socket], short_tmp_path: Path
) -> None:
    listening = handed(LOGIN)
    path = Path(listening.getsockname())

    with pytest.raises(AlreadyRunning, match="umad service stop"):
        claim_socket(str(path), at(short_tmp_path, LOGIN), LINUX)

    assert path.is_socket()


def test_an_installation_asks_first_whether_another_daemon_runs(
    claim: Callable[[Environ], SocketFile], short_tmp_path: Path
) -> None:
    refuse_other_daemon(None, at(short_tmp_path, LOGIN), LINUX)
    owned = claim(CRON)

    with pytest.raises(AlreadyRunning):
        refuse_other_daemon(None, at(short_tmp_path, LOGIN), LINUX)
    with pytest.raises(AlreadyRunning):
        refuse_other_daemon(str(owned.path), at(short_tmp_path, LOGIN), LINUX)


def test_a_place_that_others_may_write_is_passed_over(
    claim: Callable[[Environ], SocketFile], short_tmp_path: Path
) -> None:
    owned = claim(CRON)
    strange = short_tmp_path / "run" / "umad"
    strange.mkdir(parents=True)
    (strange / "umad.sock").symlink_to(owned.path)
    strange.chmod(0o777)

    assert found(at(short_tmp_path, LOGIN)) == os.fspath(owned.path)


def test_a_file_of_the_users_own_is_not_replaced_by_a_link(short_tmp_path: Path) -> None:
    place = Path(default_socket_path(at(short_tmp_path, CRON), LINUX))
    place.parent.mkdir(parents=True)
    place.write_text("notes")

    claim_socket(None, at(short_tmp_path, LOGIN), LINUX).close()

    assert place.read_text() == "notes"


@pytest.mark.parametrize("home", ["/dev/null/home", "/proc/home"], ids=["no folder", "read-only"])
def test_a_home_that_takes_no_link_keeps_nobody_from_starting(
    short_tmp_path: Path, home: str
) -> None:
    environ = {"XDG_RUNTIME_DIR": f"{short_tmp_path}/run", "HOME": home}

    owned = claim_socket(None, environ, LINUX)

    assert found(environ) == os.fspath(owned.path)
    owned.close()


DAEMON = """
import sys
from umad.config import LimitSettings, Settings
from umad.daemon.server import run_daemon
from umad.testing import fake_command

settings = Settings(models=(sys.argv[1],), limits=LimitSettings(drain_s=1.0))
sys.exit(run_daemon(settings, launcher=lambda file, fd: fake_command(file.path, fd)))
"""
DEAD = """
import os, sys
from umad.daemon.socket_places import claim_socket
claim_socket(None, os.environ, "linux")
os.kill(os.getpid(), 9)
"""


def environment(environ: Environ) -> dict[str, str]:
    kept = {
        name: text for name, text in os.environ.items() if not name.startswith(("UMAD_", "XDG_"))
    }
    return kept | {"PYTHONPATH": str(ROOT)} | dict(environ)


def _claim_and_die(environ: Environ) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DEAD], env=environment(environ), timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the folders are Linux's")
def test_umad_ps_and_a_second_umad_serve_meet_a_daemon_of_another_login(
    short_tmp_path: Path,
) -> None:
    login, cron = at(short_tmp_path, LOGIN), at(short_tmp_path, CRON)
    model = FakeModel().write(short_tmp_path / "m.gguf")

    def umad(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "umad", *arguments],
            env=environment(cron),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            check=False,
        )

    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(model)],
        env=environment(login),
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        try:
            assert daemon.stderr is not None
            assert any(line.startswith("umad ready") for line in daemon.stderr)
            listed, second = umad("ps"), umad("serve", str(model))
        finally:
            daemon.terminate()
            daemon.communicate(timeout=PATIENCE_S)

    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines()[1].split()[0] == "m"
    assert second.returncode == 1
    assert f"another daemon (pid {daemon.pid}) owns {short_tmp_path}/run/" in second.stderr
