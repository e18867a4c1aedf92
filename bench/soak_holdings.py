"""Reads what a daemon holds, from outside the daemon.

Not: the crowd (`bench.soak_clients`), nor the verdict (`bench.soak`). Owner: the soaking loop.
"""

import asyncio
import contextlib
import dataclasses
import time

import psutil

from bench.umad_daemon import UmadDaemon
from umad.client import AsyncClient

_CALM_S = 60.0
_SAMPLE_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the quiet daemon holds. rss_bytes, descriptors: of the daemon, not of its engine."""

    cells: int
    sessions: int
    descriptors: int
    rss_bytes: int
    engine_rss_bytes: int


async def calm(daemon: UmadDaemon, client: AsyncClient) -> Held:
    """What is held once nothing runs; after a bounded time, whatever is held then."""
    ends_s = time.perf_counter() + _CALM_S
    least: Held | None = None
    while True:
        now = await held(daemon, client)
        quiet = now.cells == 0 and now.sessions == 0
        # Closed connections and freed memory take the daemon's next round to show.
        if quiet and least is not None and now.descriptors >= least.descriptors:
            return least
        least = now if quiet else None
        if time.perf_counter() > ends_s:
            return now
        await asyncio.sleep(_SAMPLE_S)


async def held(daemon: UmadDaemon, client: AsyncClient) -> Held:
    card, sessions = await client.metrics(), await client.sessions()
    process = psutil.Process(daemon.pid)
    return Held(
        cells=int(card["kv_cells_used"]),
        sessions=len(sessions),
        descriptors=process.num_fds(),
        rss_bytes=process.memory_info().rss,
        engine_rss_bytes=sum(each.memory_info().rss for each in engines(daemon)),
    )


def engines(daemon: UmadDaemon) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(daemon.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, to psutil
            if "umad.engine" in child.cmdline():
                found.append(child)
    return found
