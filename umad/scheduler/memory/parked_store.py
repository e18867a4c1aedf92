"""Keeps account of the sequences parked in host memory, and drops some when it is full.

A parked sequence lies in slabs of `slice_cells` cells each (`slab_cuts`), so that it can be copied
one slab at a time. Host memory is shared with the checkpoints of states (`park_budget`): when there
is no room, the thing goes that costs least to rebuild for its room, counted from when it was last
of use. Sequences kept for a session are dropped after all others.

Not: what is worth parking, or when (`parking`); the bytes themselves
(`umad.engine.llamacpp.parked_cells`).
Pure; owner: the step thread.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.memory.cell_salt import Salt
from umad.scheduler.memory.park_budget import Least, ParkBudget
from umad.scheduler.memory.prefix_index import PrefixIndex
from umad.scheduler.memory.slab_cuts import SlabCuts


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkShape:
    """How much host memory there is for parking, and how it is divided into slabs."""

    # Host memory for everything that is parked.
    capacity_bytes: int
    # Cells of one slab.
    slice_cells: int
    # Host memory of one slab, full or not.
    slab_bytes: int
    # The most host memory that one checkpoint of a state takes; 0 for a model without states.
    state_bytes: int = 0
    # The model has cells to park beside its states. Where it has none, nothing lies in slabs.
    has_cells: bool = True

    def cuts(self, tokens: NDArray[np.int32]) -> SlabCuts:
        """The slabs that a sequence is cut into."""
        return SlabCuts(tokens, self.slice_cells)

    def slabs(self, tokens: NDArray[np.int32]) -> int:
        """How many slabs a sequence takes the room of."""
        return self.cuts(tokens).n_rooms if self.has_cells else 0


@dataclass(slots=True, eq=False)
class _Parked:
    """One sequence in host memory, or on its way there."""

    # All tokens that are to be parked.
    tokens: NDArray[np.int32]
    cuts: SlabCuts
    session: str | None
    # How many of `tokens`, from the first on, are in host memory already.
    n_parked: int
    # The room it takes, used or reserved.
    n_slabs: int
    # The budget's clock when it was last of use, plus the milliseconds to rebuild it per slab.
    worth: float
    # How many requests are getting it back now.
    pins: int = 0
    # The salt under which it may be found (`prefix_index`).
    salt: Salt = ""
    owner: str = ""
    # It is dropped as soon as no request is getting it back any more.
    goes: bool = False


class ParkedStore:
    """The sequences that are, or are about to be, in host memory, by their keys 0, 1, 2 …"""

    def __init__(self, shape: ParkShape, budget: ParkBudget | None = None) -> None:
        """budget: where others keep things in the same host memory; None for no others."""
        self.shape = shape
        self.budget = budget or ParkBudget(shape.capacity_bytes)
        self.budget.join(self)
        self._n_slabs = 0
        self._next_key = 0
        self._parked: dict[int, _Parked] = {}
        self._index = PrefixIndex()
        self._dropped: list[int] = []
        # Keys whose sequences are in the pool still, so that they may be written to. `parking`
        # keeps this.
        self.written: set[int] = set()

    def __len__(self) -> int:
        return len(self._parked)

    def __contains__(self, key: int) -> bool:
        return key in self._parked

    def __iter__(self) -> Iterator[int]:
        return iter(self._parked)

    @property
    def used_bytes(self) -> int:
        """Host memory that is taken or reserved."""
        return self._n_slabs * self.shape.slab_bytes

    @property
    def has_dropped(self) -> bool:
        """Whether some keys were dropped since the last `take_dropped`."""
        return bool(self._dropped)

    def take_dropped(self) -> tuple[int, ...]:
        """Return the keys dropped since the last call. Their memory is free once the engine has
        been told."""
        dropped = tuple(self._dropped)
        self._dropped.clear()
        return dropped

    def n_parked(self, key: int) -> int:
        """Tokens of `key` that are in host memory."""
        return self._parked[key].n_parked

    def tokens(self, key: int) -> NDArray[np.int32]:
        """The tokens of `key` that are in host memory."""
        parked = self._parked[key]
        return parked.tokens[: parked.n_parked]

    def salt_of(self, key: int) -> Salt:
        """The salt under which `key` may be found."""
        return self._parked[key].salt

    def is_pinned(self, key: int) -> bool:
        """Whether some request is getting `key` back now."""
        return self._parked[key].pins > 0

    def longest(self, tokens: NDArray[np.int32], salt: Salt = "") -> tuple[int, int]:
        """(key, tokens) of the longest prefix of `tokens` in host memory; (-1, 0) for none."""
        return self._index.longest(tokens, salt)

    def whole(self, tokens: NDArray[np.int32], salt: Salt) -> int | None:
        """The key that has all of `tokens` in host memory under that very salt; None where none
        has. Slabs of another salt may go on with cells that other adapters have computed."""
        key, n_parked = self.longest(tokens, salt)
        if n_parked < tokens.size or self._parked[key].salt != salt:
            return None
        return key

    def cuts(self, key: int) -> SlabCuts:
        """How `key` is cut into slabs."""
        return self._parked[key].cuts

    def slab_end(self, key: int, slab: int) -> int:
        """The cell behind slab number `slab` of `key`, as far as it is in host memory. All of it
        takes cells while it is put back."""
        parked = self._parked[key]
        return min(parked.cuts.end(slab), parked.n_parked)

    @property
    def most_cells(self) -> int:
        """The cells of the largest slab that there is or may be."""
        largest = [parked.cuts.most_cells for parked in self._parked.values()]
        return max([self.shape.slice_cells, *largest])

    def reserve(
        self,
        tokens: NDArray[np.int32],
        *,
        session: str | None,
        rebuild_ms: float,
        protected: Set[int],
        salt: Salt = "",
        owner: str = "",
    ) -> int | None:
        """Return a new key with room for all of `tokens`, or None when there is no room.

        None of the tokens is in host memory yet.
        protected: keys that must not be dropped to make that room.
        """
        n_slabs = self.shape.slabs(tokens)
        if not self._make_room(n_slabs, protected):
            return None
        key = self._next_key
        self._next_key += 1
        self._take(n_slabs)
        self._parked[key] = _Parked(
            tokens,
            self.shape.cuts(tokens),
            session,
            0,
            n_slabs,
            self.budget.clock + rebuild_ms / max(1, n_slabs),
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
        """Make room for the rest of `tokens`, of which `key` holds the beginning. Return False when
        there is no room."""
        parked = self._parked[key]
        n_slabs = self.shape.slabs(tokens)
        if not self._make_room(n_slabs - parked.n_slabs, protected | {key}):
            return False
        self._take(n_slabs - parked.n_slabs)
        parked.tokens, parked.n_slabs = tokens, n_slabs
        parked.cuts = self.shape.cuts(tokens)
        parked.session = session or parked.session
        parked.worth = self.budget.clock + rebuild_ms / max(1, n_slabs)
        self._index.put(key, tokens, parked.n_parked, parked.salt)
        return True

    def advance(self, key: int, n_parked: int) -> None:
        """Book that the first `n_parked` tokens of `key` are in host memory now."""
        parked = self._parked[key]
        parked.n_parked = n_parked
        if not parked.goes:
            self._index.put(key, parked.tokens, n_parked, parked.salt)

    def settle(self, key: int) -> None:
        """Give up the room that is still reserved for `key`: no more of it will be copied."""
        parked = self._parked[key]
        if not parked.n_parked:
            self.drop(key)
            return
        n_slabs = self.shape.slabs(parked.tokens[: parked.n_parked])
        self._take(n_slabs - parked.n_slabs)
        parked.n_slabs = n_slabs

    def pin(self, key: int, *, rebuild_ms: float) -> None:
        """Keep `key` while a request gets it back, and count it as of use now."""
        parked = self._parked[key]
        parked.pins += 1
        parked.worth = self.budget.clock + rebuild_ms / max(1, parked.n_slabs)

    def unpin(self, key: int) -> None:
        """One of the requests that got `key` back is done."""
        parked = self._parked.get(key)
        if parked is not None:
            parked.pins -= 1
            if parked.goes and not parked.pins:
                self.drop(key)

    def drop(self, key: int) -> None:
        """Forget `key`, if it is known."""
        parked = self._parked.pop(key, None)
        if parked is not None:
            self._take(-parked.n_slabs)
            self._index.drop(key)
            self._dropped.append(key)

    def forget(self, what: ForgetScope) -> set[str]:
        """Drop everything that `what` covers; return the sessions it was kept for."""
        names: set[str] = set()
        for key, parked in list(self._parked.items()):
            if not what.takes(parked.session, parked.owner):
                continue
            names |= {parked.session} if parked.session is not None else set()
            parked.session = None
            if parked.pins:
                # It is being put back, or read, right now. It stays until that is done, but no
                # other request finds it.
                parked.goes = True
                self._index.drop(key)
            else:
                self.drop(key)
        return names

    def has_room_beside_sessions(
        self,
        tokens: NDArray[np.int32],
        protected: Set[int],
        salt: Salt = "",
        *,
        state_bytes: int = 0,
    ) -> bool:
        """Whether `tokens` could be kept without dropping what is kept for a session. state_bytes:
        bytes of a state that go with them."""
        key, matched = self._index.longest(tokens, salt)
        known = self._parked.get(key)
        n_slabs = self.shape.slabs(tokens)
        if known is not None and matched == known.n_parked:
            n_slabs -= known.n_slabs
        n_bytes = n_slabs * self.shape.slab_bytes + state_bytes
        return n_bytes <= self.budget.spare_bytes(protected | {key})

    # -- the budget's side ----------------------------------------------------------------------

    def least(self, protected: Set[int]) -> Least | None:
        """Return the sequence to be dropped first."""
        candidates = [
            Least(parked.session is not None, parked.worth, key)
            for key, parked in self._parked.items()
            if not parked.pins and key not in protected and parked.n_slabs
        ]
        return min(candidates, default=None)

    def spare_bytes(self, protected: Set[int]) -> int:
        """Bytes of the sequences that no session needs."""
        n_slabs = 0
        for key, parked in self._parked.items():
            if not (parked.session or parked.pins or key in protected):
                n_slabs += parked.n_slabs
        return n_slabs * self.shape.slab_bytes

    def _make_room(self, n_slabs: int, protected: Set[int]) -> bool:
        return self.budget.make_room(n_slabs * self.shape.slab_bytes, protected)

    def _take(self, n_slabs: int) -> None:
        """Count slabs as taken, or given back."""
        self._n_slabs += n_slabs
        self.budget.used_bytes += n_slabs * self.shape.slab_bytes
