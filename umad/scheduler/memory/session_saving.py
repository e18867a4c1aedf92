"""Decides which sessions are written to disk and read back, so that they outlive the engine.

    take_ops(now_ns)   returns what is to be written, read or removed
    look_up(entry)     lets a new request wait for its session's file where reading it is cheapest
    done(report)       books that a save or a fetch has ended
    let_go(now_ns)     stops requests from waiting for a disk that answers late
    hurry(now_ns)      has the rest written at once, because the engine is about to end

The cells that a session leaves in the pool are copied to host memory as if they were to be evicted
(`parking`), a piece per step that the guard allows. A thread of the engine writes them to disk from
there. Reading goes the same way back: from the file into host memory, and from there into the pool
like anything that was parked. So no answer depends on a file: a request whose file cannot be read
in time is computed without it. The file of a model with states also holds its session's last
checkpoints, and of a file as much is read as belongs to one of them.

Not: files, threads, what is in a file (`umad.engine.sessions.disk`).
Pure; owner: the step thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.media.cells import whole_runs
from umad.scheduler.memory.cell_salt import Salt
from umad.scheduler.memory.checkpoints import Checkpoint, Checkpoints
from umad.scheduler.memory.parked_store import ParkedStore
from umad.scheduler.memory.parking import Parker
from umad.scheduler.memory.prefix_index import KEY_TOKENS, common_prefix
from umad.scheduler.memory.residency import Residency
from umad.scheduler.memory.restoring import Restorer
from umad.scheduler.memory.state_saving import LATEST_MARKS, StateSaver
from umad.scheduler.scheduled_request import NO_CELLS, ScheduledRequest
from umad.step import DiskDone, SessionFetch, SessionForget, SessionOp, SessionSave
from umad.units import BYTES_PER_MB

# A session is written once it has rested for so long. One that goes on at once is not written twice
# but once, at its next pause.
SAVE_AFTER_NS = 2_000_000_000
# How long a request waits for a file at most, and how long an ending engine waits for its last
# files.
FETCH_NS = 5_000_000_000
LAST_SAVES_NS = 5_000_000_000
# The rate assumed until the first file is read: a plain SATA disk, and a checksum over the whole
# file.
FIRST_READ_MS_PER_MB = 3.0
LEARNING_RATE = 0.2


@dataclass(slots=True, eq=False)
class _Pending:
    """A session that is to be written."""

    seq: int
    # The very array that `seq` was retained with.
    tokens: NDArray[np.int32]
    since_ns: int
    salt: Salt


@dataclass(slots=True, eq=False)
class _Fetch:
    operation: SessionFetch
    n_tokens: int
    waiting: list[ScheduledRequest] = field(default_factory=list)


class SessionSaver:
    """Accounts for the session files of one folder.

    saved: the tokens of each session that is in the folder; None where no session is to be saved.
    saved_states: after how many tokens the states in their files were taken, ascending.
    """

    def __init__(
        self,
        *,
        saved: Mapping[str, NDArray[np.int32]] | None,
        saved_states: Mapping[str, tuple[int, ...]],
        store: ParkedStore,
        checkpoints: Checkpoints,
        parker: Parker,
        states: StateSaver,
        restorer: Restorer,
        residency: Residency,
        copying: CopyCost,
    ) -> None:
        self._is_on = saved is not None and store.shape.capacity_bytes > 0
        self._saved = dict(saved or {})
        self._saved_states = dict(saved_states)
        self._store = store
        self._checkpoints = checkpoints
        self._parker = parker
        self._states = states
        self._restorer = restorer
        self._residency = residency
        self._copying = copying
        self._pending: dict[str, _Pending] = {}
        # The tokens of each session when it was last dealt with, so that it is not dealt with again
        # unless they have changed.
        self._settled: dict[str, NDArray[np.int32]] = {}
        self._saving: SessionSave | None = None
        self._fetches: dict[int, _Fetch] = {}
        self._ops: list[SessionOp] = []
        self._seen_version = -1
        self._read_ms_per_mb = FIRST_READ_MS_PER_MB
        self._last_ns: int | None = None

    @property
    def n_saved(self) -> int:
        """How many sessions are on disk."""
        return len(self._saved)

    # -- writing --------------------------------------------------------------------------------

    def take_ops(self, now_ns: int) -> tuple[SessionOp, ...]:
        """Return what the engine's threads are to do next. Every plan asks for it."""
        if not self._is_on:
            return ()
        self._look_for_new(now_ns)
        if self._pending and self._saving is None:
            self._save_next(now_ns)
        if not self._ops:
            return ()
        ops = tuple(self._ops)
        self._ops.clear()
        return ops

    def hurry(self, now_ns: int) -> bool:
        """Start writing at once, without waiting for a pause. Return whether some sessions are
        still to be written."""
        if not self._is_on:
            return False
        self._look_for_new(now_ns)
        if self._last_ns is None:
            self._last_ns = now_ns + LAST_SAVES_NS
        return now_ns < self._last_ns and bool(self._pending or self._saving)

    def forget(self, what: ForgetScope) -> set[str]:
        """Have the files that `what` covers removed; return the names of their sessions."""
        if self._saving is not None and what.takes_file(self._saving.session):
            self._book(self._saving)
            self._saving = None
        for session in [one for one in self._pending if what.takes_file(one)]:
            del self._pending[session]
        known = {session for session in self._saved if what.takes_file(session)}
        for session in known:
            self._lose(session)
            self._ops.append(SessionForget(session=session))
        return known

    def _look_for_new(self, now_ns: int) -> None:
        if self._seen_version == self._residency.retained_version:
            return
        self._seen_version = self._residency.retained_version
        settled: dict[str, NDArray[np.int32]] = {}
        for seq in self._residency.retained():
            session, tokens = self._residency.session_of(seq), self._residency.retained_tokens(seq)
            if session is None or tokens is None:
                continue
            if self._settled.get(session) is tokens:
                settled[session] = tokens
                continue
            pending = self._pending.get(session)
            if pending is None or pending.tokens is not tokens:
                self._pending[session] = _Pending(seq, tokens, now_ns, self._residency.salt_of(seq))
        self._settled = settled

    def _save_next(self, now_ns: int) -> None:
        for session, pending in list(self._pending.items()):
            if self._last_ns is None and now_ns - pending.since_ns < SAVE_AFTER_NS:
                continue
            if self._is_saved(session, pending):
                self._settle(session, pending.tokens)
                continue
            if not self._is_in_host_memory(pending):
                is_retained = self._residency.retained_tokens(pending.seq) is pending.tokens
                is_coming = self._checkpoints.has(pending.tokens, pending.salt)
                if is_retained and (self._parker.ask(pending.seq) or is_coming):
                    continue
            operation = self._save_of(session, pending)
            self._settle(session, pending.tokens)
            # Nothing is written where the session went on, or computing it is quicker than copying
            # it, or there is no room.
            if operation is not None:
                self._saving = operation
                self._ops.append(operation)
                return

    def _is_saved(self, session: str, pending: _Pending) -> bool:
        """Whether the file of the session is as good as a new one would be."""
        tokens, saved = pending.tokens, self._saved.get(session)
        if saved is None or not np.array_equal(saved[: tokens.size], tokens):
            return False
        if not self._residency.needs_states:
            return True
        in_file = _last_within(self._saved_states.get(session, ()), tokens.size)
        return in_file == tokens.size or (
            in_file > 0
            and in_file >= max([one.n_tokens for one in self._chain(pending)], default=0)
            and not self._states.wants_end(tokens, pending.salt)
        )

    def _is_in_host_memory(self, pending: _Pending) -> bool:
        """Whether all of a session's cells, and the state at its end if that is worth it, are in
        host memory."""
        tokens, salt = pending.tokens, pending.salt
        if self._store.shape.has_cells and self._store.whole(tokens, salt) is None:
            return False
        return not self._residency.needs_states or not self._states.wants_end(tokens, salt)

    def _save_of(self, session: str, pending: _Pending) -> SessionSave | None:
        """Return the operation that writes what host memory holds of a session; None where that is
        not enough to go on from."""
        key, tokens = NO_CELLS, pending.tokens
        if self._store.shape.has_cells:
            found = self._store.whole(tokens, pending.salt)
            if found is None:
                return None
            key, tokens = found, self._store.tokens(found)
        if not self._residency.needs_states:
            return SessionSave(session=session, key=key, tokens=tokens)
        chain = self._chain(pending)[-LATEST_MARKS:]
        if not chain:
            return None
        states = tuple((one.key, one.n_tokens) for one in chain)
        return SessionSave(session=session, key=key, tokens=tokens, states=states)

    def _chain(self, pending: _Pending) -> tuple[Checkpoint, ...]:
        return self._checkpoints.of(pending.tokens, pending.salt)

    def _book(self, operation: SessionSave) -> None:
        """Book that the session is on disk."""
        self._saved[operation.session] = operation.tokens
        self._saved_states[operation.session] = tuple(n for _, n in operation.states)

    def _lose(self, session: str) -> None:
        """Book that the session is no longer on disk."""
        self._saved.pop(session, None)
        self._saved_states.pop(session, None)

    def _settle(self, session: str, tokens: NDArray[np.int32]) -> None:
        del self._pending[session]
        self._settled[session] = tokens

    # -- reading --------------------------------------------------------------------------------

    def look_up(self, entry: ScheduledRequest, now_ns: int) -> None:
        """Let the waiting `entry` wait for its session's file where reading it is the cheapest
        way to get its cells."""
        saved = None if entry.session is None else self._saved.get(entry.session)
        if not self._is_on or saved is None or entry.session is None:
            return
        tokens = entry.tokens[: entry.n_tokens - 1]
        matched = whole_runs(entry.tokens, common_prefix(saved, tokens))
        if self._residency.needs_states:
            states = self._saved_states.get(entry.session, ())
            fits = tuple([place for place in states if self._fits(entry, place, saved)])
            matched = _last_within(fits, matched)
            offer = self._restorer.offer(entry)
            elsewhere = 0 if offer is None else offer.end
        else:
            elsewhere = self._store.longest(tokens, entry.salt)[1]
        known = max(self._residency.longest_prefix(entry)[1], elsewhere)
        if matched < known + KEY_TOKENS:
            return
        fetch = next(
            (one for one in self._fetches.values() if one.operation.session == entry.session), None
        )
        if fetch is None:
            fetch = self._begin(entry, entry.session, saved, matched, known)
        if fetch is not None:
            fetch.waiting.append(entry)
            entry.reads_until_ns = now_ns + FETCH_NS

    def _fits(self, entry: ScheduledRequest, place: int, saved: NDArray[np.int32]) -> bool:
        """Whether the cells that are promised to `entry` suffice to put back all slabs up to
        `place`. The last one takes cells for all that it holds (`restoring`)."""
        cuts = self._store.shape.cuts(saved)
        if not self._store.shape.has_cells:
            return True
        return cuts.end(cuts.slab_at(place - 1)) <= entry.cells_at_most

    def _begin(
        self,
        entry: ScheduledRequest,
        session: str,
        saved: NDArray[np.int32],
        matched: int,
        known: int,
    ) -> _Fetch | None:
        shape = self._store.shape
        cuts = shape.cuts(saved)
        n_slabs = cuts.slab_at(matched - 1) + 1 if shape.has_cells else 0
        rooms = tuple(map(cuts.rooms, range(n_slabs)))
        state_bytes = self._checkpoints.state_bytes
        n_bytes = sum(rooms) * shape.slab_bytes + state_bytes
        read_ms = n_bytes / BYTES_PER_MB * self._read_ms_per_mb
        copy_ms = self._copying.bytes_ms(state_bytes)
        if shape.has_cells:
            copy_ms += self._copying.copy_ms(matched)
        rebuild_ms = self._copying.rebuild_ms(matched - known, start=known)
        if read_ms + copy_ms >= rebuild_ms:
            return None
        tokens = saved[: cuts.end(n_slabs - 1) if n_slabs else 0]
        key = self._store.reserve(
            tokens,
            session=session,
            rebuild_ms=rebuild_ms,
            protected=frozenset(),
            salt=entry.salt,
            owner=entry.owner,
        )
        if key is None:
            return None
        self._store.pin(key, rebuild_ms=rebuild_ms)
        states = self._room_for_state(entry, session, saved[:matched])
        if states is None:
            self._store.drop(key)
            return None
        operation = SessionFetch(session=session, key=key, rooms=rooms, tokens=saved, states=states)
        self._ops.append(operation)
        fetch = self._fetches[key] = _Fetch(operation, tokens.size)
        return fetch

    def _room_for_state(
        self, entry: ScheduledRequest, session: str, tokens: NDArray[np.int32]
    ) -> tuple[tuple[int, int], ...] | None:
        """Return the states to be read, which have room reserved for them; None for no room."""
        if not self._residency.needs_states or self._checkpoints.has(tokens, entry.salt):
            return ()
        one = self._checkpoints.reserve(
            tokens,
            salt=entry.salt,
            owner=entry.owner,
            session=session,
            protected=self._store.written,
        )
        return None if one is None else ((one.key, one.n_tokens),)

    def let_go(self, now_ns: int) -> bool:
        """Stop requests from waiting that have waited long enough for a file; they may be placed
        without it. Return whether there were some."""
        overdue = [
            (fetch, entry)
            for fetch in self._fetches.values()
            for entry in fetch.waiting
            if now_ns >= entry.reads_until_ns
        ]
        for fetch, entry in overdue:
            fetch.waiting.remove(entry)
        return bool(overdue)

    # -- results --------------------------------------------------------------------------------

    def done(self, report: DiskDone) -> None:
        """Book that a save, a fetch or a removal has ended."""
        operation = report.operation
        if isinstance(operation, SessionForget):
            return
        if isinstance(operation, SessionFetch):
            self._fetched(operation, report)
            return
        for session in report.evicted:
            self._lose(session)
        # If the session was forgotten meanwhile, its file is being removed and is not booked.
        if self._saving is operation:
            self._saving = None
            if report.ok:
                self._book(operation)

    def _fetched(self, operation: SessionFetch, report: DiskDone) -> None:
        fetch = self._fetches.pop(operation.key)
        if report.ok:
            self._store.advance(operation.key, fetch.n_tokens)
        self._store.unpin(operation.key)
        for key, _ in operation.states:
            if report.ok:
                self._checkpoints.saved(key, self._checkpoints.state_bytes)
            else:
                self._checkpoints.lost(key)
        if report.ok:
            rate = report.ms / max(1, report.n_bytes) * BYTES_PER_MB
            self._read_ms_per_mb += LEARNING_RATE * (rate - self._read_ms_per_mb)
        else:
            self._lose(operation.session)
        if not report.ok or not self._store.shape.has_cells:
            # A model of states alone has nothing under this key, which only named the fetch.
            self._store.drop(operation.key)
        for entry in fetch.waiting:
            entry.reads_until_ns = 0


def _last_within(places: tuple[int, ...], n_tokens: int) -> int:
    """The last of `places` up to `n_tokens`; 0 for none."""
    return max([place for place in places if place <= n_tokens], default=0)
