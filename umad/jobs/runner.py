"""Starts jobs, at most some at once, finds those whose process has died, and ends unwanted ones.

    runner.submit(order, owner=…)    a job for the book
    runner.tick()                    look at all that are not over, and do what is due
    runner.cancel(id)                it ends, or never begins

A process of a job is known by its lock (`umad.jobs.lock`), so it makes no difference whether this
runner has started it, one of a daemon that is gone, or one of another daemon: each looks after all
of them, and only one can start a job. A process that has ended without saying how is started again,
a bounded number of times. One that is to end gets SIGTERM, and SIGKILL after `KILL_AFTER_S`.

Loads have no process: `tick` hands them to the daemon, which holds their locks until `end_load`.
Not: when to look (`umad.daemon.job_verbs`). Blocks for the disk. Owner: one thread.
"""

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.clock import Clock
from umad.errors import EngineFailed, UmadError
from umad.isolated import python_module
from umad.jobs.book import JobBook
from umad.jobs.job import Job, JobEvent, JobKind, JobState, Order, error_map
from umad.jobs.lock import JobLock
from umad.jobs.surroundings import settled
from umad.units import NS_PER_S

log = logging.getLogger(__name__)

KILL_AFTER_S = 5.0
WORKER = "umad.jobs.worker"
_LAST_WORDS_BYTES = 4096
_WORDS_CHARS = 400
_NOBODYS_FOLDER = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedWorker:
    """What a job's process needs to be told."""

    # The store's.
    folder: Path
    job_id: str
    run: int
    # Its copy holds the lock.
    lock_fd: int
    # The file for what it writes to stderr.
    words: Path


# Starts the process of a job.
Starter = Callable[[StartedWorker], "subprocess.Popen[bytes]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look has found and done."""

    # Jobs that are not over.
    live: tuple[Job, ...]
    # Loads that are now to be carried out, each once; and those under way that are to end.
    loads: tuple[Job, ...]
    unwanted_loads: tuple[Job, ...] = ()


def start_worker(told: StartedWorker) -> "subprocess.Popen[bytes]":
    """The real process. Its session is its own, so that it outlives its daemon and Ctrl-C."""
    command = python_module(
        WORKER,
        f"--folder={told.folder}",
        f"--job={told.job_id}",
        f"--run={told.run}",
        f"--lock={told.lock_fd}",
    )
    with open(told.words, "wb", opener=_private) as words:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            cwd=_NOBODYS_FOLDER,
            env=settled(os.environ),
            pass_fds=(told.lock_fd,),
            start_new_session=True,
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


class JobRunner:
    """Looks after the jobs of one book."""

    def __init__(
        self,
        folder: Path,
        *,
        most_at_once: int,
        clock: Clock,
        start: Starter = start_worker,
        signal_process: Callable[[int, int], None] = os.kill,
    ) -> None:
        """folder: the store's. most_at_once: of pulls and quantizations; with 0 none starts."""
        self._folder = folder.absolute()
        self.book = JobBook(self._folder)
        self._most_at_once = most_at_once
        self._clock = clock
        self._start = start
        self._signal = signal_process
        # Processes that this runner has started, to be reaped.
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        # Locks of loads, which are carried out in this process.
        self._loads: dict[str, int] = {}
        # When SIGTERM was sent, and to which run.
        self._asked_ns: dict[tuple[str, int], int] = {}

    def close(self) -> None:
        """Look after nothing any more. Processes live on; loads are left for the next runner."""
        for child in self._children.values():
            if child.poll() is None:
                # It is not waited for: else Python warns of a process that was forgotten.
                child.returncode = 0
        self._children.clear()
        for fd in self._loads.values():
            os.close(fd)
        self._loads.clear()
        self.book.close()

    def begin_nothing(self) -> None:
        """Start no job any more. Any thread."""
        self._most_at_once = 0

    def submit(self, order: Order, *, owner: str) -> tuple[Job, bool]:
        """As `JobBook.submit`. `tick` starts it."""
        return self.book.submit(order, owner=owner)

    def cancel(self, job_id: str) -> Job:
        """Want a job to end: one that waits is over at once, one that runs soon. Raises
        `UnknownRequest`.
        """
        job = self.book.unwanted(job_id)
        if not job.state.is_over:
            self._press(job)
            job = self.book.get(job_id)
        return job

    def end_load(
        self, job: Job, *, result: Mapping[str, Any] | None = None, error: UmadError | None = None
    ) -> None:
        """Note how a load ended that `tick` has handed out: as cancelled where neither is given."""
        try:
            if error is None and result is None:
                self.book.end(job.id, job.run, JobEvent.CANCEL)
            elif error is not None:
                self.book.end(job.id, job.run, JobEvent.FAIL, error=error_map(error))
            else:
                self.book.end(job.id, job.run, JobEvent.DONE, result=result)
        finally:
            fd = self._loads.pop(job.id, None)
            if fd is not None:
                os.close(fd)

    def tick(self) -> Look:
        """Look at every job that is not over."""
        self._reap()
        for job in self.book.live():
            if job.state is JobState.RUNNING and job.id not in self._loads:
                self._see_to(job)
        loads = []
        for job in self.book.live():
            if job.state is JobState.QUEUED:
                started = self._begin(job)
                if started is not None and started.kind is JobKind.LOAD:
                    loads.append(started)
        live = self.book.live()
        still = {(job.id, job.run) for job in live}
        self._asked_ns = {one: at for one, at in self._asked_ns.items() if one in still}
        unwanted = tuple(job for job in live if job.is_unwanted and job.id in self._loads)
        return Look(live=live, loads=tuple(loads), unwanted_loads=unwanted)

    # -- one job --------------------------------------------------------------------------------

    def _see_to(self, job: Job) -> None:
        """Look whether the process of a job lives, and end it where it is to end."""
        if self._lock(job).is_held():
            if job.is_unwanted:
                self._press(job)
            return
        # It may have told its end between the two looks; then nothing is noted.
        words = _last_words(self.book.words_path(job.id))
        if self.book.died(job.id, job.run, words=words):
            log.warning("job's process is gone job=%s run=%d words=%s", job.id, job.run, words)

    def _begin(self, job: Job) -> Job | None:
        """Start a job that waits; None where it is not its turn, or not this runner's."""
        if not self._most_at_once:
            return None
        fd = self._lock(job).take()
        if fd is None:
            return None
        kept = False
        try:
            claimed = self.book.claim(job.id, most_at_once=self._most_at_once)
            if claimed is None:
                return None
            if claimed.kind is JobKind.LOAD:
                self._loads[job.id] = fd
                kept = True
            else:
                self._start_process(claimed, fd)
            return claimed
        finally:
            if not kept:
                # A process that was started has its own copy.
                os.close(fd)

    def _start_process(self, job: Job, fd: int) -> None:
        told = StartedWorker(
            folder=self._folder,
            job_id=job.id,
            run=job.run,
            lock_fd=fd,
            words=self.book.words_path(job.id),
        )
        try:
            self._children[job.id] = child = self._start(told)
        except OSError as error:
            message = f"its process cannot be started: {error.strerror or error}"
            why = {"code": EngineFailed.code, "message": message, "field": None}
            self.book.end(job.id, job.run, JobEvent.FAIL, error=why)
            return
        log.info("job started job=%s what=%s pid=%d", job.id, job.order.what, child.pid)

    def _press(self, job: Job) -> None:
        """Have the process of a running job end."""
        pid = self._pid_of(job)
        if pid is None or job.kind is JobKind.LOAD:
            return  # it has only just begun, and looks by itself whether it is wanted
        now_ns = self._clock.now_ns()
        asked_ns = self._asked_ns.setdefault((job.id, job.run), now_ns)
        waited_ns = now_ns - asked_ns
        if 0 < waited_ns < KILL_AFTER_S * NS_PER_S:
            return
        # The lock is held, so the process lives, and the number is no other one's.
        if self._lock(job).is_held():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._signal(pid, signal.SIGKILL if waited_ns else signal.SIGTERM)

    def _pid_of(self, job: Job) -> int | None:
        child = self._children.get(job.id)
        if child is not None and child.poll() is None:
            return child.pid
        return job.pid

    def _lock(self, job: Job) -> JobLock:
        return JobLock(self.book.folder, job.id)

    def _reap(self) -> None:
        ended = [job_id for job_id, child in self._children.items() if child.poll() is not None]
        for job_id in ended:
            del self._children[job_id]


def _last_words(path: Path) -> str:
    """The last line that a process has written, for an error; empty where it wrote none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LAST_WORDS_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    said = next((one.strip() for one in reversed(lines) if one.strip()), "")
    return said[:_WORDS_CHARS]
