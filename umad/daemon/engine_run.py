"""Runs one process of an engine: starts it, listens to it, ends it, and says how it ended.

What the process says of the work goes to the engine and to `EngineEvents`; that its model is ready
goes to the keeper. Not: whether another process follows (`umad.daemon.keeper`), nor the bytes of
the link (`umad.daemon.engine_link`).
Owner: the keeper's task, for as long as the process lives; all on the daemon's loop.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from umad.clock import Clock
from umad.daemon.engine import Engine, EngineSender
from umad.daemon.engine_events import EngineEvents
from umad.daemon.engine_link import EngineLink
from umad.daemon.engine_process import EngineProcess, Launcher
from umad.daemon.engine_state import EngineState
from umad.daemon.names import ModelFile
from umad.daemon.watchdog import Watchdog
from umad.errors import ModelLoadFailed
from umad.protocol.link import (
    EngineReady,
    EngineReply,
    Fatal,
    FromEngine,
    LoadProgress,
    StepReport,
    Stop,
    ToEngine,
)

log = logging.getLogger(__name__)

# After `Stop` an engine frees its memory; one that takes longer is killed.
STOP_S = 10.0


class EngineRun:
    """One process of an engine, from its start to its end."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        events: EngineEvents,
        watchdog: Watchdog,
        ready: Callable[[EngineReady], None],
    ) -> None:
        """ready: called when the process says that its model is ready."""
        self._engine = engine
        self._events = events
        self._watchdog = watchdog
        self._ready = ready
        self.began_ns = clock.now_ns()
        # Why it ends, as it said itself or as it was told.
        self.fatal: Fatal | None = None
        # The last line that it wrote.
        self.last_words = ""
        # The link exists before the process, because the first message may come at once.
        self._link = EngineLink(self._heard, self._heard_tokens, clock.now_ns)
        self._process: EngineProcess | None = None
        self._is_killed = False
        # What it still says is not heard: its work is another process's by now.
        self._is_deaf = False

    @property
    def sender(self) -> EngineSender:
        """The sending end of its link."""
        return self._link

    async def to_its_end(
        self, file: ModelFile, launcher: Launcher, inherited: tuple[int, ...], *, load_s: float
    ) -> int | None:
        """Start the process, follow it to its end, reap it; return its exit status. Once.

        inherited: descriptors that it gets beside its link. load_s: how long its load may take.
        Raises `OSError` where it cannot be started.
        """
        engine, link = self._engine, self._link
        try:
            process = await EngineProcess.linked(
                engine.name, link, lambda fd: launcher(file, fd), inherited
            )
            self._process = process
            engine.pid = process.pid
            log.info("engine started model=%s pid=%d", engine.name, process.pid)
            if self._is_killed:  # while it was being started
                process.kill()
            too_slow = asyncio.get_running_loop().call_later(load_s, self._load_timed_out, load_s)
            try:
                await process.ends_with(link.lost)
            finally:
                too_slow.cancel()
                status = await process.end()
                self.last_words = process.last_words
        finally:
            link.close()
        return status

    def stop(self, *orders: ToEngine) -> None:
        """Let the process end by itself after these orders, and kill it where that takes long."""
        self._link.send(*orders, Stop())
        asyncio.get_running_loop().call_later(STOP_S, self.kill)

    def ignore(self) -> None:
        """Hear nothing any more of what the process says."""
        self._is_deaf = True

    def fail(self, fatal: Fatal) -> None:
        """Kill the process, and give `fatal` as the reason."""
        self.fatal = fatal
        self.kill()

    def kill(self) -> None:
        """End the process now; no effect once it has ended."""
        self._is_killed = True
        if self._process is not None:
            self._process.kill()

    def stop_for_a_while(self) -> None:
        """Stop the process where it is; it can be killed nevertheless."""
        if self._process is not None:
            self._process.stop_for_a_while()

    def go_on(self) -> None:
        """Let a process that was stopped go on; no effect on one that runs."""
        if self._process is not None:
            self._process.go_on()

    def _load_timed_out(self, load_s: float) -> None:
        if self._engine.state is EngineState.STARTING:
            words = f"it was not ready within {load_s:g} s"
            self.fail(Fatal(code=ModelLoadFailed.code, message=words))

    # -- news -----------------------------------------------------------------------------------

    def _heard_tokens(self, unpacked: Sequence[Any], now_ns: int) -> None:
        if self._is_deaf:
            return
        self._watchdog.heard(now_ns)
        self._events.engine_tokens(self._engine, unpacked, now_ns)

    def _heard(self, message: FromEngine, now_ns: int) -> None:
        if self._is_deaf:
            return
        engine = self._engine
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
                self.fatal = message
