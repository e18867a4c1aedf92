"""Runs `umad demo`: a daemon of its own, three chats and one long job, and what each of them felt.

Everything runs in processes of its own that end when their stdin closes. So none of them outlives
the demo, not even when the demo is killed. Not: the apps (`umad.cli.demo_app`), nor how they are
shown (`umad.cli.demo_view`).
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from umad.cli.demo_report import Report
from umad.cli.demo_view import AppFigures, app_table, idle, one_line, verdict
from umad.cli.metrics import print_scorecard
from umad.cli.tables import open_console
from umad.client import AsyncClient
from umad.clock import MonotonicClock
from umad.configuration.sources import load
from umad.engine.library.backends import use_backends
from umad.engine.library.choice import VARIABLE
from umad.errors import BadConfig, EngineFailed, UmadError
from umad.isolated import python_module
from umad.request import BACKGROUND, INTERACTIVE

APPS = (
    ("editor", INTERACTIVE),
    ("notebook", INTERACTIVE),
    ("chat", INTERACTIVE),
    ("indexer", BACKGROUND),
)
START_S = 60.0
APP_END_S = 10.0
# The daemon's own drain is shorter, because no request is left by then.
DAEMON_END_S = 40.0
# A report of a fast model is one long line.
LINE_BYTES = 2**22
REDRAW_S = 0.25
LONGER_S = 60.0
LINE_S = 5.0


def demo(seconds: float, model: str) -> None:
    """Run three chats beside one long job and show what each of them felt."""
    with tempfile.TemporaryDirectory(prefix="umad-demo-", dir=_short_folder()) as folder:
        try:
            asyncio.run(_demo(Path(folder), seconds, model))
        except asyncio.CancelledError:  # SIGTERM, tidied up after
            raise click.Abort from None


def _short_folder() -> str | None:
    """Unix socket paths are short; macOS's own temporary folder is not."""
    return "/tmp" if sys.platform == "darwin" else None


async def _demo(folder: Path, seconds: float, model: str) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    console = open_console()
    socket = folder / "umad.sock"
    async with _daemon(socket, model), AsyncClient(socket) as client:
        loaded = await client.models()
        names = ", ".join(str(one["name"]) for one in loaded)
        console.print(f"serving {names}; three chats and one long job, {seconds:g} s")
        apps = [AppFigures(name=name, lane=lane) for name, lane in APPS]
        await _run_apps(console, socket, apps, seconds)
        scorecard = await client.metrics()
    _print_end(console, apps, scorecard)
    if missed := idle(apps):
        raise EngineFailed(f"nothing was done for {', '.join(missed)}; look for what keeps the CPU")


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Without the user's settings, which are meant for the user's daemon, but for the library and
    its backends: there may be no other on this machine.
    """
    plain = {name: text for name, text in environ.items() if not name.startswith("UMAD_")}
    try:
        settings = load(environ=environ).settings
    except BadConfig:  # the demo is for whoever has not written one yet
        return plain
    use_backends(settings.backends, plain)
    if settings.llama_library is not None:
        plain[VARIABLE] = settings.llama_library
    return plain


@asynccontextmanager
async def _daemon(socket: Path, model: str) -> AsyncIterator[None]:
    """A daemon of the demo's own, ready; ended gracefully, then by force."""
    process = await asyncio.create_subprocess_exec(
        *python_module("umad", "serve", model, "--socket", str(socket)),
        *("--config", os.devnull, "--until-stdin-closes"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(os.environ),
        start_new_session=True,
        limit=LINE_BYTES,
    )
    assert process.stderr is not None
    ready = asyncio.Event()
    heard: deque[str] = deque(maxlen=20)
    listening = asyncio.create_task(_listen(process.stderr, heard, ready))
    try:
        await asyncio.wait(
            {listening, asyncio.create_task(ready.wait())},
            timeout=START_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not ready.is_set():
            raise EngineFailed(f"the demo's daemon did not start: {_last(heard)}")
        yield
    finally:
        code = await asyncio.shield(_end(process, DAEMON_END_S))
        await listening
    if code != 0:
        raise EngineFailed(f"the demo's daemon ended with {code}: {_last(heard)}")


async def _listen(stderr: asyncio.StreamReader, heard: deque[str], ready: asyncio.Event) -> None:
    """Remember what the daemon last said; it says "umad ready" once every model is loaded."""
    async for line in stderr:
        heard.append(line.decode(errors="replace").strip())
        if heard[-1].startswith("umad ready"):
            ready.set()


def _last(heard: Sequence[str]) -> str:
    return heard[-1].removeprefix("umad: ") if heard else "it said nothing"


async def _ended_within(process: asyncio.subprocess.Process, timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        return False
    return True


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> int:
    """Close the process's stdin, wait, and kill its group where that is not enough."""
    if process.stdin is not None:
        process.stdin.close()
    if not await _ended_within(process, grace_s):
        os.killpg(process.pid, signal.SIGKILL)
    return await process.wait()


async def _run_apps(
    console: Console, socket: Path, apps: Sequence[AppFigures], seconds: float
) -> None:
    """Start every app, follow them for `seconds`, end them. Raises the first one's failure."""
    clock = MonotonicClock()
    began_ns = clock.now_ns()
    processes: list[asyncio.subprocess.Process] = []
    try:
        for app in apps:
            processes.append(await _start_app(app, socket))  # noqa: PERF401  # each one is ended
        async with asyncio.TaskGroup() as group:
            for app, process in zip(apps, processes, strict=True):
                group.create_task(_follow(app, process))
            group.create_task(_show(console, apps, clock, began_ns, seconds, processes))
    except* UmadError as failures:
        raise failures.exceptions[0] from None
    finally:
        await asyncio.shield(asyncio.gather(*(_end(one, APP_END_S) for one in processes)))


async def _start_app(app: AppFigures, socket: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *python_module("umad.cli.demo_app", app.name, app.lane, str(socket)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=LINE_BYTES,
    )


async def _follow(app: AppFigures, process: asyncio.subprocess.Process) -> None:
    """Take in an app's reports until it ends."""
    assert process.stdout is not None
    async for line in process.stdout:
        report = Report(**json.loads(line))
        if report.error is not None:
            raise EngineFailed(report.error)
        app.add(report)
    if await process.wait() != 0:
        raise EngineFailed(f"{app.name} ended with {process.returncode}")


async def _show(
    console: Console,
    apps: Sequence[AppFigures],
    clock: MonotonicClock,
    began_ns: int,
    seconds: float,
    processes: Sequence[asyncio.subprocess.Process],
) -> None:
    """Redraw, or print a line now and then, until the time is over; then let the apps go."""

    def elapsed_s() -> float:
        return (clock.now_ns() - began_ns) / 1e9

    def goes_on() -> bool:
        # A slow machine gets more time, so that no row is empty.
        return elapsed_s() < seconds + (LONGER_S if idle(apps) else 0.0)

    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while goes_on():
                live.update(app_table(apps, live=True), refresh=True)
                await asyncio.sleep(REDRAW_S)
    else:
        said_s = 0.0
        while goes_on():
            await asyncio.sleep(REDRAW_S)
            if elapsed_s() - said_s >= LINE_S:
                said_s = elapsed_s()
                console.print(one_line(said_s, apps))
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()


def _print_end(console: Console, apps: Sequence[AppFigures], scorecard: Mapping[str, Any]) -> None:
    console.print("\nEach app by its own clock: tokens in and out, ms between and to the first.")
    console.print(app_table(apps, live=False))
    console.print("\nThe daemon's scorecard:")
    print_scorecard(console, scorecard)
    console.print()
    console.print(verdict(scorecard))
