"""Stores responses in SQLite, so that a later one may continue them (`previous_response_id`).

The store has a limit in bytes: the oldest responses make room. Each belongs to the key that made
it. A response holds a conversation's text, so only the file's owner may read it. SQLite blocks, so
everything runs on one thread of the store's own; the file is opened at the first use.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from umad.gateway.errors import StoreFailed
from umad.private_file import own_folder

T = TypeVar("T")
# How long to wait for another gateway on the same file; it writes for a moment only.
BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    response TEXT NOT NULL,
    items TEXT NOT NULL,
    bytes INTEGER NOT NULL
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A stored response, as JSON texts."""

    # As it was answered.
    response: str
    # The conversation up to the response's end.
    items: str


class ResponsesStore:
    """Stores responses in the file `path`, which is made with its folder if it does not exist."""

    def __init__(self, path: Path, *, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="responses")
        self._connection: sqlite3.Connection | None = None

    async def put(self, response_id: str, owner: str, stored: Stored) -> None:
        """Store a response; the oldest go until all fit. A response that is too large by itself is
        not stored.
        """
        await self._do(lambda db: self._put(db, response_id, owner, stored))

    async def get(self, response_id: str, owner: str) -> Stored | None:
        """One of this owner's responses."""
        return await self._do(lambda db: _get(db, response_id, owner))

    async def delete(self, response_id: str, owner: str) -> bool:
        """Delete one of this owner's responses; return whether it existed."""
        return await self._do(lambda db: _delete(db, response_id, owner))

    def close(self) -> None:
        """Wait for running writes."""
        self._thread.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            try:
                db = self._connection or self._open()
                with db:
                    return work(db)
            except (sqlite3.Error, OSError) as error:
                raise StoreFailed(
                    f"responses cannot be kept in {self._path.name}: {error}; "
                    "name another file with --gateway-store"
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _open(self) -> sqlite3.Connection:
        own_folder(self._path.parent)
        fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # An existing file may be readable by others. SQLite's other files get its mode.
            os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
        db = sqlite3.connect(self._path, timeout=BUSY_S, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(_SCHEMA)
        self._connection = db
        return db

    def _put(self, db: sqlite3.Connection, response_id: str, owner: str, one: Stored) -> None:
        size = len(one.response.encode()) + len(one.items.encode())
        if size > self._limit_bytes:
            return
        db.execute(
            "INSERT OR REPLACE INTO responses (id, owner, response, items, bytes) "
            "VALUES (?, ?, ?, ?, ?)",
            (response_id, owner, one.response, one.items, size),
        )
        (total,) = db.execute("SELECT COALESCE(SUM(bytes), 0) FROM responses").fetchone()
        while total > self._limit_bytes:
            n, oldest = db.execute("SELECT n, bytes FROM responses ORDER BY n LIMIT 1").fetchone()
            db.execute("DELETE FROM responses WHERE n = ?", (n,))
            total -= oldest


def _get(db: sqlite3.Connection, response_id: str, owner: str) -> Stored | None:
    row = db.execute(
        "SELECT response, items FROM responses WHERE id = ? AND owner = ?", (response_id, owner)
    ).fetchone()
    return None if row is None else Stored(response=row[0], items=row[1])


def _delete(db: sqlite3.Connection, response_id: str, owner: str) -> bool:
    found = db.execute("DELETE FROM responses WHERE id = ? AND owner = ?", (response_id, owner))
    return found.rowcount > 0
