"""A real daemon for tests: `umad serve` in a process of its own on a private socket.

Not a test. Whoever starts one owns it: leaving the `with` ends it and everything it started.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from umad.client import AsyncClient, Client
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed, Tokens

START_S = 120.0
STOP_S = 60.0
# Not the developer's own; shared by all tests, so that the machine is probed once.
CACHE = Path(tempfile.gettempdir()) / f"umad-tests-{os.getuid()}"
POLL_S = 0.02


def wait_until(holds: Callable[[], bool], *, within_s: float = 60.0, what: str = "it") -> None:
    """Poll until `holds`; fail the test when it does not within the bound."""
    end = time.perf_counter() + within_s
    while not holds():
        assert time.perf_counter() < end, f"{what} did not happen within {within_s} s"
        threading.Event().wait(POLL_S)


def still_running(
    processes: Iterable[psutil.Process], *, within_s: float = 60.0
) -> list[psutil.Process]:
    """Those of `processes` that have not ended within the bound. A zombie has: it may be somebody
    else's to reap, and in some containers nobody does.
    """
    end = time.perf_counter() + within_s
    while (left := [one for one in processes if _runs(one.pid)]) and time.perf_counter() < end:
        threading.Event().wait(POLL_S)
    return left


@dataclass(slots=True)
class LiveDaemon:
    """A running daemon and what can be seen of it from outside."""

    process: subprocess.Popen[str]
    socket: Path
    errors: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        """Everything it has written to stderr."""
        return "".join(self.errors)

    def engines(self) -> list[psutil.Process]:
        """Its engine processes, those that are just ending left out."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, to psutil
                if "umad.engine" in child.cmdline():
                    found.append(child)
        return found

    def client(self) -> AsyncClient:
        """A client of this daemon."""
        return AsyncClient(self.socket)

    def metrics(self) -> dict[str, Any]:
        """Its scorecard now."""
        with Client(self.socket) as client:
            return dict(client.metrics())

    def restarts(self) -> int:
        """How often engines were started again, once there was one: a client may have had its
        whole answer when the daemon has not yet heard that the engine died.
        """
        wait_until(lambda: self.metrics()["restarts"] > 0, what="a restart")
        return int(self.metrics()["restarts"])

    def cells_used(self) -> int:
        """KV cells of running requests, all models."""
        return int(self.metrics()["kv_cells_used"])

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(STOP_S)


def processes(daemon: LiveDaemon, module: str) -> list[psutil.Process]:
    """Processes of the daemon that run a module."""
    found = []
    for child in psutil.Process(daemon.process.pid).children(recursive=True):
        try:
            if module in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


# Variables of a test that has a home or a hub's cache of its own.
_PLACES = {"HOME", "HF_HOME", "HF_HUB_CACHE"}


@contextmanager
def live_daemon(
    folder: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    start_s: float = START_S,
) -> Iterator[LiveDaemon]:
    """`umad serve ARGUMENTS` on a socket in `folder`, ready to be asked. prefix: a command that
    becomes it, as `nsenter` does. start_s: how long its first load may take."""
    socket = folder / "u.sock"
    (folder / "none.yaml").touch()
    process = subprocess.Popen(
        [
            *(*prefix, sys.executable, "-m", "umad", "serve"),
            *("--socket", str(socket), *arguments),
        ],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={
            **os.environ,
            "UMAD_CONFIG": str(folder / "none.yaml"),
            "XDG_CACHE_HOME": str(CACHE),
            # Jobs in the developer's own store are not a test's to go on with.
            "UMAD_MODELS": str(folder / "store"),
            # Nothing that a test asks for is fetched from the world; loopback hubs speak HTTP.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            # Nor are the developer's own models a test's to list.
            "UMAD_MODEL_PLACES": str(bool(_PLACES & (environment or {}).keys())),
            **(environment or {}),
        },
    )
    daemon = LiveDaemon(process=process, socket=socket)
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            daemon.errors.append(line)
            if "umad ready" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, name="daemon-log", daemon=True)
    reader.start()
    try:
        assert ready.wait(start_s), f"no daemon after {start_s} s: {daemon.log}"
        assert process.poll() is None, f"the daemon ended: {daemon.log}"
        yield daemon
    finally:
        family, helpers = {process.pid}, set[int]()
        if process.poll() is None:
            daemon_itself = psutil.Process(process.pid)
            family |= {child.pid for child in daemon_itself.children()}
            helpers = {child.pid for child in daemon_itself.children(recursive=True)} - family
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
        reader.join(STOP_S)
        if process.stderr is not None:
            process.stderr.close()
        left = [pid for pid in family if _runs(pid)]
        # Helpers of engines end a moment later, when their pipe has lost its other end.
        ends_s = time.perf_counter() + STOP_S
        while any(map(_runs, helpers)) and time.perf_counter() < ends_s:
            threading.Event().wait(POLL_S)
        left += [pid for pid in helpers if _runs(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"the daemon left processes behind: {left}"


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def greedy(prompt: str, n_tokens: int, **more: Any) -> GenerateRequest:
    """A request whose answer is always the same `n_tokens` tokens."""
    sampling = SamplingParams(temperature=0.0, max_tokens=n_tokens, ignore_eos=True)
    return GenerateRequest(prompt=prompt, sampling=sampling, **more)


@dataclass(slots=True)
class Stream:
    """What one request has brought so far."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    done: Done | None = None
    failed: Failed | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    enough_tokens: int = 5

    def take(self, event: object) -> None:
        if isinstance(event, Tokens):
            self.ids.extend(event.ids)
            self.text += event.text
            self.started.set()
            if len(self.ids) >= self.enough_tokens:
                self.enough.set()
        elif isinstance(event, Done):
            self.done = event
        elif isinstance(event, Failed):
            self.failed = event
        if self.done or self.failed:
            self.started.set()
            self.enough.set()


async def collect(
    client: AsyncClient, request: GenerateRequest, stream: Stream | None = None
) -> Stream:
    """Run a request of one completion to its end."""
    stream = stream or Stream()
    async for event in client.events(request):
        stream.take(event)
    return stream
