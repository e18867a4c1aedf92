"""Keeps one engine alive: starts its process, watches it, starts it again at once when it dies.

A model that is asked for waits until it is given room (`start`), which `umad.daemon.rotation`
decides. It gives its room back by `suspend`: at once where it is idle, after `begin_to_yield` where
it is at work. Its requests stay in the journal, and the next process goes on with them.

`umad.daemon.crashes` decides when there were too many crashes: the model is then `failed` until it
is loaded again. A process that has work but says nothing for `limits.stall_s`
(`umad.daemon.watchdog`) is killed, which counts as a crash. Not: one process
(`umad.daemon.engine_run`), nor the table of models (`umad.daemon.supervisor`). Owner: one task per
engine on the daemon's loop; `load`, `unload` and `kill` are called from the same loop.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from umad.clock import Clock
from umad.config import LimitSettings
from umad.daemon.crashes import CoolDown, CrashRecord, Death
from umad.daemon.engine import Engine
from umad.daemon.engine_events import EngineEvents
from umad.daemon.engine_process import Launcher
from umad.daemon.engine_run import EngineRun
from umad.daemon.engine_state import SERVING, EngineEvent, EngineState
from umad.daemon.names import ModelFile
from umad.daemon.watchdog import Watchdog
from umad.errors import EngineFailed, UmadError
from umad.estimate import engine_bytes
from umad.models.whisper import is_speech_file
from umad.protocol.link import CancelOrder, EngineReady, Fatal

log = logging.getLogger(__name__)


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
        # The memory that it counts with until its engine has told; None where it is not known.
        self.reckoned_bytes: int | None = None
        self._launcher = launcher
        self._limits = limits
        self._clock = clock
        self._events = events
        self._inherited = inherited
        self._changed = changed
        self._crashes = CrashRecord(engine.name)
        # The process that there is.
        self._run: EngineRun | None = None
        self._watchdog = Watchdog(engine, clock=clock, stall_s=limits.stall_s, hangs=self._hangs)
        engine.watch = self._given_work
        engine.rests = self._rests
        self._task: asyncio.Task[None] | None = None

    @property
    def held_bytes(self) -> int:
        """The memory that its engine takes, as far as it is known."""
        return engine_bytes(self.engine.facts) or self.reckoned_bytes or self.file.size_bytes

    @property
    def goes_on(self) -> bool:
        """Whether its next process goes on with what another one has begun."""
        return any(entry.begun_ns for entry in self.engine.journal)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.engine.name

    def stop_for_a_while(self) -> None:
        """Stop its process where it is; it can be killed nevertheless."""
        if self._run is not None:
            self._run.stop_for_a_while()

    def go_on(self) -> None:
        """Let a process that was stopped go on; no effect on one that runs."""
        if self._run is not None:
            self._run.go_on()

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

    def renew(self, file: ModelFile) -> None:
        """Open another file from now on. For a model that has no process and no work."""
        engine = self.engine
        self.file = file.sized()
        engine.path, engine.modified_s = file.path, file.modified_s()
        engine.own_adapters = file.adapters
        engine.transcribes = is_speech_file(file.path)
        # What the former file's engine told.
        engine.facts = {}

    def start(self, *, beside_bytes: int) -> None:
        """Start the process of a model that waits. beside_bytes: what the engines of other models
        take.
        """
        engine = self.engine
        engine.advance(EngineEvent.START)
        # A completion that was begun has to fit into the pool in which it began.
        if not self.goes_on:
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
        engine, run = self.engine, self._run
        if engine.state not in SERVING or run is None or not (cut or engine.has_run_out):
            return False
        was_yielding = engine.state is EngineState.YIELDING
        running = [entry.rid for entry in engine.journal if engine.has_sent(entry.rid)]
        engine.advance(EngineEvent.SUSPEND)
        engine.suspended_for = reason
        # What is asked from here on waits for the next process.
        engine.disconnect()
        run.ignore()
        if engine.loaded.done():
            engine.loaded = asyncio.get_running_loop().create_future()
        if was_yielding or running:
            log.info("model gives way model=%s cut=%d", engine.name, len(running))
            engine.fail_calls(EngineFailed(f"{engine.name} gave way; try again"), own=True)
            self._events.engine_gave_way(engine)
        run.stop(*(CancelOrder(rid=rid) for rid in running))
        if engine.is_wanted:
            self.load()
        self._changed()
        return True

    def unload(self, error: UmadError) -> None:
        """End the engine: its requests end with `error`, its process is stopped, then killed."""
        engine = self.engine
        before = engine.state
        if before in (EngineState.STOPPED, EngineState.DRAINING):
            return
        engine.advance(EngineEvent.UNLOAD)
        self._end_requests(error)
        if before in SERVING and self._run is not None:
            self._run.stop()
        elif before not in (EngineState.SUSPENDING, EngineState.REOPENING):
            self.kill()
        self._changed()

    async def ended(self) -> None:
        """Wait until the process is gone for good. Bounded by `STOP_S` and the kernel."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def kill(self) -> None:
        """End the process now, if there is one."""
        if self._run is not None:
            self._run.kill()

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
                error = await self._one_process()
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

    async def _one_process(self) -> UmadError | None:
        """Start a process and follow it to its end. Returns None where another one is to be
        started, else the reason why not. Raises `OSError` where it cannot be started.
        """
        engine = self.engine
        self._watchdog.listens_anew()
        engine.load_share = None
        self._run = run = EngineRun(
            engine,
            clock=self._clock,
            events=self._events,
            watchdog=self._watchdog,
            ready=self._ready,
        )
        try:
            status = await run.to_its_end(
                self.file, self._launcher, self._inherited, load_s=self._limits.load_s
            )
        finally:
            self._run = None
        death = Death(
            status=status,
            was_ready=engine.state in SERVING,
            now_ns=self._clock.now_ns(),
            fatal=run.fatal,
            last_words=run.last_words,
        )
        return self._died(death)

    # -- news -----------------------------------------------------------------------------------

    def _ready(self, ready: EngineReady) -> None:
        engine, run = self.engine, self._run
        if engine.state is not EngineState.STARTING or run is None:
            return
        engine.facts = ready.facts
        self._crashes.ready()
        self.cool_down.over()
        engine.advance(EngineEvent.READY)
        engine.ready_ns = engine.used_ns = self._clock.now_ns()
        engine.load_ns = engine.ready_ns - run.began_ns
        log.info(
            "engine ready model=%s pid=%s restarts=%d", engine.name, engine.pid, engine.restarts
        )
        engine.connect(run.sender)
        self._events.engine_ready(engine)
        engine.suspended_for = engine.gave_up = ""
        if engine.owes_news:
            self._watchdog.watch()
        if not engine.loaded.done():
            engine.loaded.set_result(None)
        self._changed()

    def _hangs(self, silent_s: float) -> None:
        log.error("engine hangs model=%s silent_s=%.1f", self.engine.name, silent_s)
        if self._run is not None:
            words = f"it said nothing for {silent_s:.1f} s and was killed"
            self._run.fail(Fatal(code=EngineFailed.code, message=words))

    def _died(self, death: Death) -> UmadError | None:
        """Note a death. Returns None where another process is to be started, else the reason why
        not.
        """
        engine = self.engine
        was_yielding = engine.state is EngineState.YIELDING
        engine.advance(EngineEvent.DIED)
        if engine.state is EngineState.STOPPED:
            log.info("engine stopped model=%s", engine.name)
            return None
        if was_yielding:
            # Its room is another model's now. What it had to do waits for the next process.
            log.warning("engine died while it gave way model=%s how=%s", engine.name, death.how)
            engine.fail_calls(EngineFailed(f"{engine.name} gave way; try again"), own=True)
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
