"""Processes of jobs that do what a test says. They hold the real locks; none of them exists."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from umad.clock import Clock
from umad.jobs.book import JobBook
from umad.jobs.job import JobEvent
from umad.jobs.runner import JobRunner, StartedWorker

FIRST_PID = 10_000_000  # beyond what kernels give out


@dataclass(slots=True)
class FakeClock:
    """Stands still until a test moves it."""

    ns: int = 1

    def now_ns(self) -> int:
        return self.ns


@dataclass(slots=True)
class FakeWorker:
    """One process. It has its own copy of the lock, as a real one."""

    told: StartedWorker
    book: JobBook
    pid: int
    lock_fd: int
    status: int | None = None
    # As `Popen` has it, for whoever does not wait for the process any more.
    returncode: int | None = None
    signals: list[int] = field(default_factory=list)
    # It does not end at SIGTERM.
    is_stubborn: bool = False

    def poll(self) -> int | None:
        return self.status

    @property
    def lives(self) -> bool:
        return self.status is None

    def begin(self) -> bool:
        """What a real one does first."""
        return self.book.began(self.told.job_id, self.told.run, pid=self.pid) is not None

    def end(self, event: JobEvent | None, **more: Any) -> None:
        """End with an end that it tells, or without."""
        if event is not None:
            self.book.end(self.told.job_id, self.told.run, event, **more)
        self.status = 0 if event else -signal.SIGKILL
        os.close(self.lock_fd)

    def hear(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL or not self.is_stubborn:
            self.end(JobEvent.CANCEL if number == signal.SIGTERM else None)


class FakeHouse:
    """Runners of one store, one after the other or at once, and the processes of all of them."""

    def __init__(self, folder: Path, *, most_at_once: int = 2) -> None:
        self.folder = folder
        self.book = JobBook(folder)
        self.clock = FakeClock()
        self.workers: list[FakeWorker] = []
        self._most_at_once = most_at_once
        # Raised by the next start.
        self.start_error: OSError | None = None

    def runner(self) -> JobRunner:
        return JobRunner(
            self.folder,
            most_at_once=self._most_at_once,
            clock=cast(Clock, self.clock),
            start=cast(Any, self._start),
            signal_process=self._signal,
        )

    def living(self) -> Iterator[FakeWorker]:
        return (one for one in self.workers if one.lives)

    def close(self) -> None:
        for one in list(self.living()):
            one.end(None)
        self.book.close()

    def _start(self, told: StartedWorker) -> FakeWorker:
        if self.start_error is not None:
            error, self.start_error = self.start_error, None
            raise error
        worker = FakeWorker(
            told=told,
            book=self.book,
            pid=FIRST_PID + len(self.workers),
            lock_fd=os.dup(told.lock_fd),
        )
        self.workers.append(worker)
        return worker

    def _signal(self, pid: int, number: int) -> None:
        worker = self.workers[pid - FIRST_PID]
        assert worker.lives, "a signal goes to a process that is gone"
        worker.hear(number)
