"""The service under a real systemd: a user's manager of its own, in a folder of the test's own.

systemd wants to see that the machine was booted with it. A mount namespace shows it that, and so
these tests need root. They use llama.cpp and the model that ships, which have to live with all the
hardening of the unit.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.live import CACHE, wait_until
from umad import Client
from umad.client import ClientOptions
from umad.config import Settings
from umad.errors import ConnectionLost, NoDaemon
from umad.isolated import python_module
from umad.system_service.job import Job, make_job
from umad.system_service.programs import run_program
from umad.system_service.status import ServiceState
from umad.system_service.systemd import Systemd, units_folder

PATIENCE_S = 60.0
PATIENT = ClientOptions(connect_s=PATIENCE_S)
_SYSTEMD = Path("/lib/systemd/systemd")
# `exec`, so that the pid is systemd's own.
_START = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec {} --user"

pytestmark = pytest.mark.skipif(
    not _SYSTEMD.exists() or shutil.which("unshare") is None or os.geteuid() != 0,
    reason="needs systemd, and root for a mount namespace",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """A user's manager, and the service in it."""

    umad: Systemd
    job: Job
    socket: Path

    def client(self) -> Client:
        return Client(self.socket, options=PATIENT)

    def state(self) -> ServiceState:
        return self.umad.status().state


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="umad-", dir="/tmp", ignore_cleanup_errors=True) as at:
        home, runtime = Path(at), Path(at) / "run"
        runtime.mkdir(mode=0o700)
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("UMAD_", "XDG_"))}
        own = {"HOME": at, "XDG_RUNTIME_DIR": str(runtime)}
        manager = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _START.format(_SYSTEMD)],
            env={**kept, **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            run = partial(run_program, more=own)
            if not _answers(manager, run):
                pytest.skip("systemd does not run a user's manager here")
            config = home / "umad.yaml"
            config.write_text("ctx_size: 1024\nthreads: 1\n")
            job = make_job(
                Settings(),
                umad=python_module("umad"),
                environ={"XDG_CACHE_HOME": str(CACHE)},
                config=config,
            )
            umad = Systemd(units_folder(own), run)
            umad.install(job)
            yield Machine(umad=umad, job=job, socket=runtime / "umad" / "umad.sock")
            umad.uninstall()
        finally:
            manager.send_signal(signal.SIGRTMIN + 24)  # exits, after it has stopped its units
            try:
                manager.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                manager.kill()
                manager.wait()


def _answers(manager: "subprocess.Popen[bytes]", run: partial) -> bool:  # type: ignore[type-arg]
    answer = ""

    def settled() -> bool:
        nonlocal answer
        # `is-system-running` would say "offline": this process is outside of the namespace.
        answer = run(("systemctl", "--user", "show", "--property=SystemState")).out.strip()
        return manager.poll() is not None or answer.endswith(("=running", "=degraded"))

    wait_until(settled, within_s=PATIENCE_S, what="systemd")
    return manager.poll() is None


def test_nothing_runs_until_the_first_client_whom_llama_cpp_answers_behind_all_the_hardening(
    machine: Machine,
) -> None:
    assert machine.state() is ServiceState.WAITING

    with machine.client() as client:
        answer = client.complete("def f", max_tokens=4, ignore_eos=True)

    assert answer
    # systemd hears of it a moment later.
    wait_until(lambda: machine.state() is ServiceState.RUNNING, within_s=PATIENCE_S)
    now = machine.umad.status()
    assert now.words.startswith("ready: nano")
    assert psutil.Process(now.pid).children(), "it has no engine"
    assert _no_new_privileges(now.pid)


def _no_new_privileges(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return "NoNewPrivs:\t1" in lines


def test_a_killed_daemon_comes_back_and_the_same_client_is_answered(machine: Machine) -> None:
    with machine.client() as client:
        client.ping()
        wait_until(lambda: machine.state() is ServiceState.RUNNING, within_s=PATIENCE_S)
        first = machine.umad.status()
        # systemd was asked before: its answer may take as long as the model's.
        pieces = client.text("def f", max_tokens=900, ignore_eos=True)
        next(pieces)

        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(ConnectionLost):
            list(pieces)
        answer = client.complete("def f", max_tokens=4, ignore_eos=True)

    second = machine.umad.status()
    assert answer
    assert second.pid != first.pid
    assert second.restarts == first.restarts + 1


def test_a_daemon_whose_loop_hangs_is_ended_and_started_again(machine: Machine) -> None:
    folder = units_folder({"HOME": str(machine.socket.parents[2])}) / "umad.service.d"
    folder.mkdir(parents=True)
    (folder / "quick.conf").write_text("[Service]\nWatchdogSec=5\n")
    machine.umad.install(replace(machine.job, environment={**machine.job.environment, "A": "1"}))
    try:
        with machine.client() as client:
            client.ping()
        wait_until(lambda: machine.state() is ServiceState.RUNNING, within_s=PATIENCE_S)
        hung = machine.umad.status().pid

        os.kill(hung, signal.SIGSTOP)

        with machine.client() as client:
            assert client.complete("def f", max_tokens=4, ignore_eos=True)
        assert machine.umad.status().pid not in (0, hung)
    finally:
        shutil.rmtree(folder)


def test_an_upgrade_restarts_once_lets_the_answer_end_and_refuses_nobody(machine: Machine) -> None:
    with machine.client() as running:
        running.ping()
        wait_until(lambda: machine.state() is ServiceState.RUNNING, within_s=PATIENCE_S)
        old = machine.umad.status().pid
        pieces = running.text("def f", max_tokens=600, ignore_eos=True)
        next(pieces)
        upgraded = replace(machine.job, environment={**machine.job.environment, "NEW": "1"})

        done = machine.umad.install(upgraded)
        rest = list(pieces)
        with machine.client() as late:
            answer = late.complete("def f", max_tokens=4, ignore_eos=True)

    assert done.restarted
    assert rest
    assert answer
    assert machine.umad.status().pid not in (0, old)
    assert not machine.umad.install(upgraded).changed


def test_a_stop_leaves_nothing_to_connect_to_and_a_start_brings_it_back(machine: Machine) -> None:
    machine.umad.stop()

    assert machine.state() is ServiceState.STOPPED
    with pytest.raises(NoDaemon), machine.client() as client:
        client.ping()

    machine.umad.start()

    with machine.client() as client:
        assert client.complete("def f", max_tokens=4, ignore_eos=True)
