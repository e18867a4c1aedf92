"""Ends a daemon's work in order: requests may end, the rest is cancelled, then engines and
connections go.

Every wait has a bound, and a second signal cuts each short.
Not: when to end (`umad.daemon.server`). Owner: the event loop.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Set
from typing import Any

from umad.daemon.completions import Completions
from umad.daemon.other_work import OtherWork
from umad.daemon.session import Session
from umad.daemon.supervisor import Supervisor
from umad.errors import ShuttingDown

# Cancelled requests end within a step, and the length of a step is bounded.
CANCEL_S = 5.0
# Time for clients to read their last frames.
GOODBYE_S = 2.0


class Ending:
    """Carries out the end of one daemon.

    sessions: the open connections. at_once: set by the second signal.
    """

    def __init__(
        self,
        *,
        completions: Completions,
        other: OtherWork,
        supervisor: Supervisor,
        sessions: Set[Session],
        at_once: asyncio.Event,
    ) -> None:
        self._completions = completions
        self._other = other
        self._supervisor = supervisor
        self._sessions = sessions
        self._at_once = at_once

    async def drain(self, within_s: float) -> None:
        """Let running requests end, then cancel them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await unless(self._at_once, self._idle())
        if len(self._completions) and not self._at_once.is_set():
            self._completions.cancel_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CANCEL_S):
                    await unless(self._at_once, self._completions.idle())

    async def _idle(self) -> None:
        """Wait until no request is live."""
        await self._completions.idle()
        await self._other.idle()

    async def close(self) -> None:
        """Stop engines and connections."""
        self._completions.fail_all(ShuttingDown("the daemon has shut down"))
        await self._supervisor.stop()
        sessions = list(self._sessions)
        for session in sessions:
            session.close()
        if sessions:
            await asyncio.wait([session.gone for session in sessions], timeout=GOODBYE_S)
        for session in list(self._sessions):
            session.abort()


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Await `work`, or give it up when `event` comes first; return whether it was done."""
    task, signalled = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        signalled.cancel()
        task.cancel()
    if event.is_set():
        await asyncio.gather(task, return_exceptions=True)  # its failure no longer matters
        return False
    await task
    return True
