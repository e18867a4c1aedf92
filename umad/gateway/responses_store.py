"""Stores responses in SQLite, so that a later one may continue them (`previous_response_id`).

The store has a limit in bytes: the oldest responses make room. Each belongs to the key that made
it. A response holds a conversation's text, so only the file's owner may read it. SQLite blocks, so
everything runs on one thread of the store's own; the file is opened at the first use.

Where the file cannot be written (a full disk, a read-only home), responses are kept in memory until
the gateway ends: an answer that was generated is never lost for it, and the next turn finds it.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from umad.gateway.errors import StoreFailed
from umad.private_file import own_folder

log = logging.getLogger(__name__)

T = TypeVar("T")
# How long to wait for another gateway on the same file; it writes for a moment only.
BUSY_S = 5.0
# The most that is kept in memory where the file cannot be written.
SPARE_BYTES = 32 * 2**20
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
        # In memory; made when the file cannot be written.
        self._spare: sqlite3.Connection | None = None

    async def put(self, response_id: str, owner: str, stored: Stored) -> None:
        """Store a response; the oldest go until all fit. A response that is too large by itself is
        not stored. Never fails: what no file takes is kept in memory.
        """
        await self._on_thread(lambda: self._put_somewhere(response_id, owner, stored))

    async def get(self, response_id: str, owner: str) -> Stored | None:
        """One of this owner's responses. Raises `StoreFailed` where the file cannot be read."""

        def find() -> Stored | None:
            found = None if self._spare is None else _get(self._spare, response_id, owner)
            return found or self._in_file(lambda db: _get(db, response_id, owner), None)

        return await self._on_thread(find)

    async def delete(self, response_id: str, owner: str) -> bool:
        """Delete one of this owner's responses; return whether it existed."""

        def remove() -> bool:
            gone = self._spare is not None and _delete(self._spare, response_id, owner)
            return gone or self._in_file(lambda db: _delete(db, response_id, owner), False)

        return await self._on_thread(remove)

    def close(self) -> None:
        """Wait for running writes."""
        self._thread.shutdown(wait=True)
        for db in (self._connection, self._spare):
            if db is not None:
                db.close()

    # -- on the store's thread --------------------------------------------------------------------

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _in_file(self, work: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        """The result of `work` on the file; `nothing` where nothing was ever written to it.

        Raises `StoreFailed` where there is one that cannot be used.
        """
        try:
            return self._with_file(work)
        except (sqlite3.Error, OSError) as error:
            if self._is_empty():
                return nothing
            raise StoreFailed(
                f"responses cannot be kept in {self._path.name}: {error}; "
                "name another file with --gateway-store"
            ) from error

    def _is_empty(self) -> bool:
        try:
            return os.stat(self._path).st_size == 0
        except OSError:  # there is none, and none could be made
            return True

    def _with_file(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._connection or self._open()
        try:
            with db:
                return work(db)
        except sqlite3.Error:
            # After an error of the disk a connection may be of no use any more.
            self._connection = None
            db.close()
            raise

    def _put_somewhere(self, response_id: str, owner: str, stored: Stored) -> None:
        try:
            self._with_file(lambda db: self._put(db, response_id, owner, stored))
        except (sqlite3.Error, OSError) as error:
            if self._spare is None:
                log.warning(
                    "responses are kept in memory only, because their file cannot be written "
                    "path=%s reason=%s; name another with --gateway-store",
                    self._path,
                    error,
                )
                self._spare = sqlite3.connect(":memory:", check_same_thread=False)
                self._spare.execute(_SCHEMA)
            with self._spare as db:
                self._put(db, response_id, owner, stored, most_bytes=SPARE_BYTES)

    def _open(self) -> sqlite3.Connection:
        own_folder(self._path.parent)
        fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # An existing file may be readable by others. SQLite's other files get its mode.
            os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
        db = sqlite3.connect(self._path, timeout=BUSY_S, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(_SCHEMA)
        except sqlite3.Error:
            db.close()
            raise
        self._connection = db
        return db

    def _put(
        self,
        db: sqlite3.Connection,
        response_id: str,
        owner: str,
        one: Stored,
        *,
        most_bytes: int | None = None,
    ) -> None:
        size = len(one.response.encode()) + len(one.items.encode())
        limit_bytes = min(self._limit_bytes, most_bytes or self._limit_bytes)
        if size > limit_bytes:
            return
        db.execute(
            "INSERT OR REPLACE INTO responses (id, owner, response, items, bytes) "
            "VALUES (?, ?, ?, ?, ?)",
            (response_id, owner, one.response, one.items, size),
        )
        (total,) = db.execute("SELECT COALESCE(SUM(bytes), 0) FROM responses").fetchone()
        while total > limit_bytes:
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
