"""Saves and reads sessions beside the steps: one thread writes, one reads, and no step waits.

The step thread lends the writer the slabs that parking made. While they are lent, nothing is
written over them (`SlabStore.lend`), so a save costs the steps nothing. The result arrives as mail.
Not: when anything is saved or read (`umad.scheduler.memory.session_saving`). Owner: `SessionDisk`
is the step thread's; its jobs run on threads of its own.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from umad.engine.process import name_thread, take_only_idle_cores
from umad.engine.sessions.file import Slab
from umad.engine.sessions.folder import SessionFolder
from umad.engine.slabs import SlabStore
from umad.step import DiskDone, SessionFetch, SessionForget, SessionOp, SessionSave
from umad.units import NS_PER_MS

log = logging.getLogger("umad.engine")


def _be_the_writer() -> None:
    name_thread("umad-save")
    # A checksum over megabytes beside a decode on all cores would delay the decode at every
    # barrier.
    take_only_idle_cores()


def _be_the_reader() -> None:
    name_thread("umad-fetch")


class SessionDisk:
    """Works between one folder and one engine's slabs. put: hands mail to the step thread."""

    def __init__(
        self,
        folder: SessionFolder,
        parked: SlabStore,
        *,
        put: Callable[[DiskDone], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._parked = parked
        self._put = put
        self._now_ns = now_ns
        # A thread each, so that a request that waits for a file does not wait for another file's
        # write.
        self._writer = ThreadPoolExecutor(1, initializer=_be_the_writer)
        self._reader = ThreadPoolExecutor(1, initializer=_be_the_reader)
        # What the threads work with: the slabs lent to a save, and the slabs filled by a fetch.
        self._lent: dict[int, list[Slab]] = {}
        self._filled: dict[int, list[Slab]] = {}

    def begin(self, operation: SessionOp) -> None:
        """Start an operation on its thread; returns at once."""
        match operation:
            case SessionSave():
                slabs = self._lent[id(operation)] = self._parked.lend(operation.key)
                self._writer.submit(self._save, operation, slabs)
            case SessionFetch():
                memories = [self._parked.memory() for _ in range(operation.n_slabs)]
                self._reader.submit(self._fetch, operation, memories)
            case SessionForget():
                self._writer.submit(self._forget, operation)

    def refuse(self, operation: SessionSave) -> None:
        """Refuse a save: the slabs that it was to be written from could not be made."""
        self._lent[id(operation)] = []
        self._put(DiskDone(operation=operation, ok=False))

    def done(self, report: DiskDone) -> None:
        """Handle the mail of an operation that ended: take lent slabs back, or
        take read slabs in.
        """
        operation = report.operation
        if isinstance(operation, SessionSave):
            self._parked.take_back(self._lent.pop(id(operation)))
        elif isinstance(operation, SessionFetch) and report.ok:
            self._parked.put(operation.key, self._filled.pop(operation.key))

    # -- on threads of their own ----------------------------------------------------------------

    def _save(self, operation: SessionSave, slabs: list[Slab]) -> None:
        began_ns, n_bytes, evicted = self._now_ns(), 0, list[str]()
        try:
            n_bytes, evicted = self._folder.write(operation.session, operation.tokens, slabs)
        except Exception:
            # A thread's boundary: the scheduler must be told of every failure.
            log.exception("a session cannot be saved")
        ms = (self._now_ns() - began_ns) / NS_PER_MS
        if n_bytes:
            log.info("session saved tokens=%d bytes=%d ms=%.0f", operation.tokens.size, n_bytes, ms)
        self._put(
            DiskDone(
                operation=operation,
                ok=n_bytes > 0,
                n_bytes=n_bytes,
                ms=ms,
                evicted=tuple(evicted),
            )
        )

    def _forget(self, operation: SessionForget) -> None:
        ok = False
        try:
            ok = self._folder.forget(operation.session)
        except Exception:
            # A thread's boundary, as above: whoever waits for the removal must be told.
            log.exception("a saved session cannot be removed")
        self._put(DiskDone(operation=operation, ok=ok))

    def _fetch(self, operation: SessionFetch, memories: list[NDArray[np.uint8]]) -> None:
        began_ns, slabs = self._now_ns(), None
        try:
            slabs = self._folder.read(operation.session, operation.tokens, memories)
        except Exception:
            # A thread's boundary, as above.
            log.exception("a saved session cannot be read")
        ms = (self._now_ns() - began_ns) / NS_PER_MS
        n_bytes = 0
        if slabs is not None:
            n_bytes = sum(one for _, one in slabs)
            self._filled[operation.key] = slabs
            log.info("session read bytes=%d ms=%.0f", n_bytes, ms)
        self._put(DiskDone(operation=operation, ok=slabs is not None, n_bytes=n_bytes, ms=ms))
