"""Is the process of one job: does its work, tells the book how far it is, and ends.

    python -m umad.jobs.worker --folder=STORE --job=ID --run=N --lock=FD

It inherits the job's lock and holds it until it ends, so whoever looks sees whether it lives
(`umad.jobs.lock`). It outlives its daemon. SIGTERM ends it: as cancelled where the book says that
the job is unwanted, else the job waits for a next process (the machine goes down, and comes back).
What it writes to stderr is kept for an error message.
Not: the work itself (`umad.jobs.work`). Owner: its only thread; a fetch has threads of its own.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from umad.clock import Clock, MonotonicClock
from umad.errors import InternalError, UmadError
from umad.jobs.book import JobBook
from umad.jobs.job import Job, JobEvent, JobProgress, error_map
from umad.models.store import Store
from umad.niceness import step_back
from umad.units import NS_PER_S

log = logging.getLogger(__name__)

# Followers look some times a second; a step that changes is told at once.
TELL_NS = NS_PER_S // 4
# Behind decode threads, whose readers wait.
_NICENESS = 5


class Stopped(BaseException):
    """SIGTERM came. No error: nothing but `main` catches it."""


class ProgressNotes:
    """Writes a job's progress into the book, and not too often."""

    def __init__(self, book: JobBook, job: Job, clock: Clock) -> None:
        self._book = book
        self._job = job
        self._clock = clock
        self._told: JobProgress | None = None
        self._told_ns = 0
        self._now: JobProgress | None = None

    def tell(self, progress: JobProgress) -> None:
        """Note how far the job is, now or with a later one."""
        self._now = progress
        now_ns = self._clock.now_ns()
        is_new_step = self._told is None or (
            (progress.step, progress.note) != (self._told.step, self._told.note)
        )
        if is_new_step or now_ns - self._told_ns >= TELL_NS:
            self._told_ns = now_ns
            self.flush()

    def flush(self) -> None:
        """Note what was not noted yet. A book that cannot be written costs nobody the work."""
        if self._now is None or self._now is self._told:
            return
        self._told = self._now
        with contextlib.suppress(UmadError):
            self._book.note(self._job.id, self._job.run, self._now)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one job; the exit status says only whether the book knows its end."""
    told = _parser().parse_args(arguments)
    # No child may hold the lock beyond this process.
    os.set_inheritable(told.lock, False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # The hub's client warns of what an error says, too.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    step_back(_NICENESS)
    book = JobBook(told.folder)
    try:
        signal.signal(signal.SIGTERM, _stop)
        return _work(book, Store(told.folder), told.job, told.run)
    except Stopped:
        return _stopped(book, told.job, told.run)
    finally:
        book.close()


def _work(book: JobBook, store: Store, job_id: str, run: int) -> int:
    job = book.began(job_id, run, pid=os.getpid())
    if job is None:
        return 1
    if job.is_unwanted:
        raise Stopped
    # Here, because it takes half a second: until then a cancel is a signal without consequences.
    from umad.jobs.work import carry_out  # noqa: PLC0415

    notes = ProgressNotes(book, job, MonotonicClock())
    try:
        result = carry_out(job.order, store, notes.tell)
    except UmadError as error:
        failure = error
    except Exception as bug:
        # The process's boundary: the job's follower gets a line, and the file of words the whole.
        log.exception("job failed job=%s", job.id)
        failure = InternalError(f"unexpected {type(bug).__name__}: {bug}")
    else:
        # From here on nothing is given up: the work is done.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        notes.flush()
        return 0 if book.end(job.id, run, JobEvent.DONE, result=result) else 1
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    notes.flush()
    return 0 if book.end(job.id, run, JobEvent.FAIL, error=error_map(failure)) else 1


def _stopped(book: JobBook, job_id: str, run: int) -> int:
    """End as cancelled where that was wanted; else leave the job for the next process."""
    return 0 if book.stopped(job_id, run) else 1


def _stop(_number: int, _frame: object) -> None:
    # Once: what it leads to is not interrupted again.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="umad.jobs.worker")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--run", type=int, required=True)
    parser.add_argument("--lock", type=int, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
