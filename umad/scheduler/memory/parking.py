"""Copies what the KV pool must give up to host memory, before it is evicted.

    copies_first(seqs)  tells whether some sequences must be copied before they are evicted
    next_ops            the copies of the next step, within the milliseconds the step has for them
    settle              books whether those copies were made

Only retained sequences are copied; a preempted request is retained first. Their cells are copied
slab by slab, and then the state at their end, in a model with states. A sequence stays usable while
it is copied, and evicting it afterwards costs nothing. While the pool is short of room, the next
sequence to be evicted is copied ahead of need. The cost model decides whether a copy is worth its
time.

Not: which sequence is evicted (`residency`), what comes back (`restoring`).
Pure; owner: the step thread.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.media.cells import has_folded
from umad.scheduler.memory.parked_store import ParkedStore
from umad.scheduler.memory.prefix_index import KEY_TOKENS
from umad.scheduler.memory.purse import Purse
from umad.scheduler.memory.residency import Residency
from umad.scheduler.memory.state_saving import StateSaver
from umad.scheduler.scheduled_request import NO_CELLS
from umad.step import HouseKept, MemoryOp, SeqPark

# After so many failures copies are given up: they would go on failing, and computing the cells
# again is just as correct.
MOST_FAILURES = 3


@dataclass(slots=True, eq=False)
class _Copy:
    """The copy of one retained sequence."""

    # The array that the sequence was retained with. It tells this sequence from another one that
    # got the same number later.
    tokens: NDArray[np.int32]
    # The key of its slabs; `NO_CELLS` when a copy is not worth its time, or there is no room.
    key: int
    # The state at its end is still to be copied.
    wants_state: bool


class Parker:
    """Decides what one pool's sequences leave in host memory."""

    def __init__(
        self, *, store: ParkedStore, states: StateSaver, residency: Residency, copying: CopyCost
    ) -> None:
        self._store = store
        self._states = states
        self._residency = residency
        self._copying = copying
        self._copies: dict[int, _Copy] = {}
        # Sequences to copy before they are evicted, and whether a guarded request needs the room.
        self._urgent: dict[int, bool] = {}
        # Sequences to copy when there is time, though no request needs their room.
        self._asked: set[int] = set()
        self._swept_version = -1
        self._ahead_version = -1
        self._failures = 0
        # A key that is about to be put back. It must not be dropped to make room.
        self._kept = NO_CELLS

    @property
    def has_room(self) -> bool:
        """Whether there is host memory to park in, and copies have not failed too often. Without
        states, the cells of a model that has some are of no use."""
        return (
            self._store.budget.capacity_bytes > 0
            and self._failures < MOST_FAILURES
            and (self._states.is_on or not self._residency.needs_states)
        )

    @property
    def has_work(self) -> bool:
        """Whether there may be something to copy or to drop."""
        return bool(
            self._urgent
            or self._asked
            or self._store.has_dropped
            or (
                self.has_room
                and self._residency.retained_version != self._ahead_version
                and self._residency.is_pressed
            )
        )

    @property
    def n_parked(self) -> int:
        """How many sequences have their cells in host memory only."""
        self._sweep()
        resident = {copy.key for copy in self._copies.values()}
        return sum(key not in resident for key in self._store)

    @property
    def parked_bytes(self) -> int:
        """Host memory taken, by cells and by states."""
        return self._store.budget.used_bytes

    def forget_kept(self, what: ForgetScope) -> set[str]:
        """Drop every parked sequence that `what` covers; return the sessions they were kept for."""
        return self._store.forget(what)

    # -- taking out -----------------------------------------------------------------------------

    def copies_first(self, seqs: tuple[int, ...], *, guarded: bool, keep: int | None) -> bool:
        """Whether some of `seqs` must be copied before they are evicted. Those will be copied.

        guarded: a guarded request needs their room. keep: the key that the request gets back.
        """
        self._kept = NO_CELLS if keep is None else keep
        self._sweep()
        waits = False
        for seq in seqs:
            copy = self._copies.get(seq)
            if copy is not None and copy.key not in self._store and self._has_cells:
                del self._copies[seq]  # there may be room by now
            if self._is_wanted(seq):
                self._urgent[seq] = guarded
                waits = True
        return waits

    def ask(self, seq: int) -> bool:
        """Have a retained sequence copied after all copies that are needed. Return False when that
        is not worth it, or there is no room."""
        self._sweep()
        if self._is_wanted(seq):
            self._asked.add(seq)
            return True
        return False

    def has_room_for(self, seq: int) -> bool:
        """Whether a retained sequence is being copied, or could be, without dropping a conversation
        that only host memory has."""
        self._sweep()
        tokens = self._residency.retained_tokens(seq)
        if tokens is None:
            return False
        copy = self._copies.get(seq)
        if copy is not None and copy.key in self._store:
            return True
        protected = {copy.key for copy in self._copies.values()}
        salt = self._residency.salt_of(seq)
        return self._store.has_room_beside_sessions(
            tokens, protected, salt, state_bytes=self._store.shape.state_bytes
        )

    def is_copied(self, seq: int) -> bool:
        """Whether all of a retained sequence is in host memory too."""
        self._sweep()
        copy = self._copies.get(seq)
        if copy is None or copy.wants_state:
            return False
        if not self._has_cells:
            return True
        return copy.key in self._store and not self._lacks_cells(copy)

    def next_ops(self, *, newcomer: Purse, background: Purse) -> list[MemoryOp]:
        """Return the copies of the next step.

        newcomer: pays for the copies that a guarded request waits for. background: for all others.
        """
        self._sweep()
        ops: list[MemoryOp] = []
        for seq in list(self._urgent):
            self._copy(seq, newcomer if self._urgent[seq] else background, ops)
            if not self._is_wanted(seq):
                del self._urgent[seq]
        if background.left_ms > 0 and not background.spent:
            self._copy_ahead(background, ops)
        for seq in list(self._asked):
            if background.left_ms > 0 and not background.spent:
                self._copy(seq, background, ops)
            if not self._is_wanted(seq):
                self._asked.discard(seq)
        return ops

    def settle(self, kept: HouseKept | None) -> None:
        """Book that the last `next_ops` were carried out."""
        if kept is None:
            return
        if kept.copied_bytes:
            self._copying.learn(kept.copied_bytes, kept.copy_ms)
        for key in kept.failed:
            self._failures += 1
            self._store.drop(key)

    def _copy(self, seq: int, purse: Purse, ops: list[MemoryOp]) -> None:
        if not self._is_wanted(seq):
            return
        copy = self._copies[seq]
        while self._lacks_cells(copy):
            cuts = self._store.cuts(copy.key)
            slab = cuts.slab_at(self._store.n_parked(copy.key))
            start = cuts.start(slab)
            n_tokens = min(cuts.end(slab), copy.tokens.size) - start
            if not purse.buys(self._copying.copy_ms(n_tokens)):
                return
            ops.append(SeqPark(seq=seq, key=copy.key, slab=slab, start=start, n_tokens=n_tokens))
            self._store.advance(copy.key, start + n_tokens)
        if copy.wants_state and self._states.affords(purse):
            copy.wants_state = False
            save = self._states.save(
                copy.tokens,
                seq=seq,
                salt=self._residency.salt_of(seq),
                owner=self._residency.owner_of(seq),
                session=self._residency.session_of(seq),
                purse=purse,
            )
            if save is not None:
                ops.append(save)

    def _copy_ahead(self, purse: Purse, ops: list[MemoryOp]) -> None:
        """While the pool is short of room, copy what will be evicted next."""
        residency = self._residency
        if residency.retained_version == self._ahead_version or not residency.is_pressed:
            return
        for seq in tuple(residency.retained()):
            if self._is_wanted(seq):
                self._copy(seq, purse, ops)
                return
        self._ahead_version = residency.retained_version

    def _is_wanted(self, seq: int) -> bool:
        """Whether a retained sequence is worth a copy, has room, and is not wholly copied yet."""
        tokens = self._residency.retained_tokens(seq)
        if tokens is None:
            return False
        copy = self._copies.get(seq)
        if copy is None:
            key = self._key_for(seq, tokens)
            # The state is of no use without the cells that belong to it.
            wants_state = (
                self.has_room
                and (key != NO_CELLS or not self._has_cells)
                and self._states.wants_end(tokens, self._residency.salt_of(seq))
            )
            copy = self._copies[seq] = _Copy(tokens, key, wants_state)
            self._store.written = {copy.key for copy in self._copies.values()}
        return copy.wants_state or self._lacks_cells(copy)

    @property
    def _has_cells(self) -> bool:
        return self._store.shape.has_cells

    def _lacks_cells(self, copy: _Copy) -> bool:
        """Whether some slabs of a sequence are still to be copied."""
        return copy.key in self._store and self._store.n_parked(copy.key) < copy.tokens.size

    def _key_for(self, seq: int, tokens: NDArray[np.int32]) -> int:
        """Return the key for the copy of `tokens`: one that holds their beginning, or a new one."""
        n_tokens, shape = tokens.size, self._store.shape
        if self._residency.needs_states and has_folded(tokens):
            return NO_CELLS  # their states are not copied (`state_saving`)
        if n_tokens < KEY_TOKENS or not (
            self._has_cells
            and self.has_room
            and self._copying.is_worth_parking(n_tokens, state_bytes=shape.state_bytes)
        ):
            return NO_CELLS
        store, session = self._store, self._residency.session_of(seq)
        salt, owner = self._residency.salt_of(seq), self._residency.owner_of(seq)
        protected = {copy.key for copy in self._copies.values()} | {self._kept}
        rebuild_ms = self._copying.rebuild_ms(n_tokens)
        key, matched = store.longest(tokens, salt)
        # A session is written from slabs of its own: those of another salt go on otherwise.
        if matched == n_tokens and (session is None or store.salt_of(key) == salt):
            return key
        if (
            key >= 0
            and matched == store.n_parked(key)
            and not store.is_pinned(key)
            and key not in protected  # another sequence is being copied there
            # The beginning may be shared where the rest may not.
            and store.salt_of(key) == salt
            and store.extend(
                key, tokens, session=session, rebuild_ms=rebuild_ms, protected=protected
            )
        ):
            return key
        reserved = store.reserve(
            tokens,
            session=session,
            rebuild_ms=rebuild_ms,
            protected=protected,
            salt=salt,
            owner=owner,
        )
        return NO_CELLS if reserved is None else reserved

    def _sweep(self) -> None:
        """Forget copies of sequences that are no longer retained. The slabs already copied stay."""
        if self._residency.retained_version == self._swept_version:
            return
        self._swept_version = self._residency.retained_version
        for seq, copy in list(self._copies.items()):
            if self._residency.retained_tokens(seq) is not copy.tokens:
                del self._copies[seq]
                self._store.written = {copy.key for copy in self._copies.values()}
                self._urgent.pop(seq, None)
                shared = any(other.key == copy.key for other in self._copies.values())
                if copy.key in self._store and not shared:
                    self._store.settle(copy.key)
