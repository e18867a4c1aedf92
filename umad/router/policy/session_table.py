"""Remembers which node has which session, in memory of a fixed size. Pure.

A hash table with open addressing, 28 bytes a place: 59 MB for a million sessions, of which only
what is used is ever touched. The keys stand by themselves, since a search reads several of them,
and the rest of a place stands together, since it is written at once: a place that was not used for
a while costs two looks into slow memory and not one for each figure.
A full table forgets the session that was idle longest among a handful that are looked at, as Redis
does: to keep all of them in order would cost memory and time at every turn. A session that had no
turn for its time to live is as good as forgotten.
"""

import random
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

# How many are looked at to find one to forget. Ten find one of the oldest tenth in two of three
# cases; a look takes a tenth of a microsecond.
_LOOKED_AT = 10
# The numbers of an entry, of four bytes each: its node, its last turn, when it was placed, the
# other node, and three small facts of a byte each.
_NODE, _SEEN, _PLACED, _OTHER, _FACTS = range(5)
_WORDS: Final = 5
_ROW: Final = struct.Struct("=5I")
_MOST_S: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of a session."""

    # The number of its node.
    node: int
    # Seconds on the caller's clock: when it was placed there, and its last turn.
    placed_s: int
    seen_s: int
    # What the caller noted about the placement: a reason, the other node that was looked at (0 for
    # none), and the open requests of both, from 0 to 255.
    reason: int = 0
    other: int = 0
    open: int = 0
    other_open: int = 0


class SessionTable:
    """Entries by key. Keys are numbers of 64 bits that are as good as random."""

    def __init__(self, *, most: int, ttl_s: int, rng: random.Random) -> None:
        self._most = most
        self._ttl_s = ttl_s
        self._rng = rng
        # At least a third of the places stay free, so that a search ends after two or three.
        self._mask = (1 << max(4, (most * 3 // 2).bit_length())) - 1
        n = self._mask + 1
        # Zeroed pages that the system hands out when they are first used. Reading a memoryview
        # takes half the time of reading an array of numpy.
        self._keys: memoryview[int] = np.zeros(n, np.uint64).data
        self._rows: memoryview[int] = np.zeros(n * _WORDS, np.uint32).data
        self._row_bytes: memoryview[int] = self._rows.cast("B")
        self._n = 0
        # Sessions that were forgotten because the table was full, although they were alive.
        self.forgotten = 0

    def __len__(self) -> int:
        """The number of entries, those whose time is over and whose place was not needed yet
        included."""
        return self._n

    @property
    def n_bytes(self) -> int:
        """What it takes at most."""
        return self._keys.nbytes + self._rows.nbytes

    def node(self, key: int, now_s: int) -> int:
        """The number of the node that has the session; 0 for an unknown one. Its time goes on."""
        at = self._find(key)
        if not self._keys[at]:
            return 0
        if now_s - self._rows[at * _WORDS + _SEEN] > self._ttl_s:
            return 0
        return self._rows[at * _WORDS + _NODE]

    def idle_s(self, key: int, now_s: int) -> tuple[int, int]:
        """How long ago a known session had a turn, and how long ago it was placed."""
        at = self._find(key) * _WORDS
        return now_s - self._rows[at + _SEEN], now_s - self._rows[at + _PLACED]

    def touch(self, key: int, now_s: int) -> None:
        """A known session has a turn."""
        self._rows[self._find(key) * _WORDS + _SEEN] = now_s

    def entry(self, key: int, now_s: int) -> Entry | None:
        """All that is known of a session, None for an unknown one. Its time does not go on."""
        at = self._find(key)
        node, seen_s, placed_s, other, facts = self._rows[at * _WORDS : (at + 1) * _WORDS]
        if not self._keys[at] or now_s - seen_s > self._ttl_s:
            return None
        return Entry(
            node=node,
            placed_s=placed_s,
            seen_s=seen_s,
            other=other,
            reason=facts & 0xFF,
            open=facts >> 8 & 0xFF,
            other_open=facts >> 16,
        )

    def put(self, key: int, entry: Entry) -> None:
        """Remember a session, instead of another one if the table is full."""
        at = self._find(key)
        if not self._keys[at]:
            if self._n >= self._most:
                self._forget_one(entry.seen_s)
                at = self._find(key)
            self._n += 1
            self._keys[at] = key or 1
        _ROW.pack_into(
            self._row_bytes,
            at * _ROW.size,
            entry.node,
            min(entry.seen_s, _MOST_S),
            min(entry.placed_s, _MOST_S),
            entry.other,
            entry.reason | entry.open << 8 | entry.other_open << 16,
        )

    def drop(self, key: int) -> None:
        """Forget a session, if it is known."""
        at = self._find(key)
        if self._keys[at]:
            self._remove(at)

    def _find(self, key: int) -> int:
        """The place of `key`, or the free one where it would go."""
        key = key or 1  # 0 marks a free place
        keys, mask = self._keys, self._mask
        at = key & mask
        while (found := keys[at]) and found != key:
            at = (at + 1) & mask
        return at

    def _forget_one(self, now_s: int) -> None:
        keys, rows, mask = self._keys, self._rows, self._mask
        at = self._rng.randrange(mask + 1)
        oldest, oldest_s, looked = -1, 0, 0
        # At least half of the places are taken here, so this ends soon.
        while looked < _LOOKED_AT:
            if keys[at]:
                looked += 1
                seen_s = rows[at * _WORDS + _SEEN]
                if oldest < 0 or seen_s < oldest_s:
                    oldest, oldest_s = at, seen_s
            at = (at + 1) & mask
        if now_s - oldest_s <= self._ttl_s:
            self.forgotten += 1
        self._remove(oldest)

    def _remove(self, at: int) -> None:
        """Free a place, and move those behind it up that it kept from their own (Knuth, 6.4 R)."""
        keys, mask = self._keys, self._mask
        hole = at
        while keys[at := (at + 1) & mask]:
            home = keys[at] & mask
            # An entry may move up if its home is not behind the hole.
            if (at - home) & mask >= (at - hole) & mask:
                self._copy(at, hole)
                hole = at
        keys[hole] = 0
        self._n -= 1

    def _copy(self, source: int, target: int) -> None:
        self._keys[target] = self._keys[source]
        row = self._rows[source * _WORDS : (source + 1) * _WORDS]
        self._rows[target * _WORDS : (target + 1) * _WORDS] = row
