"""Keeps the list of all jobs in one SQLite file beside the store, for the daemon and its workers.

    submit            a job, or the one that does the same already
    claim, began      it is started; its process has begun
    note              how far it is
    end, died         it is over; its process is gone without an end
    stopped           its process was told to end
    unwanted          somebody wants it to end

Each change is one transaction that looks at the state first (`umad.jobs.job.LIFE`), so several
processes may have one book, and none of them undoes what another has done. Two jobs for the same
thing are one: a unique index of the file refuses the second. A damaged file is put aside, with a
line in the log, and the book begins anew: what a pull has fetched is in files of its own.

Not: starting and ending processes (`umad.jobs.runner`). Blocks for the disk. One thread at a time.
"""

import contextlib
import json
import logging
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from umad.errors import EngineFailed, QueueFull, UnknownRequest
from umad.jobs.book_file import BookFile
from umad.jobs.book_rows import COLUMNS, job_of
from umad.jobs.job import (
    LIFE,
    MOST_DEATHS,
    MOST_RUNS,
    Job,
    JobEvent,
    JobKind,
    JobProgress,
    JobState,
    Order,
)

log = logging.getLogger(__name__)

FILE = "jobs.sqlite3"
# Jobs that are over are remembered so long as there are not more of them.
MOST_OVER = 200
# Jobs that wait or run. More at once is a program gone wrong.
MOST_LIVE = 100
# Of these so many may be those of one key; the machine's own user may have all.
MOST_LIVE_EACH = 25
_ID_BYTES = 4
_NOW = "cast(strftime('%s', 'now') as integer)"


class JobBook:
    """The jobs of one store. The file is made when the first job is submitted."""

    def __init__(self, folder: Path) -> None:
        """folder: the store's."""
        self.path = folder / FILE
        # Of locks, and of what workers say.
        self.folder = folder / "jobs"
        self._file = BookFile(self.path)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._file.close()

    # -- reading --------------------------------------------------------------------------------

    def jobs(self) -> tuple[Job, ...]:
        """Every job, the newest first."""
        return self._read(f"select {COLUMNS} from jobs order by rowid desc")

    def live(self) -> tuple[Job, ...]:
        """Those that are not over, the oldest first."""
        return self._read(f"select {COLUMNS} from jobs where ended_s is null order by rowid")

    def get(self, job_id: str) -> Job:
        """One job. Raises `UnknownRequest`."""
        found = self._read(f"select {COLUMNS} from jobs where id = ?", job_id)
        if not found:
            raise unknown(job_id)
        return found[0]

    # -- writing --------------------------------------------------------------------------------

    def submit(self, order: Order, *, owner: str) -> tuple[Job, bool]:
        """The job of an order, and whether it is a new one: one that does the same and is not over
        is the same job. Raises `QueueFull`, or `Refused` where the book cannot be written.
        """

        def work(db: sqlite3.Connection) -> tuple[str, bool]:
            (n_live,) = db.execute("select count(*) from jobs where ended_s is null").fetchone()
            same = (order.kind.value, json.dumps(order.sameness))
            (n_own,) = db.execute(
                "select count(*) from jobs where ended_s is null and owner = ?", (owner,)
            ).fetchone()
            is_full = n_live >= MOST_LIVE or (owner and n_own >= MOST_LIVE_EACH)
            if not is_full:
                job_id = secrets.token_hex(_ID_BYTES)
                wish, state = json.dumps(asdict(order)), JobState.QUEUED.value
                inserted = db.execute(
                    "insert into jobs (id, kind, sameness, owner, wish, state, asked_s) "
                    f"values (?, ?, ?, ?, ?, ?, {_NOW}) "
                    "on conflict (kind, sameness) where ended_s is null do nothing",
                    (job_id, *same, owner, wish, state),
                )
                if inserted.rowcount == 1:
                    return job_id, True
            found = db.execute(
                "select id from jobs where kind = ? and sameness = ? and ended_s is null", same
            ).fetchone()
            if found is None:
                n_most = MOST_LIVE if n_live >= MOST_LIVE else MOST_LIVE_EACH
                whose = "" if n_most == MOST_LIVE else " of yours"
                raise QueueFull(f"{n_most} jobs{whose} wait or run already; wait for one to end")
            return found[0], False

        job_id, is_new = self._file.write(work)
        if is_new:
            self._forget_old()
        return self.get(job_id), is_new

    def claim(self, job_id: str, *, most_at_once: int) -> Job | None:
        """Mark a job as running, for whoever starts its process; None where it no longer waits, or
        so many run already. Loads do not count: they are the daemon's.
        """

        def work(db: sqlite3.Connection) -> bool:
            state, kind = self._row(db, job_id, "state, kind")
            if state != JobState.QUEUED.value:
                return False
            (n_running,) = db.execute(
                "select count(*) from jobs where state = ? and kind != ?",
                (JobState.RUNNING.value, JobKind.LOAD.value),
            ).fetchone()
            if kind != JobKind.LOAD.value and n_running >= most_at_once:
                return False
            self._advance(
                db,
                job_id,
                JobEvent.START,
                f"run = run + 1, pid = null, started_s = coalesce(started_s, {_NOW})",
            )
            return True

        return self.get(job_id) if self._file.write(work) else None

    def began(self, job_id: str, run: int, *, pid: int) -> Job | None:
        """Note the process of a run; None where that run is over already."""
        if not self._change(job_id, run, "pid = ?", pid):
            return None
        return self.get(job_id)

    def note(self, job_id: str, run: int, progress: JobProgress) -> bool:
        """Note how far a run is; whether it still is the job's run."""
        return self._change(job_id, run, "progress = ?", json.dumps(asdict(progress)))

    def end(
        self,
        job_id: str,
        run: int,
        event: JobEvent,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a run, by its own process or by whoever started it; whether it still ran."""

        def work(db: sqlite3.Connection) -> bool:
            if not self._is_run(db, job_id, run):
                return False
            self._advance(
                db,
                job_id,
                event,
                f"pid = null, ended_s = {_NOW}, result = ?, error = ?",
                None if result is None else json.dumps(result),
                None if error is None else json.dumps(error),
            )
            return True

        return self._file.write(work)

    def died(self, job_id: str, run: int, *, words: str = "") -> bool:
        """Note that the process of a run is gone without an end: the job waits again, or is over
        where it was unwanted, or has died too often. Whether that run was still thought to run.
        words: the last that the process said.
        """

        def work(db: sqlite3.Connection) -> bool:
            if not self._is_run(db, job_id, run):
                return False
            deaths, kind, is_unwanted = self._row(db, job_id, "deaths, kind, is_unwanted")
            most = MOST_DEATHS[JobKind(kind)]
            if is_unwanted:
                self._advance(db, job_id, JobEvent.CANCEL, f"pid = null, ended_s = {_NOW}")
            elif deaths + 1 >= most:
                said = f": {words}" if words else ""
                error = _gone(f"its process died {most} times without an end{said}")
                self._advance(
                    db,
                    job_id,
                    JobEvent.FAIL,
                    f"pid = null, deaths = deaths + 1, ended_s = {_NOW}, error = ?",
                    error,
                )
            else:
                self._advance(db, job_id, JobEvent.DIED, "pid = null, deaths = deaths + 1")
            return True

        return self._file.write(work)

    def stopped(self, job_id: str, run: int) -> bool:
        """Note that the process of a run ends because it was told to: as cancelled where the job is
        unwanted, else it waits for the next process. Whether that run was still thought to run.
        """

        def work(db: sqlite3.Connection) -> bool:
            if not self._is_run(db, job_id, run):
                return False
            (is_unwanted,) = self._row(db, job_id, "is_unwanted")
            if is_unwanted:
                self._advance(db, job_id, JobEvent.CANCEL, f"pid = null, ended_s = {_NOW}")
            elif run >= MOST_RUNS:
                error = _gone(f"its process was told to end each of {run} times")
                more = f"pid = null, ended_s = {_NOW}, error = ?"
                self._advance(db, job_id, JobEvent.FAIL, more, error)
            else:
                self._advance(db, job_id, JobEvent.DIED, "pid = null")
            return True

        return self._file.write(work)

    def unwanted(self, job_id: str) -> Job:
        """Note that somebody wants a job to end: one that waits is over at once. Raises
        `UnknownRequest`.
        """

        def work(db: sqlite3.Connection) -> None:
            (state,) = self._row(db, job_id, "state")
            if state == JobState.QUEUED.value:
                self._advance(db, job_id, JobEvent.CANCEL, f"is_unwanted = 1, ended_s = {_NOW}")
            elif state == JobState.RUNNING.value:
                db.execute(
                    "update jobs set is_unwanted = 1, version = version + 1 "
                    "where id = ? and not is_unwanted",
                    (job_id,),
                )

        self.get(job_id)
        self._file.write(work)
        return self.get(job_id)

    # -- inside ---------------------------------------------------------------------------------

    def _change(self, job_id: str, run: int, what: str, *values: Any) -> bool:
        """Change something of a run that changes no state."""

        def work(db: sqlite3.Connection) -> bool:
            changed = db.execute(
                f"update jobs set {what}, version = version + 1 "
                "where id = ? and run = ? and state = ?",
                (*values, job_id, run, JobState.RUNNING.value),
            )
            return changed.rowcount == 1

        return self._file.write(work)

    def _is_run(self, db: sqlite3.Connection, job_id: str, run: int) -> bool:
        found = db.execute(
            "select 1 from jobs where id = ? and run = ? and state = ?",
            (job_id, run, JobState.RUNNING.value),
        ).fetchone()
        return found is not None

    def _advance(
        self, db: sqlite3.Connection, job_id: str, event: JobEvent, more: str, *values: Any
    ) -> None:
        (state,) = self._row(db, job_id, "state")
        after = LIFE.after(JobState(state), event)
        db.execute(
            f"update jobs set state = ?, version = version + 1, {more} where id = ?",
            (after.value, *values, job_id),
        )

    def _row(self, db: sqlite3.Connection, job_id: str, columns: str) -> Sequence[Any]:
        row = db.execute(f"select {columns} from jobs where id = ?", (job_id,)).fetchone()
        if row is None:
            raise unknown(job_id)
        found: Sequence[Any] = row
        return found

    def _forget_old(self) -> None:
        """Keep the history short, and the folder of locks with it."""

        def work(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "select id from jobs where ended_s is not null order by rowid desc limit -1 "
                "offset ?",
                (MOST_OVER,),
            ).fetchall()
            db.executemany("delete from jobs where id = ?", rows)
            return [one for (one,) in rows]

        for job_id in self._file.write(work):
            for path in (self.folder / f"{job_id}.lock", self.words_path(job_id)):
                with contextlib.suppress(OSError):
                    path.unlink()

    def words_path(self, job_id: str) -> Path:
        """The file that has what the process of a job writes to its stderr."""
        return self.folder / f"{job_id}.log"

    def _read(self, question: str, *values: Any) -> tuple[Job, ...]:
        found = []
        for row in self._file.rows(question, *values):
            try:
                found.append(job_of(row))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                log.warning("a job is removed, its record makes no sense id=%s: %r", row[0], error)
                self._remove(row[0])
        return tuple(found)

    def _remove(self, job_id: Any) -> None:
        """Remove a job whose record makes no sense, so that it takes nobody's place."""
        self._file.write(lambda db: db.execute("delete from jobs where id = ?", (job_id,)))


def _gone(message: str) -> str:
    """The error of a job that no process could do, as a row has it."""
    return json.dumps({"code": EngineFailed.code, "message": message, "field": None})


def unknown(job_id: str) -> UnknownRequest:
    """The error for an id that no job has, or none that the asker may see."""
    return UnknownRequest(f"there is no job {job_id[:64]!r}; umad jobs lists them", field="job")


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[JobBook]:
    """The book of a store's folder for a while."""
    book = JobBook(folder)
    try:
        yield book
    finally:
        book.close()
