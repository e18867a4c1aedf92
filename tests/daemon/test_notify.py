"""The service manager hears when the daemon is ready, that its loop runs, and that it ends."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.house import DAEMON_PROGRAM, PATIENCE_S, ROOT
from umad.daemon.notify import Notifier, daemon_words
from umad.testing import FakeModel

PID = 4711


class Manager:
    """The end that hears."""

    def __init__(self, address: str | bytes) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.settimeout(PATIENCE_S)
        self._sock.bind(address)

    def hears(self) -> list[str]:
        """The facts of one datagram."""
        return self._sock.recv(4096).decode().split("\n")

    def until(self, fact: str) -> list[str]:
        """All facts up to and with one that begins like `fact`."""
        heard: list[str] = []
        while not any(one.startswith(fact) for one in heard):
            heard += self.hears()
        return heard

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(short_tmp_path: Path) -> Iterator[Manager]:
    found = Manager(os.fspath(short_tmp_path / "notify"))
    yield found
    found.close()


def test_without_a_service_manager_nobody_is_told() -> None:
    environ = {"PATH": "/bin"}

    notifier = Notifier.of(environ, PID)
    notifier.ready("ready")

    asyncio.run(asyncio.wait_for(notifier.attend(str), PATIENCE_S))  # ends at once


def test_readiness_and_the_end_are_told_with_words(manager: Manager, short_tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": os.fspath(short_tmp_path / "notify"), "PATH": "/bin"}
    notifier = Notifier.of(environ, PID)

    notifier.ready("ready: nano")
    notifier.stopping("ending; 1 request at work")

    assert manager.hears() == ["READY=1", "STATUS=ready: nano"]
    assert manager.hears()[:2] == ["STOPPING=1", "STATUS=ending; 1 request at work"]
    assert environ == {"PATH": "/bin"}, "a child would speak for the daemon"


def test_a_name_with_a_newline_is_no_fact_of_its_own(
    manager: Manager, short_tmp_path: Path
) -> None:
    Notifier(os.fspath(short_tmp_path / "notify")).ready("ready: a\nMAINPID=1")

    assert manager.hears() == ["READY=1", "STATUS=ready: a MAINPID=1"]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_an_abstract_address_is_reached_too() -> None:
    name = f"umad-test-{os.getpid()}"
    manager = Manager(b"\0" + name.encode())
    try:
        Notifier(f"@{name}").ready("ready")

        assert manager.hears() == ["READY=1", "STATUS=ready"]
    finally:
        manager.close()


def test_a_manager_that_has_gone_costs_nothing(short_tmp_path: Path) -> None:
    notifier = Notifier(os.fspath(short_tmp_path / "gone"))

    notifier.ready("ready")
    notifier.stopping("ending")


def test_what_the_manager_could_not_take_is_said_again(
    manager: Manager, short_tmp_path: Path
) -> None:
    """One that never heard of READY would end a daemon that serves well."""
    path = short_tmp_path / "later"
    environ = {"NOTIFY_SOCKET": os.fspath(path), "WATCHDOG_USEC": "150000"}
    notifier = Notifier.of(environ, PID)
    notifier.ready("ready")
    late = Manager(os.fspath(path))

    async def attend() -> None:
        await asyncio.wait_for(notifier.attend(lambda: "ready"), 0.01)

    try:
        with pytest.raises(TimeoutError):
            asyncio.run(attend())
        heard = late.hears()
        with pytest.raises(TimeoutError):
            asyncio.run(attend())

        assert sorted(heard) == ["READY=1", "STATUS=ready", "WATCHDOG=1"]
        assert late.hears() == ["WATCHDOG=1"], "and no more once it was taken"
    finally:
        late.close()


def test_a_daemon_without_a_free_descriptor_is_heard(
    manager: Manager, short_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = Notifier(os.fspath(short_tmp_path / "notify"))

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", none_left)
    notifier.ready("ready")

    assert manager.hears() == ["READY=1", "STATUS=ready"]


def test_the_watchdog_hears_the_loop_several_times_within_its_time() -> None:
    environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(PID)}

    assert Notifier.of(environ, PID).every_s <= 1.0
    assert not environ


@pytest.mark.parametrize(
    "watchdog",
    [
        pytest.param({"WATCHDOG_USEC": "0"}, id="off"),
        pytest.param({"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}, id="another process's"),
        pytest.param({"WATCHDOG_USEC": "soon"}, id="no number"),
        pytest.param({"WATCHDOG_USEC": "-5"}, id="less than none"),
        pytest.param({"WATCHDOG_USEC": "9" * 5000}, id="no number that anybody counts to"),
        pytest.param({"WATCHDOG_USEC": str(2**64 - 1)}, id="infinity"),
    ],
)
def test_no_watchdog_is_fed_that_does_not_watch_us(
    manager: Manager, short_tmp_path: Path, watchdog: dict[str, str]
) -> None:
    environ = {"NOTIFY_SOCKET": os.fspath(short_tmp_path / "notify"), **watchdog}
    notifier = Notifier.of(environ, PID)
    notifier.ready("one")
    words = iter(["two", "three"])

    async def attend() -> None:
        task = asyncio.create_task(notifier.attend(lambda: next(words)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(attend())

    assert manager.until("STATUS=two") == ["READY=1", "STATUS=one", "STATUS=two"]


def test_words_say_models_and_work() -> None:
    assert daemon_words([], 0, is_loaded=True, is_ending=False) == "ready: no model"
    assert daemon_words(["a", "b"], 0, is_loaded=False, is_ending=False) == "loading: a, b"
    assert daemon_words(["a"], 1, is_loaded=True, is_ending=False) == "ready: a; 1 request at work"
    assert daemon_words(["a"], 3, is_loaded=True, is_ending=True) == "ending; 3 requests at work"


def test_a_real_daemon_asks_for_time_is_ready_is_watched_and_ends(
    manager: Manager, short_tmp_path: Path
) -> None:
    model = FakeModel().write(short_tmp_path / "a.gguf")
    path = short_tmp_path / "umad.sock"
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON_PROGRAM, str(path), "5.0", str(model)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NOTIFY_SOCKET": os.fspath(short_tmp_path / "notify"),
            # Few words: what nobody has read yet is dropped behind ten of them.
            "WATCHDOG_USEC": "900000",
        },
    ) as daemon:
        try:
            before = manager.until("READY=1")
            watched = manager.until("WATCHDOG=1")
            daemon.send_signal(signal.SIGTERM)
            after = manager.until("STOPPING=1")
            assert daemon.wait(PATIENCE_S) == 0
        finally:
            daemon.kill()

    assert [one for one in before if one.startswith("EXTEND_TIMEOUT_USEC=")]
    assert "STATUS=ready: a" in before
    assert watched
    assert "STATUS=ending" in after
