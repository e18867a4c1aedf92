"""Keeps the list of all jobs in one SQLite file beside the store, for the daemon and its workers.

    submit            a job, or the one that does the same already
    claim, began      it is started; its process has begun
    note              how far it is
    end, died         it is over; its process is gone without an end
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
import os
import secrets
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from umad.errors import EngineFailed, QueueFull, Refused, UnknownRequest
from umad.jobs.job import (
    LIFE,
    MOST_DEATHS,
    Job,
    JobEvent,
    JobKind,
    JobProgress,
    JobState,
    Order,
    order_of,
)
from umad.private_file import own_folder

log = logging.getLogger(__name__)
T = TypeVar("T")

FILE = "jobs.sqlite3"
# Jobs that are over are remembered so long as there are not more of them.
MOST_OVER = 200
# Jobs that wait or run. More at once is a program gone wrong.
MOST_LIVE = 100
# Another process that writes has its row in milliseconds.
_WAIT_S = 5.0
_ID_BYTES = 4
_SCHEMA = """
create table if not exists jobs (
    id text primary key,
    kind text not null,
    sameness text not null,
    owner text not null,
    wish text not null,
    state text not null,
    run integer not null default 0,
    deaths integer not null default 0,
    pid integer,
    is_unwanted integer not null default 0,
    progress text,
    result text,
    error text,
    asked_s integer not null,
    started_s integer,
    ended_s integer,
    version integer not null default 1
);
create unique index if not exists one_of_a_kind on jobs (kind, sameness) where ended_s is null;
"""
_NOW = "cast(strftime('%s', 'now') as integer)"
# SQLite's words for a file that is not, or no longer, a database of its.
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")
_COLUMNS = (
    "id, kind, owner, wish, state, run, deaths, pid, is_unwanted, progress, result, error, "
    "asked_s, started_s, ended_s, version"
)


class JobBook:
    """The jobs of one store. The file is made when the first job is submitted."""

    def __init__(self, folder: Path) -> None:
        """folder: the store's."""
        self.path = folder / FILE
        # Of locks, and of what workers say.
        self.folder = folder / "jobs"
        self._db: sqlite3.Connection | None = None
        # Of the file that is open.
        self._opened_stamp: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    # -- reading --------------------------------------------------------------------------------

    def jobs(self) -> tuple[Job, ...]:
        """Every job, the newest first."""
        return self._read(f"select {_COLUMNS} from jobs order by rowid desc")

    def live(self) -> tuple[Job, ...]:
        """Those that are not over, the oldest first."""
        return self._read(f"select {_COLUMNS} from jobs where ended_s is null order by rowid")

    def get(self, job_id: str) -> Job:
        """One job. Raises `UnknownRequest`."""
        found = self._read(f"select {_COLUMNS} from jobs where id = ?", job_id)
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
            if n_live < MOST_LIVE:
                job_id = secrets.token_hex(_ID_BYTES)
                wish, state = json.dumps(asdict(order)), JobState.QUEUED.value
                inserted = db.execute(
                    "insert or ignore into jobs (id, kind, sameness, owner, wish, state, asked_s) "
                    f"values (?, ?, ?, ?, ?, ?, {_NOW})",
                    (job_id, *same, owner, wish, state),
                )
                if inserted.rowcount == 1:
                    return job_id, True
            found = db.execute(
                "select id from jobs where kind = ? and sameness = ? and ended_s is null", same
            ).fetchone()
            if found is None:
                raise QueueFull(f"{MOST_LIVE} jobs wait or run already; wait for one to end")
            return found[0], False

        job_id, is_new = self._write(work)
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

        return self.get(job_id) if self._write(work) else None

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

        return self._write(work)

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
                error = {
                    "code": EngineFailed.code,
                    "message": f"its process died {most} times without an end{said}",
                    "field": None,
                }
                self._advance(
                    db,
                    job_id,
                    JobEvent.FAIL,
                    f"pid = null, deaths = deaths + 1, ended_s = {_NOW}, error = ?",
                    json.dumps(error),
                )
            else:
                self._advance(db, job_id, JobEvent.DIED, "pid = null, deaths = deaths + 1")
            return True

        return self._write(work)

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
        self._write(work)
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

        return self._write(work)

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

        for job_id in self._write(work):
            for path in (self.folder / f"{job_id}.lock", self.words_path(job_id)):
                with contextlib.suppress(OSError):
                    path.unlink()

    def words_path(self, job_id: str) -> Path:
        """The file that has what the process of a job writes to its stderr."""
        return self.folder / f"{job_id}.log"

    def _read(self, question: str, *values: Any) -> tuple[Job, ...]:
        if self._db is None and not self.path.exists():
            return ()
        rows = self._looked_after(lambda db: db.execute(question, values).fetchall())
        found = []
        for row in rows:
            try:
                found.append(_job_of(row))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                log.warning("a job is removed, its record makes no sense id=%s: %r", row[0], error)
                self._remove(row[0])
        return tuple(found)

    def _remove(self, job_id: Any) -> None:
        """Remove a job whose record makes no sense, so that it takes nobody's place."""
        self._write(lambda db: db.execute("delete from jobs where id = ?", (job_id,)))

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` as one transaction: all of it or nothing."""

        def whole(db: sqlite3.Connection) -> T:
            db.execute("begin immediate")
            try:
                done = work(db)
                db.execute("commit")
            finally:
                if db.in_transaction:
                    db.execute("rollback")
            return done

        return self._looked_after(whole)

    def _looked_after(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, in a new file where the old one is damaged. Raises `Refused` where
        there can be none.
        """
        try:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._put_aside(error)
                return work(self._opened())
        except (sqlite3.Error, OSError) as error:
            self.close()
            reason = error.strerror if isinstance(error, OSError) else error
            raise Refused(f"the list of jobs {self.path} cannot be used: {reason}") from error

    def _opened(self) -> sqlite3.Connection:
        if self._db is not None and _stamp(self.path) != self._opened_stamp:
            self.close()  # another process has put it aside, or somebody has removed it
        if self._db is None:
            own_folder(self.path.parent)
            own_folder(self.folder)
            fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.close(fd)
            address = f"file:{urllib.parse.quote(str(self.path))}?mode=rw"
            db = sqlite3.connect(
                address, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            try:
                # Progress is written some times a second: no write waits for the disk, and none
                # that is half done is ever seen, not even after a loss of power.
                db.execute("pragma journal_mode = wal")
                db.execute("pragma synchronous = normal")
                db.executescript(_SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db, self._opened_stamp = db, _stamp(self.path)
        return self._db

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        log.warning("the list of jobs is damaged and begun anew path=%s: %s", self.path, error)
        self.close()
        with contextlib.suppress(OSError):
            self.path.replace(self.path.with_suffix(".damaged"))
        for ending in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + ending).unlink()


def unknown(job_id: str) -> UnknownRequest:
    """The error for an id that no job has, or none that the asker may see."""
    return UnknownRequest(f"there is no job {job_id[:64]!r}; umad jobs lists them", field="job")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    # A table of another program, or of another version, has other columns.
    said = str(error)
    return name.startswith(_DAMAGED) or "no such column" in said or "has no column" in said


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells two files of one name apart; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _job_of(row: Sequence[Any]) -> Job:
    (
        job_id,
        kind,
        owner,
        wish,
        state,
        run,
        deaths,
        pid,
        is_unwanted,
        progress,
        result,
        error,
        asked_s,
        started_s,
        ended_s,
        version,
    ) = row
    failure = None if error is None else json.loads(error)
    if failure is not None and not {"code", "message"} <= failure.keys():
        raise ValueError("its error has no code or message")
    return Job(
        id=_text(job_id),
        order=order_of(JobKind(kind), json.loads(wish)),
        owner=_text(owner),
        state=JobState(state),
        run=int(run),
        deaths=int(deaths),
        pid=None if pid is None else int(pid),
        is_unwanted=bool(is_unwanted),
        progress=JobProgress() if progress is None else JobProgress.of_map(json.loads(progress)),
        result={} if result is None else dict(json.loads(result)),
        error=failure,
        asked_s=int(asked_s),
        started_s=None if started_s is None else int(started_s),
        ended_s=None if ended_s is None else int(ended_s),
        version=int(version),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[JobBook]:
    """The book of a store's folder for a while."""
    book = JobBook(folder)
    try:
        yield book
    finally:
        book.close()
