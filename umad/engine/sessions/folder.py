"""The folder that conversations of one model are saved in: who owns it, what is in it, what goes.

    ROOT/<model's file>-<digest of its path>/     0700; one engine's at a time, by a lock
        <digest of the session's name>.kv         0600; whole, or not there
        <the same>.half                           being written; removed when found at the start

A file becomes one by a rename, so that an engine that is killed leaves an old file or none. All
models under a root share a bound: the file that was used longest ago goes first, whoever's it is.
Nothing is synced to the disk: what a power cut leaves half written fails its checksum.
Not: what is in a file (`session_file`), nor which sessions are worth one
(`umad.scheduler.memory.session_saving`). Owner: the main thread opens it; after that, reading is
one thread's and writing another's.
"""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umad.engine.sessions.file import (
    About,
    BadSessionFile,
    Slab,
    file_bytes,
    read_head,
    read_slabs,
    write,
)
from umad.private_file import open_own, own_folder

log = logging.getLogger("umad.engine")

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
# An engine that was killed may not have been reaped when the next one starts.
_LOCK_S, _LOCK_LOOK_S = 2.0, 0.05


def file_name(session: str) -> str:
    """Name of the file that a session of this name is saved in, in any model's folder."""
    return f"{hashlib.sha256(session.encode()).hexdigest()[:32]}.kv"


class SessionFolder:
    """One model's. Raises `OSError` where the folder cannot be made, read, or had to oneself."""

    def __init__(self, root: Path, *, model: Path, about: About, most_bytes: int) -> None:
        self._root = root
        self._about = about
        self._most_bytes = most_bytes
        digest = hashlib.sha256(os.fsencode(model)).hexdigest()[:12]
        self.path = root / f"{model.stem[:40]}-{digest}"
        # Whoever may write there decides what llama.cpp is handed: digests are no signatures.
        own_folder(root)
        own_folder(self.path)
        self.path.chmod(_FOLDER_MODE)
        self._lock = self._locked()
        self._sessions: dict[Path, str] = {}
        self.found = self._look()

    def close(self) -> None:
        """Let another engine have it."""
        os.close(self._lock)

    def _locked(self) -> int:
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(self.path / "lock", flags, _FILE_MODE)
        end = time.perf_counter() + _LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.perf_counter() > end:
                    os.close(lock)
                    raise BlockingIOError("another engine saves its sessions there") from None
                time.sleep(_LOCK_LOOK_S)
            else:
                return lock

    def _look(self) -> Mapping[str, NDArray[np.int32]]:
        """Tokens of every session whose file can be used; the others' are removed."""
        for half in self.path.glob("*.half"):
            self._unlink(half)
        found: dict[str, NDArray[np.int32]] = {}
        for path in sorted(self.path.glob("*.kv")):
            try:
                with open(open_own(path), "rb") as file:
                    head = read_head(file, self._about)
                if path != self._file(head.session):
                    raise BadSessionFile("is named for another session")
            except (OSError, BadSessionFile) as error:
                self._refuse(path, error)
            else:
                found[head.session] = head.tokens
                self._sessions[path] = head.session
        return found

    def _file(self, session: str) -> Path:
        return self.path / file_name(session)

    def _refuse(self, path: Path, error: Exception) -> None:
        log.warning("a saved session is not used path=%s reason=it %s", path, error)
        self._unlink(path)

    def read(
        self, session: str, tokens: NDArray[np.int32], memories: list[NDArray[np.uint8]]
    ) -> list[Slab] | None:
        """The first slabs of a session's file into `memories`; None, with a line in the log and the
        file gone, where it is not what it was taken for."""
        path = self._file(session)
        try:
            with open(open_own(path), "rb") as file:
                head = read_head(file, self._about)
                if head.session != session or not np.array_equal(head.tokens, tokens):
                    raise BadSessionFile("is of another conversation")
                slabs = read_slabs(file, head, memories)
            os.utime(path)
        except FileNotFoundError:
            log.info("a saved session had to make room path=%s", path)
            return None
        except (OSError, BadSessionFile) as error:
            self._refuse(path, error)
            return None
        return slabs

    def write(
        self, session: str, tokens: NDArray[np.int32], slabs: list[Slab]
    ) -> tuple[int, list[str]]:
        """Replace a session's file, whole or not at all: its bytes, 0 where it cannot be, with a
        line in the log; and the sessions of this model whose files had to make room."""
        path = self._file(session)
        n_bytes = file_bytes(about=self._about, session=session, n_tokens=tokens.size, slabs=slabs)
        if n_bytes > self._most_bytes:
            log.info(
                "a session is larger than session_bytes and not saved bytes=%d most=%d",
                n_bytes,
                self._most_bytes,
            )
            return 0, []
        half = path.with_suffix(".half")
        evicted: list[str] = []
        try:
            evicted = self._make_room(n_bytes, path)
            half.unlink(missing_ok=True)
            descriptor = os.open(
                half, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, _FILE_MODE
            )
            with os.fdopen(descriptor, "wb") as file:
                write(file, about=self._about, session=session, tokens=tokens, slabs=slabs)
            half.replace(path)
        except OSError as error:
            log.warning("a session cannot be saved path=%s reason=%s", path, error)
            self._unlink(half)
            return 0, evicted
        self._sessions[path] = session
        return n_bytes, evicted

    def forget(self, session: str) -> bool:
        """Remove a session's file, if there is one; whether there is none now."""
        path = self._file(session)
        self._sessions.pop(path, None)
        return self._unlink(path)

    def _make_room(self, n_bytes: int, path: Path) -> list[str]:
        """Remove what was used longest ago until `n_bytes` more fit; a file that is about to be
        replaced goes last."""
        files: list[tuple[bool, int, int, Path]] = []
        for found in self._root.glob("*/*.kv"):
            try:
                stat = found.stat()
            except OSError:  # gone meanwhile, or not ours to look at
                continue
            files.append((found == path, stat.st_mtime_ns, stat.st_size, found))
        left = self._most_bytes - n_bytes - sum(size for _, _, size, _ in files)
        evicted: list[str] = []
        for _, _, size, found in sorted(files):
            if left >= 0:
                break
            self._unlink(found)
            left += size
            session = self._sessions.pop(found, None)
            if session is not None:
                evicted.append(session)
        return evicted

    def _unlink(self, path: Path) -> bool:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("a file cannot be removed path=%s reason=%s", path, error)
            return False
        return True
