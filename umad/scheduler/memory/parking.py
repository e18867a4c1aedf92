"""Copies cells that the KV pool must give up to host memory, and puts them back, slab by slab.

    copies_first(seqs)  tells whether some sequences must be copied before they are evicted
    offer / begin       what a request gets back from host memory instead of computing it
    next_ops            the copies of the next step, within the milliseconds the step has for them
    settle              books whether those copies were made

Only retained sequences are copied; a preempted request is retained first. A sequence stays usable
while it is copied, and evicting it afterwards costs nothing. While the pool is short of room, the
sequence that will be evicted next is copied ahead of need. The cost model decides whether a copy is
worth its time.

Not: which sequence is evicted (`residency`), which request comes in (`scheduler`).
Pure; owner: the step thread.
"""

from collections.abc import Container
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.memory.parked_store import ParkedStore
from umad.scheduler.memory.prefix_index import KEY_TOKENS
from umad.scheduler.memory.residency import Residency
from umad.scheduler.scheduled_request import Restore, ScheduledRequest
from umad.step import HouseKept, MemoryOp, ParkDrop, SeqPark, SeqRestore

# After so many failures copies are given up: they would go on failing, and computing the cells
# again is just as correct.
MOST_FAILURES = 3
_NOWHERE = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    """The copy of one retained sequence."""

    # The array that the sequence was retained with. It tells this sequence from another one that
    # got the same number later.
    tokens: NDArray[np.int32]
    # `_NOWHERE` when a copy is not worth its time, or there is no room.
    key: int


@dataclass(slots=True)
class _Purse:
    """Milliseconds of copying that a step may still spend. If there are any, they buy at least one
    slab."""

    left_ms: float
    spent: bool = False

    def buys(self, ms: float) -> bool:
        if self.left_ms <= 0 or (self.spent and ms > self.left_ms):
            return False
        self.left_ms -= ms
        self.spent = True
        return True


class Parker:
    """Decides on the copies between one pool and one store."""

    def __init__(self, *, store: ParkedStore, residency: Residency, copying: CopyCost) -> None:
        self._store = store
        self._residency = residency
        self._copying = copying
        self._copies: dict[int, _Copy] = {}
        # Sequences to copy before they are evicted, and whether a guarded request needs the room.
        self._urgent: dict[int, bool] = {}
        # Sequences to copy when there is time, though no request needs their room.
        self._asked: set[int] = set()
        self._restoring: dict[int, ScheduledRequest] = {}
        # How many tokens each request had before the plan under way put some back.
        self._before: dict[int, int] = {}
        self._swept_version = -1
        self._ahead_version = -1
        self._failures = 0
        # A key that is about to be put back. It must not be dropped to make room.
        self._kept = _NOWHERE
        self.restores_total = 0

    @property
    def has_room(self) -> bool:
        """Whether there is host memory to park in, and copies have not failed too often."""
        return self._store.shape.capacity_bytes > 0 and self._failures < MOST_FAILURES

    @property
    def has_work(self) -> bool:
        """Whether there may be something to copy or to drop."""
        return bool(
            self._restoring
            or self._urgent
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
        """Host memory taken."""
        return self._store.used_bytes

    def forget_kept(self, what: ForgetScope) -> set[str]:
        """Drop every parked sequence that `what` covers; return the sessions they were kept for."""
        return self._store.forget(what)

    # -- giving back ----------------------------------------------------------------------------

    def offer(self, entry: ScheduledRequest) -> Restore | None:
        """Return what `entry` would get back if it were placed now; None where nothing fits or
        computing it again is as cheap."""
        if not len(self._store) or entry.scores:
            return None
        key, end = self._store.longest(entry.tokens[: entry.n_tokens - 1], entry.salt)
        if key < 0:
            return None
        matched = self._residency.longest_prefix(entry)[1]
        slice_cells = self._store.shape.slice_cells
        start = matched // slice_cells * slice_cells
        copy_ms = self._copying.copy_ms(end - start)
        if end <= matched or copy_ms >= self._copying.rebuild_ms(end - matched, start=matched):
            return None
        return Restore(key=key, start=start, end=end)

    def begin(self, entry: ScheduledRequest) -> None:
        """Start to put back what `entry` was placed with as its `restore`, if it has one."""
        restore = entry.restore
        if restore is not None:
            self._store.pin(restore.key, rebuild_ms=self._copying.rebuild_ms(restore.end))
            self._restoring[entry.rid] = entry
            self.restores_total += 1

    def forget(self, entry: ScheduledRequest) -> None:
        """Stop putting cells back for `entry`: it left, was preempted, or has them all."""
        if self._restoring.pop(entry.rid, None) is not None and entry.restore is not None:
            self._store.unpin(entry.restore.key)
        entry.restore = None
        self._before.pop(entry.rid, None)

    # -- taking out -----------------------------------------------------------------------------

    def copies_first(self, seqs: tuple[int, ...], *, guarded: bool, keep: int | None) -> bool:
        """Whether some of `seqs` must be copied before they are evicted. Those will be copied.

        guarded: a guarded request needs their room. keep: the key that the request gets back.
        """
        self._kept = _NOWHERE if keep is None else keep
        self._sweep()
        waits = False
        for seq in seqs:
            copy = self._copies.get(seq)
            if copy is not None and copy.key not in self._store:
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
        return self._store.has_room_beside_sessions(tokens, protected, salt)

    def is_copied(self, seq: int) -> bool:
        """Whether all of a retained sequence is in host memory too."""
        self._sweep()
        copy = self._copies.get(seq)
        return (
            copy is not None
            and copy.key in self._store
            and self._store.n_parked(copy.key) >= copy.tokens.size
        )

    def next_ops(
        self, *, guarded: Container[str], newcomer_ms: float, background_ms: float
    ) -> tuple[tuple[MemoryOp, ...], bool]:
        """Return the copies of the next step, and whether some were background work.

        newcomer_ms: milliseconds for the copies that a guarded request waits for.
        background_ms: milliseconds for all other copies.
        If one of them is above 0, it buys at least one slab.
        """
        self._sweep()
        ops: list[MemoryOp] = []
        newcomer, background = _Purse(newcomer_ms), _Purse(background_ms)
        for entry in self._restoring.values():
            self._put_back(entry, newcomer if entry.lane in guarded else background, ops)
        for seq in list(self._urgent):
            self._copy(seq, newcomer if self._urgent[seq] else background, ops)
            if not self._is_wanted(seq):
                del self._urgent[seq]
        if background_ms > 0 and not background.spent:
            self._copy_ahead(background, ops)
        for seq in list(self._asked):
            if background_ms > 0 and not background.spent:
                self._copy(seq, background, ops)
            if not self._is_wanted(seq):
                self._asked.discard(seq)
        dropped = [ParkDrop(key=key) for key in self._store.take_dropped()]
        return (*dropped, *ops), background.spent

    def settle(self, kept: HouseKept | None) -> bool:
        """Book that the last `next_ops` were carried out. Return whether some request may go on
        because of it."""
        if kept is not None:
            self._copying.learn(kept.copied_bytes, kept.copy_ms)
            for key in kept.failed:
                self._failed(key)
        self._before.clear()
        whole = [
            entry
            for entry in self._restoring.values()
            if entry.restore is not None and entry.n_computed >= entry.restore.end
        ]
        for entry in whole:
            self.forget(entry)
        return bool(whole) or (kept is not None and bool(kept.copied_bytes or kept.failed))

    def _failed(self, key: int) -> None:
        self._failures += 1
        for entry in list(self._restoring.values()):
            if entry.restore is not None and entry.restore.key == key:
                if entry.rid in self._before:
                    self._residency.take_back(entry, self._before[entry.rid])
                self.forget(entry)
        self._store.drop(key)

    def _put_back(self, entry: ScheduledRequest, purse: _Purse, ops: list[MemoryOp]) -> None:
        restore, slice_cells = entry.restore, self._store.shape.slice_cells
        if restore is None:
            return
        self._before[entry.rid] = entry.n_computed
        while entry.n_computed < restore.end:
            start = entry.n_computed
            n_tokens = min(slice_cells, restore.end - start)
            slab = start // slice_cells
            if self._store.slab_cells(restore.key, slab) > self._residency.ledger.free_cells:
                # Only part of the slab is wanted, but the whole slab is put back before the rest
                # of it is given up; and there are not enough free cells for the whole.
                entry.restore = replace(restore, end=start)
                return
            if not purse.buys(self._copying.copy_ms(n_tokens)):
                return
            ops.append(
                SeqRestore(
                    key=restore.key,
                    slab=slab,
                    seq=entry.seq,
                    start=start,
                    n_tokens=n_tokens,
                )
            )
            self._residency.grow(entry, n_tokens)

    def _copy(self, seq: int, purse: _Purse, ops: list[MemoryOp]) -> None:
        slice_cells = self._store.shape.slice_cells
        while self._is_wanted(seq):
            copy = self._copies[seq]
            slab = self._store.n_parked(copy.key) // slice_cells
            start = slab * slice_cells
            n_tokens = min(slice_cells, copy.tokens.size - start)
            if not purse.buys(self._copying.copy_ms(n_tokens)):
                return
            ops.append(SeqPark(seq=seq, key=copy.key, slab=slab, start=start, n_tokens=n_tokens))
            self._store.advance(copy.key, start + n_tokens)

    def _copy_ahead(self, purse: _Purse, ops: list[MemoryOp]) -> None:
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
            copy = self._copies[seq] = _Copy(tokens, self._key_for(seq, tokens))
        return copy.key in self._store and self._store.n_parked(copy.key) < tokens.size

    def _key_for(self, seq: int, tokens: NDArray[np.int32]) -> int:
        """Return the key for the copy of `tokens`: one that holds their beginning, or a new one."""
        n_tokens = tokens.size
        if n_tokens < KEY_TOKENS or not (
            self.has_room and self._copying.is_worth_parking(n_tokens)
        ):
            return _NOWHERE
        store, session = self._store, self._residency.session_of(seq)
        salt, owner = self._residency.salt_of(seq), self._residency.owner_of(seq)
        protected = {copy.key for copy in self._copies.values()} | {self._kept}
        rebuild_ms = self._copying.rebuild_ms(n_tokens)
        key, matched = store.longest(tokens, salt)
        if matched == n_tokens:
            return key
        if (
            key >= 0
            and matched == store.n_parked(key)
            and not store.is_pinned(key)
            and key not in protected  # another sequence is being copied there
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
        return _NOWHERE if reserved is None else reserved

    def _sweep(self) -> None:
        """Forget copies of sequences that are no longer retained. The slabs already copied stay."""
        if self._residency.retained_version == self._swept_version:
            return
        self._swept_version = self._residency.retained_version
        for seq, copy in list(self._copies.items()):
            if self._residency.retained_tokens(seq) is not copy.tokens:
                del self._copies[seq]
                self._urgent.pop(seq, None)
                shared = any(other.key == copy.key for other in self._copies.values())
                if copy.key in self._store and not shared:
                    self._store.settle(copy.key)
