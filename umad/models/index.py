"""Remembers what can be found out again: what headers said, and when models were last used.

One SQLite file beside the records of the store. Nothing depends on it. Where it is missing, of
another version or cannot be written, headers are read again and last uses are not known. A damaged
file is put aside, with one line in the log, and made anew. So no method raises for it.

Every call opens and closes the file (0.3 ms), so any thread may call, and several processes may
have one index: SQLite holds them apart. Not: which models there are (`umad.models.store`).
"""

import contextlib
import json
import logging
import os
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from umad.private_file import own_folder

log = logging.getLogger(__name__)
T = TypeVar("T")

# Another process that writes has its row in milliseconds.
_WAIT_S = 2.0
_SCHEMA = """
create table if not exists uses (name text primary key, last_used_s integer not null);
create table if not exists facts (
    path text primary key, stamp text not null, facts text not null
);
"""
# SQLite's words for a file that is not, or no longer, a database of its.
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")


class Index:
    """The index in one file, whether it exists or not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fault(self) -> str:
        """The fault of the file, for people; empty where it has none, or is not there."""
        if not os.path.isfile(self.path):
            return ""
        try:
            with self._opened("ro") as db:
                (said,) = db.execute("pragma quick_check(1)").fetchone()
        except (sqlite3.DatabaseError, TypeError, ValueError) as error:
            return "" if isinstance(error, sqlite3.OperationalError) else str(error)
        return "" if said == "ok" else str(said).partition("\n")[0]

    def last_uses(self) -> Mapping[str, int]:
        """The times of models' last loads, in seconds since 1970, by name."""
        rows = self._read(lambda db: db.execute("select name, last_used_s from uses").fetchall())
        return {
            name: at for name, at in rows or () if isinstance(name, str) and isinstance(at, int)
        }

    def note_use(self, name: str) -> None:
        """Note that a model is loaded now, of whatever place."""
        self._write(
            lambda db: db.execute(
                "insert or replace into uses values (?, cast(strftime('%s', 'now') as integer))",
                (name,),
            )
        )

    def facts(self, paths: Iterable[Path]) -> Mapping[Path, Mapping[str, Any]]:
        """The notes on files, of those that are as they were."""
        rows = self._read(lambda db: db.execute("select path, stamp, facts from facts").fetchall())
        noted = {path: (stamp, facts) for path, stamp, facts in rows or ()}
        found: dict[Path, Mapping[str, Any]] = {}
        for path in paths:
            stamp, facts = noted.get(str(path), ("", ""))
            if not isinstance(facts, str) or not stamp or stamp != _stamp(path):
                continue
            with contextlib.suppress(ValueError, RecursionError):
                said = json.loads(facts)
                if isinstance(said, dict):
                    found[path] = said
        return found

    def note_facts(self, facts: Mapping[Path, Mapping[str, Any]]) -> None:
        """Note what files' headers say, so that they need not be read again."""
        rows = [(str(path), _stamp(path), json.dumps(dict(one))) for path, one in facts.items()]
        self._write(
            lambda db: db.executemany("insert or replace into facts values (?, ?, ?)", rows)
        )

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._looked_after(), self._opened("ro") as db:
            return work(db)
        return None

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        for _ in range(2):  # the second time in a new file, where the first was damaged
            with self._looked_after():
                own_folder(self.path.parent)
                with self._opened("rwc") as db, db:
                    db.executescript(_SCHEMA)
                    work(db)
                return

    @contextlib.contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        address = f"file:{urllib.parse.quote(str(self.path))}?mode={mode}"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as db:
            yield db

    @contextlib.contextmanager
    def _looked_after(self) -> Iterator[None]:
        """Ends whatever goes wrong with the index: nobody waits for what it knows."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            # Python's own error for a text that is no UTF-8 has no name. Only damage makes one.
            name = getattr(error, "sqlite_errorname", _DAMAGED[0])
            if name.startswith(_DAMAGED):
                self._put_aside(error)
            else:
                log.debug("the index of models is left alone path=%s: %s", self.path, error)
        except (OSError, UnicodeEncodeError) as error:  # a name or a path that is no UTF-8
            log.debug("the index of models is left alone path=%s: %s", self.path, error)

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        log.warning("the index of models is damaged and made anew path=%s: %s", self.path, error)
        with contextlib.suppress(OSError):
            self.path.replace(self.path.with_suffix(".damaged"))


def _stamp(path: Path) -> str:
    """A text that changes when a file does; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"
