"""Saves and reads sessions beside the steps: one thread writes, one reads, and no step waits.

The step thread lends the writer the slabs that parking made, and checkpoints of states. While they
are lent, nothing is written over them (`SlabStore.lend`), so a save costs the steps nothing. The
result arrives as mail.
Not: when anything is saved or read (`umad.scheduler.memory.session_saving`). Owner: `SessionDisk`
is the step thread's; its jobs run on threads of its own.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from umad.engine.aside import take_only_idle_cores
from umad.engine.prctl import name_thread
from umad.engine.sessions.file import Slab
from umad.engine.sessions.folder import SessionFolder
from umad.engine.sessions.trials import Trials
from umad.engine.slabs import SlabStore, StateStore
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


@dataclass(slots=True)
class _Parts:
    """Memory that a thread works with: what is lent to a save, or filled by a fetch."""

    slabs: list[Slab] = field(default_factory=list)
    # In the order of the operation's `states`.
    states: list[Slab] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        return sum(n_bytes for _, n_bytes in [*self.slabs, *self.states])


class SessionDisk:
    """Works between one folder and one engine's host memory.

    parked: None for a model of states alone. states: None for a model without states; state_bytes:
    the most bytes of one. put: hands mail to the step thread.
    """

    def __init__(
        self,
        folder: SessionFolder,
        parked: SlabStore | None,
        *,
        states: StateStore | None = None,
        state_bytes: int = 0,
        put: Callable[[DiskDone], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._parked = parked
        self._states = states
        self._state_bytes = state_bytes
        self._put = put
        self._now_ns = now_ns
        # A thread each, so that a request that waits for a file does not wait for another file's
        # write.
        self._writer = ThreadPoolExecutor(1, initializer=_be_the_writer)
        self._reader = ThreadPoolExecutor(1, initializer=_be_the_reader)
        # By the operation that works with it.
        self._parts: dict[int, _Parts] = {}
        self.trials = Trials(
            passed=lambda session: self._begin_file_job(folder.passed, session),
            failed=lambda session: self._begin_file_job(folder.failed, session),
        )

    def begin(self, operation: SessionOp) -> None:
        """Start an operation on its thread; returns at once."""
        match operation:
            case SessionSave():
                parts = self._lend(operation)
                if parts is None:
                    self.refuse(operation)
                else:
                    self._parts[id(operation)] = parts
                    self._writer.submit(self._save, operation, parts)
            case SessionFetch():
                parts = self._parts[id(operation)] = _Parts()
                try:
                    self._take_memory(operation, parts)
                except MemoryError:
                    log.warning("no memory to read a session into")
                    self._put(DiskDone(operation=operation, ok=False))
                else:
                    self._reader.submit(self._fetch, operation, parts)
            case SessionForget():
                self._writer.submit(self._forget, operation)

    def refuse(self, operation: SessionSave) -> None:
        """Refuse a save: what it was to be written from could not be made."""
        self._parts[id(operation)] = _Parts()
        self._put(DiskDone(operation=operation, ok=False))

    def done(self, report: DiskDone) -> None:
        """Handle the mail of an operation that ended: take back what was lent, or take in what was
        read.
        """
        operation = report.operation
        if isinstance(operation, SessionSave):
            self._take_back(self._parts.pop(id(operation)))
        elif isinstance(operation, SessionFetch):
            self._take_in(operation, self._parts.pop(id(operation)), ok=report.ok)

    def end(self) -> None:
        """The engine ends as it was told to: what was read has done no harm. Saves still go on."""
        self.trials.end()

    # -- host memory ----------------------------------------------------------------------------

    def _lend(self, operation: SessionSave) -> _Parts | None:
        """Lend what is to be written; None where a state is not there."""
        parts = _Parts()
        if self._parked is not None:
            parts.slabs = self._parked.lend(operation.key)
        for key, _ in operation.states:
            state = None if self._states is None else self._states.lend(key)
            if state is None:
                log.warning("a session is not saved: its state is not there")
                self._take_back(parts)
                return None
            parts.states.append(state)
        return parts

    def _take_back(self, parts: _Parts) -> None:
        if self._parked is not None:
            self._parked.take_back(parts.slabs)
        if self._states is not None:
            for state in parts.states:
                self._states.take_back(state)

    def _take_memory(self, operation: SessionFetch, parts: _Parts) -> None:
        if self._parked is not None:
            for rooms in operation.rooms:
                parts.slabs.append((self._parked.memory(rooms), 0))
        if self._states is not None:
            for _ in operation.states:
                parts.states.append((self._states.memory(self._state_bytes), 0))

    def _take_in(self, operation: SessionFetch, parts: _Parts, *, ok: bool) -> None:
        """Keep what was read as that of its keys; after a failure, the memory alone."""
        if ok:
            self.trials.begin(operation)
        if self._parked is not None and operation.rooms:
            self._parked.put(operation.key, parts.slabs)
            if not ok:
                self._parked.drop(operation.key)
        if self._states is not None:
            for (key, _), state in zip(operation.states, parts.states, strict=False):
                self._states.put(key, state)
                if not ok:
                    self._states.drop(key)

    # -- on threads of their own ----------------------------------------------------------------

    def _begin_file_job(self, job: Callable[[str], None], session: str) -> None:
        def run() -> None:
            try:
                job(session)
            except Exception:
                # A thread's boundary: nobody waits for it, and nobody else would say it.
                log.exception("the mark of a saved session cannot be changed")

        self._writer.submit(run)

    def _save(self, operation: SessionSave, parts: _Parts) -> None:
        began_ns, n_bytes, evicted = self._now_ns(), 0, list[str]()
        states = [
            (n_tokens, state)
            for (_, n_tokens), state in zip(operation.states, parts.states, strict=True)
        ]
        try:
            n_bytes, evicted = self._folder.write(
                operation.session, operation.tokens, parts.slabs, states
            )
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

    def _fetch(self, operation: SessionFetch, parts: _Parts) -> None:
        began_ns, found = self._now_ns(), None
        try:
            found = self._folder.read(
                operation.session,
                operation.tokens,
                [memory for memory, _ in parts.slabs],
                [
                    (n_tokens, memory)
                    for (_, n_tokens), (memory, _) in zip(
                        operation.states, parts.states, strict=True
                    )
                ],
            )
            if found is not None:
                self._folder.try_out(operation.session)
        except Exception:
            # A thread's boundary, as above.
            found = None
            log.exception("a saved session cannot be read")
        ms = (self._now_ns() - began_ns) / NS_PER_MS
        if found is not None:
            n_slabs = len(parts.slabs)
            parts.slabs, parts.states = found[:n_slabs], found[n_slabs:]
            log.info("session read bytes=%d ms=%.0f", parts.n_bytes, ms)
        self._put(DiskDone(operation=operation, ok=found is not None, n_bytes=parts.n_bytes, ms=ms))
