"""Keeps a front end's process (the HTTP gateway) running beside the daemon.

The process is a client like any other: when it dies, only its own clients lose a moment. It is
started again, with a short pause if it had run well. It writes to the daemon's stderr, so its own
error message says why it ended. Its stdin is a pipe that closes when the daemon ends, even when the
daemon is killed. Not: what the process does.
Owner: one task on the daemon's loop.
"""

import asyncio
import contextlib
import logging
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from umad.clock import Clock

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.2
# An address may be taken, or missing while a machine starts. It may be free by then.
LONGEST_PAUSE_S = 30.0
# A process that ran this long did not fail to start.
RAN_WELL_NS = 30 * 10**9
# Time for answers that are under way. The daemon has drained before.
END_S = 5.0


class Companion:
    """Runs one process again and again until `run` is cancelled.

    command: the command line of the process.
    """

    def __init__(self, name: str, command: Sequence[str], clock: Clock) -> None:
        self._name = name
        self._command = tuple(command)
        self._clock = clock

    async def run(self) -> None:
        """Keep the process running; on cancellation end it."""
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
        """Start the process and wait for its end. Returns its status, or why it could not start."""
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
    """End all of them at the same time."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
