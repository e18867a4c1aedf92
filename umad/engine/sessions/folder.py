"""Owns the folder that conversations of one model are saved in, and removes the oldest files.

    ROOT/<model's file>-<digest of its path>/     0700; one engine's at a time, by a lock
        <digest of the session's name>.kv         0600; whole, or not there
        <the same>.half                           being written; removed when found at the start
        <the same>.tried                          empty: the file is being put back, see below

A written file gets its name by a rename, so an engine that is killed leaves the old file or none.
No digest tells whether llama.cpp survives what is in a file. So a file is marked while it is put
back, until a step has run on it. A mark that is found at the start is of an engine that ended in
between. Its file is removed: it ends one engine at most, and never the next one again.
All models under a root share one bound on bytes: the file that was used longest ago is removed
first, whichever model it belongs to. Nothing is synced to the disk: what a power cut leaves half
written fails its checksum.
Not: what is in a file (`sessions.file`), nor which sessions are worth one
(`umad.scheduler.memory.session_saving`). Owner: the main thread opens it; after that, one thread
reads and another writes.
"""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umad.engine.sessions.file import (
    About,
    BadSessionFile,
    Slab,
    StateAt,
    file_bytes,
    read_head,
    read_slabs,
    read_state,
    write,
)
from umad.private_file import open_own, own_folder

log = logging.getLogger("umad.engine")

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
# A killed engine may still hold the lock for a moment when the next one starts.
_LOCK_S, _LOCK_LOOK_S = 2.0, 0.05


def file_name(session: str) -> str:
    """The name of the file for a session of this name, in any model's folder."""
    return f"{hashlib.sha256(session.encode()).hexdigest()[:32]}.kv"


def mark_of(path: Path) -> Path:
    """The mark of a session's file while it is put back."""
    return path.with_suffix(".tried")


class SessionFolder:
    """The folder of one model. Raises `OSError` where it cannot be made, read, or locked."""

    def __init__(self, root: Path, *, model: Path, about: About, most_bytes: int) -> None:
        self._root = root
        self._about = about
        self._most_bytes = most_bytes
        digest = hashlib.sha256(os.fsencode(model)).hexdigest()[:12]
        self.path = root / f"{model.stem[:40]}-{digest}"
        # Only this user may write there: digests are no signatures, and llama.cpp loads what it is
        # given.
        own_folder(root)
        own_folder(self.path)
        self.path.chmod(_FOLDER_MODE)
        self._lock = self._locked()
        self._sessions: dict[Path, str] = {}
        # The tokens of every session whose file can be used.
        self.found: dict[str, NDArray[np.int32]] = {}
        # After how many tokens the states in those files were taken, ascending.
        self.found_states: dict[str, tuple[int, ...]] = {}
        self._look()

    def close(self) -> None:
        """Release the lock, so that another engine can use the folder."""
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

    def _look(self) -> None:
        """Find every session whose file can be used. All other files are removed."""
        for half in self.path.glob("*.half"):
            self._unlink(half)
        tried = set(self.path.glob("*.tried"))
        for path in sorted(self.path.glob("*.kv")):
            try:
                if mark_of(path) in tried:
                    raise BadSessionFile("was being put back when the engine ended")
                with open(open_own(path), "rb") as file:
                    head = read_head(file, self._about)
                if path != self._file(head.session):
                    raise BadSessionFile("is named for another session")
            except (OSError, BadSessionFile) as error:
                self._refuse(path, error)
            else:
                self.found[head.session] = head.tokens
                self.found_states[head.session] = tuple(head.states)
                self._sessions[path] = head.session
        for mark in tried:
            # A file that could not be removed keeps its mark, or it would be tried again.
            if not mark.with_suffix(".kv").exists():
                self._unlink(mark)

    def _file(self, session: str) -> Path:
        return self.path / file_name(session)

    def _refuse(self, path: Path, error: Exception) -> None:
        log.warning("a saved session is not used path=%s reason=it %s", path, error)
        self._unlink(path)

    def read(
        self,
        session: str,
        tokens: NDArray[np.int32],
        memories: list[NDArray[np.uint8]],
        states: Sequence[tuple[int, NDArray[np.uint8]]] = (),
    ) -> list[Slab] | None:
        """Read the first slabs of a session's file into `memories`, and states into memories of
        their own. Returns the slabs, and then the states.

        states: after how many tokens each was taken, and memory for it. A file that does not hold
        these tokens and states is removed with a line in the log, and the result is None.
        """
        path = self._file(session)
        try:
            with open(open_own(path), "rb") as file:
                head = read_head(file, self._about)
                if head.session != session or not np.array_equal(head.tokens, tokens):
                    raise BadSessionFile("is of another conversation")
                parts = read_slabs(file, head, memories)
                parts += [read_state(file, head, place, memory) for place, memory in states]
            os.utime(path)
        except FileNotFoundError:
            log.info("a saved session had to make room path=%s", path)
            return None
        except (OSError, BadSessionFile) as error:
            self._refuse(path, error)
            return None
        return parts

    def write(
        self,
        session: str,
        tokens: NDArray[np.int32],
        slabs: Sequence[Slab],
        states: Sequence[StateAt] = (),
    ) -> tuple[int, list[str]]:
        """Replace a session's file as a whole or not at all.

        Returns its bytes, and the sessions of this model whose files were removed for it. The bytes
        are 0 where it could not be written; the log says why.
        """
        path = self._file(session)
        n_bytes = file_bytes(
            about=self._about, session=session, n_tokens=tokens.size, slabs=slabs, states=states
        )
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
                write(
                    file,
                    about=self._about,
                    session=session,
                    tokens=tokens,
                    slabs=slabs,
                    states=states,
                )
            half.replace(path)
            self._unlink(mark_of(path))  # it was of the file that is no longer there
        except OSError as error:
            log.warning("a session cannot be saved path=%s reason=%s", path, error)
            self._unlink(half)
            return 0, evicted
        self._sessions[path] = session
        return n_bytes, evicted

    def forget(self, session: str) -> bool:
        """Remove a session's file, if there is one. Returns whether it is gone."""
        path = self._file(session)
        self._sessions.pop(path, None)
        return self._unlink(path) and self._unlink(mark_of(path))

    def try_out(self, session: str) -> None:
        """Mark a session's file: what is in it is about to be put back. Raises `OSError`."""
        flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(mark_of(self._file(session)), flags, _FILE_MODE))

    def passed(self, session: str) -> None:
        """Take the mark away: a step has run on what the file held."""
        self._unlink(mark_of(self._file(session)))

    def failed(self, session: str) -> None:
        """Remove a file that llama.cpp did not take, or that was not what it says."""
        log.warning("a saved session could not be put back path=%s", self._file(session))
        self.forget(session)

    def _make_room(self, n_bytes: int, path: Path) -> list[str]:
        """Remove the files that were used longest ago until `n_bytes` more fit. A file that is
        about to be replaced is removed last.
        """
        files: list[tuple[bool, int, int, Path]] = []
        for found in self._root.glob("*/*.kv"):
            try:
                stat = found.stat()
            except OSError:  # removed meanwhile, or another user's
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
