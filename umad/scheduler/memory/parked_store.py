"""The books of what is parked in host memory: whose tokens, how many slabs, who goes first.

A parked sequence lies in slabs of `slice_cells` cells each, so that it can be copied a slab at a
time. When another one needs room, the one goes that would cost least to rebuild for the room it
takes, counted from when it was last of use (GreedyDual, Cao and Irani 1997); sessions go after all
others.
Not: what is worth parking, or when (`parking`); the bytes themselves
(`umad.engine.llamacpp.parked_cells`). Pure; owner: the step thread.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.memory.prefix_index import PrefixIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkShape:
    """capacity_bytes: of host memory for everything parked. slice_cells: cells of a slab.
    slab_bytes: host memory of one slab, full or not."""

    capacity_bytes: int
    slice_cells: int
    slab_bytes: int

    def slabs(self, n_tokens: int) -> int:
        """Slabs that so many tokens take."""
        return -(-n_tokens // self.slice_cells)


@dataclass(slots=True, eq=False)
class _Parked:
    """tokens: all that are to be parked; the first n_parked are there. n_slabs: room taken, used or
    reserved. worth: the store's clock when it was last of use, and what it would cost to rebuild
    for each slab. pins: how many requests are being given it back. salt: under which it may be
    found (`prefixes`)."""

    tokens: NDArray[np.int32]
    session: str | None
    n_parked: int
    n_slabs: int
    worth: float
    pins: int = 0
    salt: str = ""
    owner: str = ""
    # To be dropped as soon as nobody is given it back any more.
    goes: bool = False


class ParkedStore:
    """Keys 0, 1, 2 … of what is, or is about to be, in host memory."""

    def __init__(self, shape: ParkShape) -> None:
        self.shape = shape
        self._most_slabs = shape.capacity_bytes // shape.slab_bytes
        self._n_slabs = 0
        self._next_key = 0
        self._parked: dict[int, _Parked] = {}
        self._index = PrefixIndex()
        self._clock = 0.0
        self._dropped: list[int] = []

    def __len__(self) -> int:
        return len(self._parked)

    def __contains__(self, key: int) -> bool:
        return key in self._parked

    def __iter__(self) -> Iterator[int]:
        return iter(self._parked)

    @property
    def used_bytes(self) -> int:
        """Host memory taken or spoken for."""
        return self._n_slabs * self.shape.slab_bytes

    @property
    def has_dropped(self) -> bool:
        """Some keys were dropped since the last `take_dropped`."""
        return bool(self._dropped)

    def take_dropped(self) -> tuple[int, ...]:
        """Keys dropped since the last call: their memory is free once that has been told."""
        dropped = tuple(self._dropped)
        self._dropped.clear()
        return dropped

    def n_parked(self, key: int) -> int:
        """Tokens of `key` that are in host memory."""
        return self._parked[key].n_parked

    def tokens(self, key: int) -> NDArray[np.int32]:
        """Those of `key` that are in host memory."""
        parked = self._parked[key]
        return parked.tokens[: parked.n_parked]

    def is_pinned(self, key: int) -> bool:
        """Somebody is being given it back."""
        return self._parked[key].pins > 0

    def longest(self, tokens: NDArray[np.int32], salt: str = "") -> tuple[int, int]:
        """(key, tokens) of the longest prefix of `tokens` in host memory; (-1, 0) for none."""
        return self._index.longest(tokens, salt)

    def slab_cells(self, key: int, slab: int) -> int:
        """Cells slab number `slab` of `key` takes while it is put back."""
        n_before = slab * self.shape.slice_cells
        return min(self.shape.slice_cells, self._parked[key].n_parked - n_before)

    def reserve(
        self,
        tokens: NDArray[np.int32],
        *,
        session: str | None,
        rebuild_ms: float,
        protected: Set[int],
        salt: str = "",
        owner: str = "",
    ) -> int | None:
        """A new key with room for all of `tokens`, none of which is there yet; None for no room.

        protected: keys that must not be dropped for it.
        """
        n_slabs = self.shape.slabs(tokens.size)
        if not self._make_room(n_slabs, protected):
            return None
        key = self._next_key
        self._next_key += 1
        self._n_slabs += n_slabs
        self._parked[key] = _Parked(
            tokens,
            session,
            0,
            n_slabs,
            self._clock + rebuild_ms / max(1, n_slabs),
            salt=salt,
            owner=owner,
        )
        return key

    def extend(
        self,
        key: int,
        tokens: NDArray[np.int32],
        *,
        session: str | None,
        rebuild_ms: float,
        protected: Set[int],
    ) -> bool:
        """Make room for the rest of `tokens`, of which `key` holds the beginning."""
        parked = self._parked[key]
        n_slabs = self.shape.slabs(tokens.size)
        if not self._make_room(n_slabs - parked.n_slabs, protected | {key}):
            return False
        self._n_slabs += n_slabs - parked.n_slabs
        parked.tokens, parked.n_slabs = tokens, n_slabs
        parked.session = session or parked.session
        parked.worth = self._clock + rebuild_ms / max(1, n_slabs)
        self._index.put(key, tokens, parked.n_parked, parked.salt)
        return True

    def advance(self, key: int, n_parked: int) -> None:
        """So many of its tokens are in host memory now."""
        parked = self._parked[key]
        parked.n_parked = n_parked
        if not parked.goes:
            self._index.put(key, parked.tokens, n_parked, parked.salt)

    def settle(self, key: int) -> None:
        """Nothing more will come: give up the room that was for it."""
        parked = self._parked[key]
        if not parked.n_parked:
            self.drop(key)
            return
        n_slabs = self.shape.slabs(parked.n_parked)
        self._n_slabs -= parked.n_slabs - n_slabs
        parked.n_slabs = n_slabs

    def pin(self, key: int, *, rebuild_ms: float) -> None:
        """Keep `key` while somebody is given it back; it has been of use."""
        parked = self._parked[key]
        parked.pins += 1
        parked.worth = self._clock + rebuild_ms / max(1, parked.n_slabs)

    def unpin(self, key: int) -> None:
        """One of those is done."""
        parked = self._parked.get(key)
        if parked is not None:
            parked.pins -= 1
            if parked.goes and not parked.pins:
                self.drop(key)

    def drop(self, key: int) -> None:
        """Forget `key`, if it is known."""
        parked = self._parked.pop(key, None)
        if parked is not None:
            self._n_slabs -= parked.n_slabs
            self._index.drop(key)
            self._dropped.append(key)

    def forget(self, what: ForgetScope) -> set[str]:
        """Drop what `what` takes; the sessions it was kept for."""
        names: set[str] = set()
        for key, parked in list(self._parked.items()):
            if not what.takes(parked.session, parked.owner):
                continue
            names |= {parked.session} if parked.session is not None else set()
            parked.session = None
            if parked.pins:
                # What is just being put back, or read, stays until it is; nobody finds it.
                parked.goes = True
                self._index.drop(key)
            else:
                self.drop(key)
        return names

    def has_room_beside_sessions(
        self, tokens: NDArray[np.int32], protected: Set[int], salt: str = ""
    ) -> bool:
        """Whether `tokens` could be kept without dropping what is kept for a session."""
        key, matched = self._index.longest(tokens, salt)
        known = self._parked.get(key)
        n_slabs = self.shape.slabs(tokens.size)
        if known is not None and matched == known.n_parked:
            n_slabs -= known.n_slabs
        spare = self._most_slabs - self._n_slabs
        for other, parked in self._parked.items():
            if not (parked.session or parked.pins or other in protected or other == key):
                spare += parked.n_slabs
        return n_slabs <= spare

    def _make_room(self, n_slabs: int, protected: Set[int]) -> bool:
        if n_slabs > self._most_slabs:
            return False
        while self._n_slabs + n_slabs > self._most_slabs:
            candidates = [
                (parked.session is not None, parked.worth, key)
                for key, parked in self._parked.items()
                if not parked.pins and key not in protected
            ]
            if not candidates:
                return False
            _, worth, key = min(candidates)
            self._clock = max(self._clock, worth)
            self.drop(key)
        return True
