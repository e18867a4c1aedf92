"""Keeps the SQLite file of the list of jobs: opens it, makes whole transactions, begins it anew.

Several processes have the file open at once; SQLite holds them apart. A damaged file is put aside,
with a line in the log. Not: what stands in it (`umad.jobs.book`), but for its table. Blocks for the
disk. One thread at a time.
"""

import contextlib
import errno
import logging
import os
import sqlite3
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from umad.errors import Refused
from umad.private_file import own_folder

log = logging.getLogger(__name__)
T = TypeVar("T")

# Another process that writes has its row in milliseconds.
_WAIT_S = 5.0
_FLAGS = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
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
# SQLite's words for a file that is not, or no longer, a database of its.
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")


class BookFile:
    """One file, open or not. It is made when something is first written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        # Of the file that is open.
        self._opened_stamp: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def rows(self, question: str, *values: Any) -> Sequence[Sequence[Any]]:
        """The answer to a question; nothing where there is no file yet. Raises `Refused`."""
        if self._db is None and not self._path.exists():
            return ()
        return self._looked_after(lambda db: db.execute(question, values).fetchall())

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
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
            raise Refused(f"the list of jobs {self._path} cannot be used: {reason}") from error

    def _opened(self) -> sqlite3.Connection:
        if self._db is not None and _stamp(self._path) != self._opened_stamp:
            self.close()  # another process has put it aside, or somebody has removed it
        if self._db is None:
            own_folder(self._path.parent)
            self._make()
            self._opened_stamp = _stamp(self._path)
            address = f"file:{urllib.parse.quote(str(self._path))}?mode=rw"
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
            self._db = db
        return self._db

    def _make(self) -> None:
        """Make the file, for this user alone, where there is none. One that is there is not opened:
        closing it would end SQLite's locks of every connection that this process has to it (POSIX),
        and another process would then remove what they write to.
        """
        try:
            os.close(os.open(self._path, _FLAGS, 0o600))
        except FileExistsError:
            if self._path.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self._path)) from None

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        self.close()
        if _stamp(self._path) != self._opened_stamp:
            return  # another process has done so, and this one opens the new file
        log.warning("the list of jobs is damaged and begun anew path=%s: %s", self._path, error)
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_suffix(".damaged"))
        for ending in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + ending).unlink()


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    # A table of another program, or of another version, has other columns.
    said = str(error)
    others = ("no such column", "has no column", "NOT NULL constraint failed: jobs.")
    return name.startswith(_DAMAGED) or any(words in said for words in others)


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells two files of one name apart; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
