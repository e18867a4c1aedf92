"""Keeps the vectors of texts that were embedded lately, so that the same text is computed once.

A vector follows from the model and from the tokens of its text, and from nothing else. So its key
is a digest of the tokens. Vectors are kept as the model made them, and each answer cuts and scales
its own copy. A score of a reranker is a vector of one number, and its text is the pair.

Every owner has a shelf of its own: how fast an answer comes tells nobody what another key has
asked. What has no room goes: the vector used longest ago, of the owner that holds most. So an owner
that embeds a library does not push out the questions of another.

Not: which texts are looked up (`embedding.lookup`). Safe from any thread.
"""

import hashlib
import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

DEFAULT_BYTES = 32 * 2**20
# The key, the objects of Python around key and vector, and their place in the shelf.
_ENTRY_BYTES = 256
_KEY_BYTES = 32


def text_key(tokens: NDArray[np.int32]) -> bytes:
    """The digest of a text's tokens. Nobody can make two texts that have one digest."""
    return hashlib.blake2b(tokens.tobytes(), digest_size=_KEY_BYTES).digest()


class _Shelf:
    """The vectors of one owner, the one used longest ago first."""

    __slots__ = ("entries", "n_bytes")

    def __init__(self) -> None:
        self.entries: OrderedDict[bytes, bytes] = OrderedDict()
        self.n_bytes = 0


class VectorCache:
    """The vectors that one engine keeps. capacity_bytes: 0 keeps none."""

    def __init__(self, capacity_bytes: int) -> None:
        self._whole_bytes = self._capacity_bytes = capacity_bytes
        self._shelves: dict[str, _Shelf] = {}
        self._used_bytes = 0
        self._epoch = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of everything that is kept."""
        return self._used_bytes

    @property
    def epoch(self) -> int:
        """A number that rises with each `forget`. A vector is kept with the number that its request
        saw when it came, so what was asked before a `forget` leaves nothing after it.
        """
        return self._epoch

    def find(self, owner: str, key: bytes) -> Vector | None:
        """The vector of a text; None where there is none."""
        with self._lock:
            shelf = self._shelves.get(owner)
            raw = None if shelf is None else shelf.entries.get(key)
            if shelf is None or raw is None:
                return None
            shelf.entries.move_to_end(key)
        return np.frombuffer(raw, np.float32)

    def keep(self, owner: str, key: bytes, vector: Vector, *, epoch: int) -> None:
        """Keep a vector, and let go of what then has no room."""
        raw = vector.tobytes()
        with self._lock:
            if epoch != self._epoch or _size(raw) > self._capacity_bytes:
                return
            shelf = self._shelves.setdefault(owner, _Shelf())
            if key not in shelf.entries:
                self._count(shelf, _size(raw))
            shelf.entries[key] = raw
            shelf.entries.move_to_end(key)
            self._make_room()

    def forget(self, owner: str | None) -> None:
        """Let go of everything of an owner; None for everybody's."""
        with self._lock:
            self._epoch += 1
            for name in [*self._shelves] if owner is None else [owner]:
                shelf = self._shelves.pop(name, None)
                if shelf is not None:
                    self._used_bytes -= shelf.n_bytes

    def spare(self, share: float) -> int:
        """Keep within `share` of the room from now on; 1 is all of it. With less than all of it
        everything goes at once, because vectors only save time. Returns the bytes given up.
        """
        with self._lock:
            self._capacity_bytes = round(min(1.0, max(0.0, share)) * self._whole_bytes)
            if share >= 1:
                return 0
            freed, self._used_bytes = self._used_bytes, 0
            self._shelves.clear()
            return freed

    # -- inside ---------------------------------------------------------------------------------

    def _make_room(self) -> None:
        while self._used_bytes > self._capacity_bytes:
            owner = max(self._shelves, key=lambda name: self._shelves[name].n_bytes)
            shelf = self._shelves[owner]
            _, raw = shelf.entries.popitem(last=False)
            self._count(shelf, -_size(raw))
            if not shelf.entries:
                del self._shelves[owner]

    def _count(self, shelf: _Shelf, n_bytes: int) -> None:
        shelf.n_bytes += n_bytes
        self._used_bytes += n_bytes


def _size(raw: bytes) -> int:
    return len(raw) + _ENTRY_BYTES
