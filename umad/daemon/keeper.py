"""Keeps one engine alive: starts its process, watches it, starts it again at once when it dies.

A model that is asked for waits until it is given room (`start`), which `umad.daemon.rotation`
decides. It gives its room back by `suspend`: at once where it is idle, after `begin_to_yield` where
it is at work. Its requests stay in the journal, and the next process goes on with them.

`umad.daemon.crashes` decides when there were too many crashes: the model is then `failed` until it
is loaded again. A process that has work but says nothing for `limits.stall_s`
(`umad.daemon.watchdog`) is killed, which counts as a crash. Not: the table of models
(`umad.daemon.supervisor`). Owner: one task per engine on the daemon's loop; `load`, `unload` and
`kill` are called from the same loop.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from umad.clock import Clock
from umad.config import LimitSettings
from umad.daemon.crashes import CoolDown, CrashRecord, Death
from umad.daemon.engine import Engine
from umad.daemon.engine_events import EngineEvents
from umad.daemon.engine_link import EngineLink
from umad.daemon.engine_process import EngineProcess, Launcher
from umad.daemon.engine_state import SERVING, EngineEvent, EngineState
from umad.daemon.names import ModelFile
from umad.daemon.watchdog import Watchdog
from umad.errors import EngineFailed, ModelLoadFailed, UmadError
from umad.protocol.link import (
    CancelOrder,
    EngineReady,
    EngineReply,
    Fatal,
    FromEngine,
    LoadProgress,
    StepReport,
    Stop,
)

log = logging.getLogger(__name__)

# After `Stop` an engine frees its memory; one that takes longer is killed.
STOP_S = 10.0


class Keeper:
    """The life of one engine, over any number of processes."""

    def __init__(
        self,
        engine: Engine,
        file: ModelFile,
        *,
        launcher: Launcher,
        limits: LimitSettings,
        clock: Clock,
        events: EngineEvents,
        inherited: tuple[int, ...] = (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """engine: in the state `WAITING`. inherited: descriptors that every process gets beside its
        link. changed: called when the engine's state has changed, and when its work has ended.
        """
        self.engine = engine
        # The loads that failed in a row.
        self.cool_down = CoolDown()
        # What is opened.
        self.file = file
        self._launcher = launcher
        self._limits = limits
        self._clock = clock
        self._events = events
        self._inherited = inherited
        self._changed = changed
        self._crashes = CrashRecord(engine.name)
        self._last_words = ""
        self._process: EngineProcess | None = None
        self._link: EngineLink | None = None
        self._fatal: Fatal | None = None
        # What the process still says is not heard: its work is another process's by now.
        self._is_deaf = False
        self._began_ns = 0
        self._watchdog = Watchdog(engine, clock=clock, stall_s=limits.stall_s, hangs=self._hangs)
        engine.watch = self._given_work
        engine.rests = self._rests
        self._task: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Ask for a model that failed or was suspended; no effect on one that lives or waits."""
        engine = self.engine
        match engine.state:
            case EngineState.FAILED:
                engine.advance(EngineEvent.LOAD)
                engine.error = None
                engine.loaded = asyncio.get_running_loop().create_future()
                self._crashes = CrashRecord(engine.name)
            case EngineState.SUSPENDED | EngineState.SUSPENDING:
                log.info("suspended model is asked for model=%s", engine.name)
                engine.advance(EngineEvent.LOAD)
                self._crashes = CrashRecord(engine.name)
            case _:
                return
        self._changed()

    def start(self, *, beside_bytes: int) -> None:
        """Start the process of a model that waits. beside_bytes: what the engines of other models
        take.
        """
        engine = self.engine
        engine.advance(EngineEvent.START)
        # A completion that was begun has to fit into the pool in which it began.
        if not any(entry.resumed for entry in engine.journal):
            self.file = replace(self.file, beside_bytes=beside_bytes)
        self._task = self._begin()
        self._changed()

    def turn_away(self, error: UmadError) -> None:
        """Give up a model that waits: it gets no room, or nobody waits for it any more."""
        engine = self.engine
        engine.advance(EngineEvent.TURN_AWAY)
        engine.suspended_for = error.message
        self._end_requests(error)
        engine.loaded = asyncio.get_running_loop().create_future()
        self._changed()

    def begin_to_yield(self) -> None:
        """Let an engine at work end what runs, and begin nothing new."""
        engine = self.engine
        log.info("model yields model=%s live=%d", engine.name, len(engine.journal))
        engine.advance(EngineEvent.YIELD)
        engine.begin_to_yield()
        self._changed()

    def suspend(self, reason: str, *, cut: bool = False) -> bool:
        """End the process of an engine, which is started again for its next request. Return False
        for an engine that is not ready, or has something to do.

        reason: shown to people while it is suspended. cut: also one that has something to do; the
        next process goes on with it.
        """
        engine, link = self.engine, self._link
        if engine.state not in SERVING or link is None or not (cut or engine.has_run_out):
            return False
        was_yielding = engine.state is EngineState.YIELDING
        running = [entry.rid for entry in engine.journal if engine.has_sent(entry.rid)]
        engine.advance(EngineEvent.SUSPEND)
        engine.suspended_for = reason
        # What is asked from here on waits for the next process.
        engine.disconnect()
        self._is_deaf = True
        if engine.loaded.done():
            engine.loaded = asyncio.get_running_loop().create_future()
        if was_yielding or running:
            log.info("model gives way model=%s cut=%d", engine.name, len(running))
            engine.fail_calls(EngineFailed(f"{engine.name} gave way; try again"), own=True)
            self._events.engine_gave_way(engine)
        link.send(*(CancelOrder(rid=rid) for rid in running), Stop())
        asyncio.get_running_loop().call_later(STOP_S, self._kill_suspended, self._process)
        if engine.is_wanted:
            self.load()
        self._changed()
        return True

    def _kill_suspended(self, process: EngineProcess | None) -> None:
        if process is not None and process is self._process:
            process.kill()

    def unload(self, error: UmadError) -> None:
        """End the engine: its requests end with `error`, its process is stopped, then killed."""
        engine = self.engine
        before = engine.state
        if before in (EngineState.STOPPED, EngineState.DRAINING):
            return
        engine.advance(EngineEvent.UNLOAD)
        self._end_requests(error)
        if before in SERVING and self._link is not None:
            self._link.send(Stop())
            asyncio.get_running_loop().call_later(STOP_S, self.kill)
        elif before not in (EngineState.SUSPENDING, EngineState.REOPENING):
            self.kill()
        self._changed()

    async def ended(self) -> None:
        """Wait until the process is gone for good. Bounded by `STOP_S` and the kernel."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def kill(self) -> None:
        """End the process now, if there is one."""
        if self._process is not None:
            self._process.kill()

    # -- work -----------------------------------------------------------------------------------

    def _given_work(self) -> None:
        """Work was given to an engine that had none."""
        self._watchdog.watch()
        # Whoever gave it may have found the engine before it was suspended.
        if self.engine.state in (EngineState.SUSPENDED, EngineState.SUSPENDING):
            self.load()

    def _rests(self) -> None:
        self.engine.used_ns = self._clock.now_ns()
        self._changed()

    # -- the task -------------------------------------------------------------------------------

    def _begin(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._keep(), name=f"engine {self.engine.name}")
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Handle a bug in the task: it costs one model, and nobody waits for it for ever."""
        if task.cancelled() or (bug := task.exception()) is None:
            return
        engine = self.engine
        log.error("engine given up unexpectedly model=%s", engine.name, exc_info=bug)
        engine.disconnect()
        engine.state = EngineState.FAILED
        engine.error = EngineFailed(f"{engine.name}: unexpected {type(bug).__name__}; see the log")
        self._end_requests(engine.error)
        self._changed()

    async def _keep(self) -> None:
        engine = self.engine
        while engine.state is EngineState.STARTING:
            try:
                status = await self._one_process()
                error = self._died(status)
            except OSError as problem:
                log.exception("engine cannot be started model=%s", engine.name)
                engine.advance(EngineEvent.DIED)
                error = EngineFailed(f"{engine.name}: the engine cannot be started: {problem}")
            if not self._goes_on(error):
                break
        if engine.state is EngineState.DRAINING:  # unloaded before it was started
            engine.advance(EngineEvent.DIED)
        self._watchdog.stop()
        self._changed()

    def _goes_on(self, error: UmadError | None) -> bool:
        """Act on a death; return whether another process is to be started."""
        engine = self.engine
        engine.pid = None
        engine.disconnect()
        if engine.state is EngineState.STOPPED:
            return False
        if engine.state in (EngineState.SUSPENDED, EngineState.WAITING):
            self._events.engine_suspended(engine)
            return False
        self._events.engine_died(engine)
        if error is None:
            engine.restarts += 1
            engine.advance(EngineEvent.RESTART)
            return True
        engine.advance(EngineEvent.GIVE_UP)
        engine.error = error
        if not self._crashes.ever_ready:
            self.cool_down.failed(self._clock.now_ns())
        # A model that was never ready is reported to the client that asked for it, so the log need
        # not repeat it as an error.
        level = logging.ERROR if self._crashes.ever_ready else logging.INFO
        log.log(level, "engine failed model=%s reason=%s", engine.name, error.message)
        self._end_requests(error)
        return False

    async def _one_process(self) -> int | None:
        """Start a process, follow it to its end, reap it; return its exit status."""
        engine = self.engine
        self._fatal = None
        self._watchdog.listens_anew()
        self._is_deaf = False
        self._began_ns = self._clock.now_ns()
        engine.load_share = None
        # The link exists before the process, because the first message may come at once.
        self._link = link = EngineLink(self._heard, self._heard_tokens, self._clock.now_ns)
        try:
            self._process = process = await EngineProcess.linked(
                engine.name, link, lambda fd: self._launcher(self.file, fd), self._inherited
            )
            engine.pid = process.pid
            log.info("engine started model=%s pid=%d", engine.name, process.pid)
            if engine.state is EngineState.DRAINING:  # unloaded while it was being started
                process.kill()
            loop, load_s = asyncio.get_running_loop(), self._limits.load_s
            too_slow = loop.call_later(load_s, self._load_timed_out)
            try:
                await process.ends_with(link.lost)
            finally:
                too_slow.cancel()
                status = await process.end()
                self._last_words = process.last_words
        finally:
            self._process = self._link = None
            link.close()
        return status

    def _load_timed_out(self) -> None:
        if self.engine.state is EngineState.STARTING:
            self._fatal = Fatal(
                code=ModelLoadFailed.code,
                message=f"it was not ready within {self._limits.load_s:g} s",
            )
            self.kill()

    # -- news -----------------------------------------------------------------------------------

    def _heard_tokens(self, unpacked: Sequence[Any], now_ns: int) -> None:
        if self._is_deaf:
            return
        self._watchdog.heard(now_ns)
        self._events.engine_tokens(self.engine, unpacked, now_ns)

    def _heard(self, message: FromEngine, now_ns: int) -> None:
        if self._is_deaf:
            return
        engine = self.engine
        self._watchdog.heard(now_ns)
        match message:
            case StepReport():
                self._events.engine_report(engine, message, now_ns)
            case EngineReply():
                engine.replied(message)
            case EngineReady():
                self._ready(message)
            case LoadProgress():
                engine.load_share = message.share
            case Fatal():
                self._fatal = message

    def _ready(self, ready: EngineReady) -> None:
        engine, link = self.engine, self._link
        if engine.state is not EngineState.STARTING or link is None:
            return
        engine.facts = ready.facts
        self._crashes.ready()
        self.cool_down.over()
        engine.advance(EngineEvent.READY)
        engine.ready_ns = engine.used_ns = self._clock.now_ns()
        engine.load_ns = engine.ready_ns - self._began_ns
        log.info(
            "engine ready model=%s pid=%s restarts=%d", engine.name, engine.pid, engine.restarts
        )
        engine.connect(link)
        self._events.engine_ready(engine)
        engine.suspended_for = engine.gave_up = ""
        if engine.owes_news:
            self._watchdog.watch()
        if not engine.loaded.done():
            engine.loaded.set_result(None)
        self._changed()

    def _hangs(self, silent_s: float) -> None:
        log.error("engine hangs model=%s silent_s=%.1f", self.engine.name, silent_s)
        self._fatal = Fatal(
            code=EngineFailed.code, message=f"it said nothing for {silent_s:.1f} s and was killed"
        )
        self.kill()

    def _died(self, status: int | None) -> UmadError | None:
        """Note a death. Returns None where another process is to be started, else the reason why
        not.
        """
        engine = self.engine
        death = Death(
            status=status,
            was_ready=engine.state in SERVING,
            now_ns=self._clock.now_ns(),
            fatal=self._fatal,
            last_words=self._last_words,
        )
        was_yielding = engine.state is EngineState.YIELDING
        engine.advance(EngineEvent.DIED)
        if engine.state is EngineState.STOPPED:
            log.info("engine stopped model=%s", engine.name)
            return None
        if was_yielding:
            # Its room is another model's now. What it had to do waits for the next process.
            log.warning("engine died while it gave way model=%s how=%s", engine.name, death.how)
            self._events.engine_died(engine)
            if engine.is_wanted:
                engine.advance(EngineEvent.LOAD)
            return None
        if engine.state in (EngineState.SUSPENDED, EngineState.WAITING):
            log.info("engine suspended model=%s", engine.name)
            return None
        log.warning("engine died model=%s how=%s", engine.name, death.how)
        return self._crashes.died(death)

    def _end_requests(self, error: UmadError) -> None:
        engine = self.engine
        engine.fail_calls(error)
        self._events.engine_ended(engine, error)
        if not engine.loaded.done():
            engine.loaded.set_exception(error)
            engine.loaded.exception()  # marks it as seen: nobody may be waiting for it
