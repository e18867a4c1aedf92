"""A daemon with fake engines, in this process or in one of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.house import (
    DAEMON_PROGRAM,
    PATIENCE_S,
    ROOT,
    House,
    Serve,
    fake_launcher,
    write_models,
)
from umad.clock import Clock
from umad.config import LimitSettings, LoggingSettings, Settings
from umad.daemon.engine_run import STOP_S
from umad.daemon.server import Daemon
from umad.daemon.socket_file import SocketFile
from umad.memory_pressure import MemoryReading
from umad.testing import FakeModel


@pytest.fixture(autouse=True)
def _engines_find_umad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def start(
        *models: FakeModel,
        wait: bool = True,
        apps: Any = (),
        clock: Clock | None = None,
        empty: bool = False,
        pressure: Callable[[], MemoryReading] | None = None,
        memory_guard: bool = True,
        several: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> AsyncIterator[House]:
        """empty: no model at all to begin with. pressure: how short of memory the machine is.
        several: settings besides.
        """
        settings = Settings(
            **{"models": () if empty else write_models(tmp_path, models), **(several or {})},
            apps=apps,
            limits=LimitSettings(**{"drain_s": 5.0, **limits}),
            logging=LoggingSettings(scorecard_interval_s=0),
            memory_guard=memory_guard,
        )
        socket_file = SocketFile.claim(tmp_path / "umad.sock")
        daemon = Daemon(settings, socket_file, fake_launcher, clock=clock, pressure=pressure)
        ready = asyncio.Event()
        task = asyncio.create_task(daemon.run(ready.set))
        house = House(daemon, socket_file.path)
        try:
            if wait:
                waiting = asyncio.create_task(ready.wait())
                await asyncio.wait(
                    {task, waiting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
                )
                waiting.cancel()
                assert ready.is_set() or task.done(), "the daemon is not ready"
            yield house
        finally:
            await house.close()
            daemon.stop_at_once()
            try:
                await asyncio.wait_for(task, PATIENCE_S)
            finally:
                socket_file.close()

    return start


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a daemon in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def start(
        *models: FakeModel,
        drain_s: float = 5.0,
        names: tuple[str, ...] = (),
        at_hangup: signal.Handlers = signal.SIG_DFL,
        entering: Path | None = None,
        stop_s: float = STOP_S,
    ) -> subprocess.Popen[str]:
        """entering: the `cgroup.procs` of a group that the daemon enters first. stop_s: an engine
        that is asked to stop has so long.
        """
        hang_up = f"import signal; signal.signal(signal.SIGHUP, {int(at_hangup)})\n"
        stop = f"from umad.daemon import engine_run; engine_run.STOP_S = {stop_s}\n"
        enter = "" if entering is None else f"open({str(entering)!r}, 'w').write('0')\n"
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                # As its starter left it: nohup has it ignored.
                f"{hang_up}{enter}{stop}{DAEMON_PROGRAM}",
                str(tmp_path / "umad.sock"),
                str(drain_s),
                *(names or write_models(tmp_path, models)),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
