"""Reads how much memory the daemon's process and its engines hold, at most every ten seconds.

The kernel walks every page of a process to say what it shares. That takes ten milliseconds of a
core for 500 MB, so it happens on a thread, seldom, and only when somebody looks at the scorecard.
Owner: the daemon's event loop.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping

from umad.clock import Clock
from umad.daemon.engine import Engine
from umad.metrics.memory import MemoryFacts, read_memory

DAEMON = "daemon"
FRESH_NS = 10 * 10**9


class ProcessMemory:
    """The latest memory facts of each model's engine and of the daemon."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._read_ns = 0
        self._read_of: Mapping[str, int] = {}
        self._facts: dict[str, MemoryFacts] = {}

    async def facts(self, engines: Iterable[Engine]) -> Mapping[str, MemoryFacts]:
        """Facts by model, at most `FRESH_NS` old, and only of processes that live now."""
        now_ns = self._clock.now_ns()
        pids = {engine.name: engine.pid for engine in engines if engine.pid is not None}
        pids[DAEMON] = os.getpid()
        if pids != self._read_of or now_ns - self._read_ns >= FRESH_NS:
            self._read_ns, self._read_of = now_ns, pids
            self._facts = await asyncio.to_thread(_read, pids)
        return self._facts


def _read(pids: Mapping[str, int]) -> dict[str, MemoryFacts]:
    facts = {name: read_memory(pid) for name, pid in pids.items()}
    return {name: one for name, one in facts.items() if one is not None}
