"""Runs the daemon from its start to its end: socket, engines, signals, drain.

`run_daemon` is the process. Not: one connection (`umad.daemon.session`) or one engine
(`umad.daemon.keeper`). One thread, one loop; work that blocks (memory facts, a CSV row) goes to a
thread of the loop's pool.

The first SIGTERM, SIGINT or SIGHUP (its terminal has closed; not with nohup) begins the drain: new
work is refused, running requests may end within `drain_s`, then they are cancelled. The second one
kills the engines and ends the process at once.

A service manager may have made the socket (`umad.daemon.activation`), and is told how the daemon is
(`umad.daemon.notify`).
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from umad.clock import Clock, MonotonicClock
from umad.config import Settings, guarded_lanes
from umad.daemon.activation import handed_socket
from umad.daemon.adapters import AdapterNames
from umad.daemon.admission import Admission
from umad.daemon.app_shares import AppShares
from umad.daemon.auto_pull import AutoPull
from umad.daemon.bandwidth import Budget
from umad.daemon.companion import close_companions, open_companions
from umad.daemon.completions import Completions
from umad.daemon.connections import TOOLS, OpenConnections
from umad.daemon.descriptors import fitting_connections
from umad.daemon.device_board import DeviceBoard
from umad.daemon.drafts import DraftFiles
from umad.daemon.ending import Ending, unless
from umad.daemon.engine_process import Launcher
from umad.daemon.estimates import Estimates
from umad.daemon.fanout import Fanout
from umad.daemon.forgetting import Forgetting
from umad.daemon.job_verbs import JobVerbs
from umad.daemon.launcher import engine_launcher
from umad.daemon.load_pauses import Interactive
from umad.daemon.memory import ProcessMemory
from umad.daemon.names import ModelNames, folders_library
from umad.daemon.needs import Needs
from umad.daemon.notify import Notifier, daemon_words
from umad.daemon.other_work import other_work
from umad.daemon.pressure import MemoryGuard
from umad.daemon.pressure_sources import pressure_source
from umad.daemon.room import Work
from umad.daemon.rotation import RotationRules
from umad.daemon.saved_sessions import SavedSessions
from umad.daemon.scorecard_log import write_scorecards
from umad.daemon.session import Session
from umad.daemon.socket_file import BACKLOG, SocketFile
from umad.daemon.socket_places import claim_socket
from umad.daemon.speech_models import SpeechModels
from umad.daemon.stored_models import StoredModels
from umad.daemon.stored_rows import StoredRows
from umad.daemon.supervisor import LoadingRules, Supervisor
from umad.daemon.traced import PARTS
from umad.daemon.verbs import DaemonVerbs
from umad.errors import UmadError
from umad.exit_codes import INTERRUPTED
from umad.log_file import log_file_of
from umad.memory_pressure import MemoryReading
from umad.metrics.scorecard import Scorecard
from umad.models.library import Library
from umad.stderr_log import StderrLog
from umad.tracing import begin_if_asked

log = logging.getLogger(__name__)

# Time to read the memory of the processes once more and to write one row.
LAST_SCORECARD_S = 2.0
# New objects between collections of the youngest generation, then the collections of one generation
# between those of the next older one. Tokens make no cycles, and Python's own 700 would search for
# nothing. Closed connections make cycles and are old by then, so the oldest is searched as often.
GC_THRESHOLDS = (5_000, 5, 3)
# `SocketFile` or the service manager removes the socket's file, not the loop (since Python 3.13).
_KEEP_FILE: dict[str, Any] = {"cleanup_socket": False}


def _unlimited() -> None:
    """No budget: background work may move as many bytes as it can."""


def run_daemon(
    settings: Settings,
    *,
    ready: Callable[[], None] | None = None,
    launcher: Launcher | None = None,
    budget: Callable[[], Budget | None] = _unlimited,
    companions: Sequence[tuple[str, Sequence[str]]] = (),
    library: Library | None = None,
) -> int:
    """Serve until told to stop; return the exit code.

    ready: called once every model is loaded. budget: settles the ΣBMT budget. It is called once the
    socket is ours and before anything is started, and it may block (it may probe the machine).
    companions: (name, command) of front ends to keep running beside the daemon.
    library: the models that may be loaded by name; by default those of the configuration's folders.

    Raises the `UmadError` that keeps the daemon from starting: another daemon has the socket
    (`AlreadyRunning`), nobody can have it (`BadConfig`), or a model cannot be loaded.
    """
    handed = handed_socket(os.environ, os.getpid())
    notifier = Notifier.of(os.environ, os.getpid())
    socket_file = claim_socket(settings.socket, os.environ, sys.platform, handed)
    log_file = log_file_of(settings.logging)
    stderr = StderrLog(after_line=log_file.turn_if_full)
    write_trace = begin_if_asked("daemon", PARTS, os.environ)

    def say_ready() -> None:
        # These objects stay for the daemon's life. Searching them again would delay a step's
        # tokens.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        stderr.say(f"umad ready socket={socket_file.path} model={','.join(daemon.models)}")
        if ready is not None:
            ready()

    try:
        log_file.open()
        stderr.open(settings.logging.level, verbose=settings.logging.verbose)
        connections = fitting_connections(settings.limits.connections, besides=TOOLS)
        settings = replace(settings, limits=replace(settings.limits, connections=connections))
        library = library or folders_library(settings.model_folders)
        drafts = DraftFiles(settings, ModelNames(settings.models, library=library))
        settled = budget()
        if settled is not None:
            log.info("traffic budget gbps=%.2f measured=%s", settled.gbps, settled.measured)
        with (
            DeviceBoard() as board,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            daemon = Daemon(
                settings,
                socket_file,
                launcher or engine_launcher(settings, budget=settled, board=board, drafts=drafts),
                budget=settled,
                inherited=(board.fd,),
                board=board,
                companions=companions,
                library=library,
                notifier=notifier,
            )
            return runner.run(daemon.run(say_ready))
    finally:
        write_trace()
        socket_file.close()
        stderr.close()
        log_file.close()


def _folder(path: str | None) -> Path | None:
    return None if path is None else Path(path).expanduser().absolute()


class Daemon:
    """All parts of one daemon, connected. Made inside or outside of the loop, run once in it."""

    def __init__(
        self,
        settings: Settings,
        socket_file: SocketFile,
        launcher: Launcher,
        clock: Clock | None = None,
        *,
        budget: Budget | None = None,
        inherited: tuple[int, ...] = (),
        board: Interactive | None = None,
        companions: Sequence[tuple[str, Sequence[str]]] = (),
        library: Library | None = None,
        pressure: Callable[[], MemoryReading] | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        """budget: shown on the scorecard. inherited: descriptors that engines inherit. board:
        shows interactive work, for which loads rest. pressure: reads the machine's memory, as the
        platform tells it unless given. notifier: tells the service manager.
        """
        clock = clock or MonotonicClock()
        library = library or folders_library(settings.model_folders)
        names = ModelNames(settings.models, library=library)
        drafts = DraftFiles(settings, names)
        # The first look at all folders, which may take long on a slow disk, is not the loop's.
        names.all()
        gbps = None if budget is None else budget.gbps
        scorecard = Scorecard(latency_cap=settings.latency_cap, budget_gbps=gbps)
        self._settings = settings
        self._companions = companions
        self._clock = clock
        self._socket_file = socket_file
        admission = Admission.of(settings)
        shares = AppShares(settings.limits)
        self._completions = Completions(
            admission=admission, shares=shares, scorecard=scorecard, clock=clock
        )
        self._other = other_work(
            admission=admission,
            shares=shares,
            scorecard=scorecard,
            clock=clock,
            limits=settings.limits,
            rids=self._completions.rids,
            library=library,
        )
        self._supervisor = Supervisor(
            launcher=launcher,
            limits=settings.limits,
            clock=clock,
            events=Fanout(completions=self._completions, scorecard=scorecard, clock=clock),
            inherited=inherited,
            names=names,
            rules=LoadingRules(
                lazy_load=settings.lazy_load,
                keep_alive=settings.keep_alive,
                rotation=RotationRules(
                    max_models=settings.max_models,
                    interactive=guarded_lanes(settings.qos),
                    load_s=settings.limits.load_s,
                ),
            ),
            needs=Needs(settings, drafts),
            board=board,
        )
        self._jobs = JobVerbs(
            library=library,
            supervisor=self._supervisor,
            most_at_once=settings.limits.jobs,
            clock=clock,
        )
        adapters = AdapterNames(self._supervisor, names)
        self._guard: MemoryGuard | None = None
        if settings.memory_guard:
            read = pressure or pressure_source()
            self._guard = MemoryGuard(self._supervisor, read=read, clock=clock)
        self._verbs = DaemonVerbs(
            supervisor=self._supervisor,
            completions=self._completions,
            other=self._other,
            speech=SpeechModels(names),
            forgetting=Forgetting(
                supervisor=self._supervisor,
                admission=admission,
                saved=SavedSessions(_folder(settings.engine.session_dir)),
                next_rid=lambda: next(self._completions.rids),
            ),
            estimates=Estimates(settings, self._supervisor, adapters, drafts),
            jobs=self._jobs,
            stored=StoredModels(
                library=library, supervisor=self._supervisor, completions=self._completions
            ),
            adapters=adapters,
            auto_pull=AutoPull(self._jobs, library, settings),
            stored_rows=StoredRows(names, library, is_on=settings.lazy_load),
            scorecard=scorecard,
            memory=ProcessMemory(clock=clock),
            guard=self._guard,
            clock=clock,
        )
        self._sessions: set[Session] = set()
        self._connections = OpenConnections(settings.limits.connections)
        self._notifier = notifier or Notifier(None)
        self._is_loaded = False
        self._told_to_stop = asyncio.Event()
        self._told_twice = asyncio.Event()
        self._ending = Ending(
            completions=self._completions,
            other=self._other,
            supervisor=self._supervisor,
            sessions=self._sessions,
            at_once=self._told_twice,
        )

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that are loaded or loading, in order."""
        return tuple(engine.name for engine in self._supervisor)

    async def run(self, ready: Callable[[], None]) -> int:
        """Serve until told to stop; return the exit code. Raises the error of a model that failed
        to load.
        """
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._signalled, number)
        # The loop calls listen() again, and would shorten the queue to a hundred without `backlog`.
        listener = await loop.create_unix_server(
            self._new_session, sock=self._socket_file.sock, backlog=BACKLOG, **_KEEP_FILE
        )
        attending = asyncio.create_task(self._notifier.attend(self._words), name="notifier")
        drained = asyncio.Event()
        writer = asyncio.create_task(
            write_scorecards(self._verbs.scorecard, self._settings.logging, drained),
            name="scorecards",
        )
        companions = open_companions(self._companions, self._clock)
        looking = asyncio.create_task(self._jobs.run(), name="jobs")
        guarding = None
        if self._guard is not None:
            guarding = asyncio.create_task(self._guard.run(), name="memory guard")
        try:
            if await unless(self._told_to_stop, self._load_models()):
                self._is_loaded = True
                ready()
                self._notifier.ready(self._words())
                preloading = asyncio.create_task(self._preload(), name="preload")
                await self._told_to_stop.wait()
                preloading.cancel()
            self._notifier.stopping(self._words())
            if self._socket_file.is_handed:
                # The service manager listens on: who comes now waits for the next daemon.
                listener.close()
            if guarding is not None:
                guarding.cancel()
            await self._ending.drain(self._settings.limits.drain_s)
            drained.set()
            await asyncio.wait({writer}, timeout=LAST_SCORECARD_S)
        finally:
            writer.cancel()
            if guarding is not None:
                guarding.cancel()
            self._verbs.draining = True
            looking.cancel()
            await close_companions(companions)
            await self._ending.close()
            await self._jobs.close()
            listener.close()
            attending.cancel()
        return INTERRUPTED if self._told_twice.is_set() else 0

    def _new_session(self) -> Session:
        return Session(
            limits=self._settings.limits,
            completions=self._completions,
            verbs=self._verbs,
            sessions=self._sessions,
            connections=self._connections,
            own_uid=os.getuid(),
        )

    async def _load_models(self) -> None:
        if self._settings.engine.ctx_size is None:
            # A pool is as large as memory allows beside the models before it.
            for model in self._settings.models:
                await self._supervisor.load(model)
            return
        await asyncio.gather(*map(self._supervisor.load, self._settings.models))

    async def _preload(self) -> None:
        """Load models that nobody waits for yet, one after the other, where they have room."""
        for model in self._settings.preload:
            try:
                await self._supervisor.load(model, work=Work.NONE)
            except UmadError as error:
                log.warning("model cannot be preloaded model=%s reason=%s", model, error.message)

    def _words(self) -> str:
        return daemon_words(
            self.models,
            len(self._completions) + len(self._other),
            is_loaded=self._is_loaded,
            is_ending=self._told_to_stop.is_set(),
        )

    # -- the end ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin to drain: running requests may end, and no new ones begin."""
        self._verbs.draining = True
        self._jobs.drain()
        self._told_to_stop.set()

    def stop_at_once(self) -> None:
        """End everything without waiting."""
        self.stop()
        self._told_twice.set()
        self._supervisor.kill()

    def _signalled(self, number: int) -> None:
        name, live = signal.Signals(number).name, len(self._completions) + len(self._other)
        if self._told_to_stop.is_set():
            log.warning("stopping at once signal=%s live=%d", name, live)
            self.stop_at_once()
        else:
            log.info("draining signal=%s live=%d", name, live)
            self.stop()
