"""Keeps one engine alive: starts its process, watches it, starts it again at once when it dies.

`umad.daemon.crashes` decides when there were too many crashes: the model is then `failed` until it
is loaded again. A process that has work but says nothing for `limits.stall_s`
(`umad.daemon.watchdog`) is killed, which counts as a crash. Not: the table of models
(`umad.daemon.supervisor`). Owner: one task per engine on the daemon's loop; `load`, `unload` and
`kill` are called from the same loop.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Any

from umad.clock import Clock
from umad.config import LimitSettings
from umad.daemon.crashes import CrashRecord, Death
from umad.daemon.engine import Engine
from umad.daemon.engine_events import EngineEvents
from umad.daemon.engine_link import EngineLink
from umad.daemon.engine_process import EngineProcess, Launcher
from umad.daemon.engine_state import EngineEvent, EngineState
from umad.daemon.names import ModelFile
from umad.daemon.watchdog import Watchdog
from umad.errors import EngineFailed, ModelLoadFailed, ProtocolViolation, UmadError
from umad.protocol.link import EngineReady, EngineReply, Fatal, FromEngine, StepReport, Stop

log = logging.getLogger(__name__)

# After `Stop` an engine frees its memory; one that takes longer is killed.
STOP_S = 10.0
# What the engine wrote before its death is still to be read. A link that stays open longer is held
# by another process.
LAST_WORDS_S = 2.0
# Most messages of an engine that has no work: the news of steps that were under way, and a few at
# load.
MOST_IDLE_WORDS = 10_000


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
    ) -> None:
        """inherited: descriptors that every process gets beside its link."""
        self.engine = engine
        self._file = file
        self._launcher = launcher
        self._limits = limits
        self._clock = clock
        self._events = events
        self._inherited = inherited
        self._crashes = CrashRecord(engine.name)
        self._last_words = ""
        self._process: EngineProcess | None = None
        self._link: EngineLink | None = None
        self._fatal: Fatal | None = None
        self._n_idle = 0
        self._watchdog = Watchdog(engine, clock=clock, stall_s=limits.stall_s, hangs=self._hangs)
        engine.watch = self._watchdog.watch
        self._task = self._begin()

    def load(self) -> None:
        """Start a model again that failed or was suspended; no effect on one that lives."""
        engine = self.engine
        match engine.state:
            case EngineState.FAILED:
                engine.advance(EngineEvent.LOAD)
                engine.error = None
                engine.loaded = asyncio.get_running_loop().create_future()
                self._crashes = CrashRecord(engine.name)
                self._task = self._begin()
            case EngineState.SUSPENDED | EngineState.SUSPENDING:
                log.info("suspended model is asked for model=%s", engine.name)
                was_gone = engine.state is EngineState.SUSPENDED
                engine.advance(EngineEvent.LOAD)
                self._crashes = CrashRecord(engine.name)
                if was_gone:
                    self._task = self._begin()
            case _:
                pass

    def suspend(self, reason: str) -> bool:
        """End the process of an idle engine; `load` starts it again. Return False for an engine
        that is not ready or not idle.

        reason: shown to people while it is suspended.
        """
        engine = self.engine
        if engine.state is not EngineState.READY or not engine.is_idle or self._link is None:
            return False
        engine.advance(EngineEvent.SUSPEND)
        engine.suspended_for = reason
        # What is asked from here on waits for the next process.
        engine.disconnect()
        engine.loaded = asyncio.get_running_loop().create_future()
        self._link.send(Stop())
        asyncio.get_running_loop().call_later(STOP_S, self._kill_suspended, self._process)
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
        if before is EngineState.READY and self._link is not None:
            self._link.send(Stop())
            asyncio.get_running_loop().call_later(STOP_S, self.kill)
        elif before not in (EngineState.SUSPENDING, EngineState.REOPENING):
            self.kill()

    async def ended(self) -> None:
        """Wait until the process is gone for good. Bounded by `STOP_S` and the kernel."""
        await asyncio.wait({self._task})

    def kill(self) -> None:
        """End the process now, if there is one."""
        if self._process is not None:
            self._process.kill()

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

    def _goes_on(self, error: UmadError | None) -> bool:
        """Act on a death; return whether another process is to be started."""
        engine = self.engine
        engine.pid = None
        engine.disconnect()
        if engine.state is EngineState.STOPPED:
            return False
        if engine.state in (EngineState.SUSPENDED, EngineState.STARTING):
            self._events.engine_suspended(engine)
            # A request may have come while the process was ending.
            return engine.state is EngineState.STARTING
        self._events.engine_died(engine)
        if error is None:
            engine.restarts += 1
            engine.advance(EngineEvent.RESTART)
            return True
        engine.advance(EngineEvent.GIVE_UP)
        engine.error = error
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
        self._n_idle = 0
        # The link exists before the process, because the first message may come at once.
        self._link = link = EngineLink(self._heard, self._heard_tokens, self._clock.now_ns)
        try:
            self._process = process = await self._start(link)
            engine.pid = process.pid
            log.info("engine started model=%s pid=%d", engine.name, process.pid)
            if engine.state is EngineState.DRAINING:  # unloaded while it was being started
                process.kill()
            try:
                await self._see_through(link, process)
            finally:
                status = await process.end()
                self._last_words = process.last_words
        finally:
            self._process = self._link = None
            link.close()
        return status

    async def _start(self, link: EngineLink) -> EngineProcess:
        """Connect `link` to a new process. Raises `OSError` where the process cannot be started."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            await loop.create_unix_connection(lambda: link, sock=ours)
            command = self._launcher(self._file, theirs.fileno())
            return await EngineProcess.start(self.engine.name, command, theirs, self._inherited)

    async def _see_through(self, link: EngineLink, process: EngineProcess) -> None:
        """Return when link and process have ended, or one has and the other took too long."""
        loop = asyncio.get_running_loop()
        too_slow = loop.call_later(self._limits.load_s, self._load_timed_out)
        exited = asyncio.create_task(process.wait(), name=f"exit of {self.engine.name}")
        ends: set[asyncio.Future[Any]] = {exited, link.lost}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(ends, timeout=LAST_WORDS_S)
        finally:
            too_slow.cancel()
            exited.cancel()

    def _load_timed_out(self) -> None:
        if self.engine.state is EngineState.STARTING:
            self._fatal = Fatal(
                code=ModelLoadFailed.code,
                message=f"it was not ready within {self._limits.load_s:g} s",
            )
            self.kill()

    # -- news -----------------------------------------------------------------------------------

    def _heard_tokens(self, unpacked: Sequence[Any], now_ns: int) -> None:
        engine = self.engine
        engine.last_news_ns = now_ns
        self._check_is_news()
        self._events.engine_tokens(engine, unpacked, now_ns)

    def _heard(self, message: FromEngine, now_ns: int) -> None:
        engine = self.engine
        engine.last_news_ns = now_ns
        self._check_is_news()
        match message:
            case StepReport():
                self._events.engine_report(engine, message, now_ns)
            case EngineReply():
                engine.replied(message)
            case EngineReady():
                self._ready(message)
            case Fatal():
                self._fatal = message

    def _check_is_news(self) -> None:
        """Raise `ProtocolViolation` for an engine that keeps talking while nobody waits."""
        self._n_idle = self._n_idle + 1 if self.engine.is_idle else 0
        if self._n_idle > MOST_IDLE_WORDS:
            raise ProtocolViolation("an engine without work keeps sending messages")

    def _ready(self, ready: EngineReady) -> None:
        engine = self.engine
        link = self._link
        if engine.state is not EngineState.STARTING or link is None:
            return
        engine.facts = ready.facts
        self._crashes.ready()
        engine.advance(EngineEvent.READY)
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
            was_ready=engine.state is EngineState.READY,
            now_ns=self._clock.now_ns(),
            fatal=self._fatal,
            last_words=self._last_words,
        )
        engine.advance(EngineEvent.DIED)
        if engine.state is EngineState.STOPPED:
            log.info("engine stopped model=%s", engine.name)
            return None
        if engine.state in (EngineState.SUSPENDED, EngineState.STARTING):
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
