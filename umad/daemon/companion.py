"""A front end's process kept running beside the daemon: the HTTP gateway.

It is a client like any other, so its death costs its own clients a moment and nobody else; it is
started again, sooner when it had run well. Why it ended it says itself: its stderr is the daemon's.
Its stdin is a pipe that closes with the daemon, killed or not. Not: what it does.
One task on the daemon's loop.
"""

import asyncio
import contextlib
import logging
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from umad.clock import Clock

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.2
# An address that is taken, or not there yet while a machine starts, may be free by then.
LONGEST_PAUSE_S = 30.0
# Having run that long it is no longer failing to start.
RAN_WELL_NS = 30 * 10**9
# For answers that are under way; the daemon has drained before.
END_S = 5.0


class Companion:
    """command: what to run. `run` until cancelled."""

    def __init__(self, name: str, command: Sequence[str], clock: Clock) -> None:
        self._name = name
        self._command = tuple(command)
        self._clock = clock

    async def run(self) -> None:
        """Keep it running; on cancellation end it."""
        pause_s = FIRST_PAUSE_S
        while True:
            began_ns = self._clock.now_ns()
            status = await self._once()
            if self._clock.now_ns() - began_ns >= RAN_WELL_NS:
                pause_s = FIRST_PAUSE_S
            log.error("%s ended status=%s again_s=%.1f", self._name, status, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _once(self) -> int | str:
        """Start it and wait for its end: its status, or why it could not be started."""
        try:
            # A session of its own: Ctrl-C in the daemon's terminal is the daemon's to handle.
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, start_new_session=True
            )
        except OSError as error:
            return error.strerror or str(error)
        log.info("%s started pid=%d", self._name, process.pid)
        try:
            return await process.wait()
        finally:
            await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def open_companions(
    commands: Sequence[tuple[str, Sequence[str]]], clock: Clock
) -> list[asyncio.Task[None]]:
    """A task for each (name, command)."""
    return [
        asyncio.create_task(Companion(name, command, clock).run(), name=name)
        for name, command in commands
    ]


async def close_companions(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End them all, side by side."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
