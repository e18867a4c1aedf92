"""Guards the machine's memory: watches how short it is, and gives up what umad can spare.

    read ─▶ MemoryLadder ─▶ stage ─┬▶ engines: use so much of your host memory   (`spare`)
                                   └▶ supervisor: suspend the model idle longest

An engine that was told another share than its stage's, or none since it was started, is told again,
so a restart loses nothing. A suspended model keeps its place and its name; its next request starts
it again and waits for it. So the guard costs time, and never an answer.
Every move is in the log with its reason, and in `facts`, which `umad metrics` shows.
Not: the order and its thresholds (`umad.memory_pressure`). Owner: one task on the daemon's loop;
readings are taken on a thread, since a machine that is short of memory may let them wait.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil
from typing_extensions import override

from umad.clock import Clock
from umad.daemon.engine import Engine
from umad.daemon.engine_state import EngineState
from umad.daemon.pressure_sources import MACHINE, processes_of
from umad.daemon.supervisor import Supervisor
from umad.errors import UmadError
from umad.memory_pressure import (
    PARK_SHARE,
    MemoryLadder,
    MemoryReading,
    MemoryRoom,
    Move,
    Stage,
    Strain,
    strain_of,
)
from umad.units import BYTES_PER_MB, NS_PER_S

log = logging.getLogger(__name__)

# A reading takes a fifth of a millisecond. A program that fills memory at 2 GB/s takes 1 GB between
# two of them, a third of what is left when memory is called tight on a large machine.
PERIOD_S = 0.5
# A reading that takes longer says by itself that the machine is in need; it is left to end.
READ_S = 5.0
# Engines are told after it is known for whom they give something up; they do not wait long for it.
WHOM_S = 1.0
# While memory is tight, a model that answered so lately is left alone. Severe shortage takes any
# idle one.
RESTED_NS = 60 * NS_PER_S
# The kernel counts a process's memory as free a little after its end.
RETURN_NS = NS_PER_S
_SUSPENDED = (EngineState.SUSPENDING, EngineState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class _Program:
    """The program that holds most memory beside umad."""

    name: str
    rss_bytes: int

    @override
    def __str__(self) -> str:
        return f"{self.name} ({_mb(self.rss_bytes)})"


@dataclass(slots=True)
class _Told:
    """The last share that an engine's process was told, and what it gave up since it had all."""

    pid: int | None
    share: float
    freed_bytes: int = 0
    # Requests were getting some of it back: to be told again.
    is_over: bool = False


@dataclass(slots=True)
class _Use:
    """The last time that a model was seen at work."""

    counts: tuple[int, int]
    last_ns: int


class MemoryGuard:
    """The guard of one daemon.

    read: a reading of now; it may block. largest: of processes besides these that share a room, the
    one that holds most memory, in words; it may block, too. period_s: the time between two
    readings.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        read: Callable[[], MemoryReading],
        clock: Clock,
        largest: Callable[[frozenset[int], str], object] | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        self._supervisor = supervisor
        self._read = read
        self._clock = clock
        self._largest = largest or largest_program
        self._period_s = period_s
        self._ladder = MemoryLadder()
        self._reading = MemoryReading()
        self._freed_bytes = 0
        self._told: dict[str, _Told] = {}
        self._uses: dict[str, _Use] = {}
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._under_way: asyncio.Task[MemoryReading] | None = None
        # When an engine was last seen to end for memory; None for never.
        self._ending_ns: int | None = None
        # For whom things were given up last, in words.
        self._whom = ""

    @property
    def stage(self) -> Stage:
        """The stage that is in force now."""
        return self._ladder.standing.stage

    async def run(self) -> None:
        """Guard until cancelled."""
        try:
            while True:
                await self._look_once()
                await asyncio.sleep(self._period_s)
        finally:
            for task in (*self._calls.values(), self._under_way):
                if task is not None:
                    task.cancel()

    async def _look_once(self) -> None:
        # A reading that hangs is waited for again, so that it holds one thread and no more.
        if self._under_way is None:
            self._under_way = asyncio.create_task(asyncio.to_thread(self._read))
        done, _ = await asyncio.wait({self._under_way}, timeout=READ_S)
        if not done:
            log.warning("memory cannot be read within %.0f s", READ_S)
            return
        reading, self._under_way = self._under_way, None
        try:
            await self.look(reading.result())
        except Exception:
            # A task's boundary: whatever the system's files say, the guard goes on.
            log.exception("memory cannot be guarded")

    async def look(self, reading: MemoryReading) -> None:
        """Act on a reading: at most one stage is walked, and at most one model suspended."""
        now_ns = self._clock.now_ns()
        self._reading = reading
        self._note_uses(now_ns)
        strain = strain_of(reading)
        before = self.stage
        standing = self._ladder.step(strain, now_ns)
        if standing.stage is not before:
            await self._say(standing.moved, strain)
        if standing.moved is Move.GIVE_UP and standing.stage is Stage.MODELS:
            self._suspend_one(strain, now_ns)
        share = PARK_SHARE[standing.stage]
        for engine in self._supervisor:
            if self._needs_telling(engine, share):
                task = asyncio.create_task(self._tell(engine, share), name=f"spare {engine.name}")
                self._calls[engine.name] = task

    def facts(self) -> dict[str, Any]:
        """The guard's part of the scorecard. Bytes are those of copies, since the daemon began."""
        room = self._reading.shortest
        return {
            "memory_headroom_gb": None if room is None else round(room.headroom_bytes / 1e9, 4),
            "memory_strain": strain_of(self._reading).name.lower(),
            "memory_given_up": self.stage.value,
            "memory_stage": self.stage.number,
            "memory_freed_gb": round(self._freed_bytes / 1e9, 4),
            "models_suspended": sum(engine.state in _SUSPENDED for engine in self._supervisor),
        }

    # -- moves ------------------------------------------------------------------------------------

    async def _say(self, move: Move | None, strain: Strain) -> None:
        """Log that the stage has changed."""
        stage = self.stage
        if move is Move.TAKE_BACK:
            log.info("memory is easier given_up=%s %s", stage.value, _shown(self._reading))
            return
        self._whom = await self._name_whom()
        log.warning(
            "memory is %s: given_up=%s for=%s %s",
            strain.name.lower(),
            stage.value,
            self._whom,
            _shown(self._reading),
        )

    async def _name_whom(self) -> str:
        own = frozenset(engine.pid for engine in self._supervisor if engine.pid is not None)
        room = self._reading.shortest
        found = None
        with contextlib.suppress(TimeoutError, OSError, psutil.Error):
            async with asyncio.timeout(WHOM_S):
                found = await asyncio.to_thread(
                    self._largest, own, MACHINE if room is None else room.name
                )
        return "other programs" if found is None else str(found)

    def _suspend_one(self, strain: Strain, now_ns: int) -> None:
        if any(engine.state is EngineState.SUSPENDING for engine in self._supervisor):
            self._ending_ns = now_ns
        if self._ending_ns is not None and now_ns - self._ending_ns < RETURN_NS:
            return  # the memory of the last one is not back yet, and may be enough
        rested_ns = 0 if strain is Strain.SEVERE else RESTED_NS
        idle = [
            engine
            for engine in self._supervisor
            if engine.state is EngineState.READY
            and engine.is_idle
            and engine.name in self._uses
            and now_ns - self._uses[engine.name].last_ns >= rested_ns
        ]
        # A pinned model goes only where the machine would swap otherwise, and after all others.
        free = [engine for engine in idle if not engine.keep_alive.is_pinned]
        idle = free or (idle if strain is Strain.SEVERE else [])
        if not idle:
            return
        engine = min(idle, key=lambda one: self._uses[one.name].last_ns)
        idle_s = (now_ns - self._uses[engine.name].last_ns) / NS_PER_S
        if self._supervisor.suspend(engine.name, f"memory was short, for {self._whom}"):
            self._ending_ns = now_ns
            log.warning(
                "model is suspended model=%s idle_s=%.0f for=%s", engine.name, idle_s, self._whom
            )

    # -- engines ----------------------------------------------------------------------------------

    def _needs_telling(self, engine: Engine, share: float) -> bool:
        if engine.state is not EngineState.READY or engine.name in self._calls:
            return False
        told = self._told.get(engine.name)
        if told is None or told.pid != engine.pid:
            return share < 1
        return told.share != share or told.is_over

    async def _tell(self, engine: Engine, share: float) -> None:
        pid = engine.pid
        try:
            spared = await engine.call("spare", {"share": share})
            freed, over = int(spared["freed_bytes"]), int(spared["over_bytes"])
        except (UmadError, KeyError, TypeError, ValueError) as error:
            log.info("engine gives nothing up model=%s reason=%s", engine.name, error)
            if isinstance(error, UmadError) and error.retryable:
                return  # it is busy, or has ended: the next look tells it again
            freed = over = 0
        finally:
            del self._calls[engine.name]
        before = self._told.get(engine.name)
        before_bytes = 0 if before is None or before.pid != pid else before.freed_bytes
        told = _Told(pid, share, before_bytes + freed, is_over=over > 0)
        self._told[engine.name] = told
        self._freed_bytes += freed
        if share == 1:
            engine.gave_up = ""
            log.info("host memory is used again model=%s", engine.name)
            return
        engine.gave_up = f"{_mb(told.freed_bytes)} of kept prefixes, for {self._whom}"
        if share <= PARK_SHARE[Stage.PARKING]:
            engine.gave_up += "; little is parked"
        log.warning(
            "host memory is given up model=%s freed_mb=%.1f share=%g for=%s",
            engine.name,
            freed / BYTES_PER_MB,
            share,
            self._whom,
        )

    def _note_uses(self, now_ns: int) -> None:
        """Note which models are at work. Their counters tell of work between two looks."""
        present = {engine.name for engine in self._supervisor}
        for gone in self._uses.keys() - present:
            del self._uses[gone]
            self._told.pop(gone, None)
        for engine in self._supervisor:
            stats = engine.stats
            counts = (0, 0) if stats is None else (stats.prompt_tokens_total, stats.sampled_total)
            use = self._uses.get(engine.name)
            at_work = not engine.is_idle and engine.name not in self._calls
            if use is None or at_work or use.counts != counts:
                self._uses[engine.name] = _Use(counts, now_ns)


def largest_program(besides: frozenset[int], room: str = MACHINE) -> _Program | None:
    """The process that holds most memory beside umad's own, of those that share `room`."""
    found = None
    own = besides | {psutil.Process().pid}
    sharing = None if room == MACHINE else processes_of(room)
    for process in psutil.process_iter(["pid", "name", "memory_info"]):
        memory, pid = process.info["memory_info"], process.info["pid"]
        if memory is None or pid in own or (sharing is not None and pid not in sharing):
            continue
        if found is None or memory.rss > found.rss_bytes:
            found = _Program(str(process.info["name"]), int(memory.rss))
    return found


def _shown(reading: MemoryReading) -> str:
    room = reading.shortest
    if room is None:
        return f"level={reading.level.name.lower() if reading.level else None}"
    return (
        f"room={room.name} headroom_mb={room.headroom_bytes / BYTES_PER_MB:.0f} "
        f"limit_mb={room.limit_bytes / BYTES_PER_MB:.0f}{_stalled(room)}"
    )


def _stalled(room: MemoryRoom) -> str:
    return "" if room.some_pct is None else f" stalled_pct={room.some_pct:g}"


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / BYTES_PER_MB:.0f} MB"


def with_guard(card: Mapping[str, Any], guard: MemoryGuard | None) -> Mapping[str, Any]:
    """The scorecard with the guard's facts; as it is where nothing is guarded."""
    return card if guard is None else {**card, **guard.facts()}
