"""Finds the sequence, live or retained, that shares the longest prefix with a prompt.

Sequences are bucketed by their first tokens, so a look-up compares only likely ones. A match that
is shorter than those first tokens is not worth sharing and is not found.

A salt separates callers who must not learn of each other: a sequence is found only under the salt
it was put in with. Without the salt, the time to a first token, or `cached_tokens`, would tell one
key what stands in another key's prompt. The daemon decides what a salt means. Cells that were
computed with adapters have a salt of their own, too (`cell_salt`): the same tokens have other keys
and values there.

Owner: the step thread.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.scheduler.memory.cell_salt import Invoked, Salt

# For fewer tokens the bookkeeping of a copy costs more than computing them.
KEY_TOKENS = 16


_Key = tuple[str, bytes]


@dataclass(slots=True)
class _Known:
    tokens: NDArray[np.int32]
    n_computed: int
    # The buckets that it is in; none for a sequence that is too short.
    keys: tuple[_Key, ...]
    # So many of its first tokens may be shared by those who look in its last bucket.
    n_base: int


def common_prefix(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Length of the longest common prefix of two token arrays."""
    n = min(a.size, b.size)
    differs = a[:n] != b[:n]
    at = int(differs.argmax()) if n else 0
    return at if n and differs[at] else n


class PrefixIndex:
    """Tokens of every sequence whose KV may be shared."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._buckets: dict[_Key, set[int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, seq: int, tokens: NDArray[np.int32], n_computed: int, salt: Salt = "") -> None:
        """Note that `seq` holds the KV of the first `n_computed` of `tokens`. The index keeps the
        array itself, not a copy."""
        known = self._known.get(seq)
        if known is not None and known.tokens is tokens and known.keys:
            known.n_computed = n_computed
            if n_computed >= KEY_TOKENS:
                return
        self.drop(seq)
        keys: tuple[_Key, ...] = ()
        n_base = n_computed
        if n_computed >= KEY_TOKENS:
            keys, n_base = _keys_of(tokens, salt)
        self._known[seq] = _Known(tokens, n_computed, keys, n_base)
        for key in keys:
            self._buckets.setdefault(key, set()).add(seq)

    def drop(self, seq: int) -> None:
        """Forget `seq`."""
        known = self._known.pop(seq, None)
        if known is None:
            return
        for key in known.keys:
            bucket = self._buckets[key]
            bucket.discard(seq)
            if not bucket:
                del self._buckets[key]

    def longest(
        self,
        tokens: NDArray[np.int32],
        salt: Salt = "",
        *,
        can_share: Callable[[int, int], bool] | None = None,
    ) -> tuple[int, int]:
        """Return (seq, matched tokens) of the best match, (-1, 0) when there is none.

        can_share: tells whether the first n tokens of a sequence can be shared. It is asked only
        about a sequence that would be the best match. None where every sequence can be shared.
        """
        best = (-1, 0)
        if tokens.size < KEY_TOKENS:
            return best
        if isinstance(salt, str):
            return self._best(tokens, (salt, _head(tokens)), best, can_share)
        keys, n_base = _keys_of(tokens, salt)
        best = self._best(tokens, keys[0], best, can_share)
        if len(keys) > 1:
            best = self._best(tokens[:n_base], keys[1], best, can_share)
        return best

    def _best(
        self,
        tokens: NDArray[np.int32],
        key: _Key,
        best: tuple[int, int],
        can_share: Callable[[int, int], bool] | None,
    ) -> tuple[int, int]:
        """The best match of one bucket, where it is better than `best`. Of two that are as long, a
        sequence of the bucket's own salt is the better one.
        """
        best_seq, best_matched = best
        best_rank = (best_matched, True, -best_seq)
        for seq in self._buckets.get(key, ()):
            known = self._known[seq]
            n_shared = known.n_computed
            is_own = True
            if len(known.keys) > 1 and key == known.keys[1]:
                n_shared, is_own = min(n_shared, known.n_base), False
            matched = common_prefix(known.tokens[:n_shared], tokens)
            rank = (matched, is_own, -seq)
            if rank > best_rank and (can_share is None or can_share(seq, matched)):
                best_seq, best_matched, best_rank = seq, matched, rank
        return best_seq, best_matched


def _keys_of(tokens: NDArray[np.int32], salt: Salt) -> tuple[tuple[_Key, ...], int]:
    """The buckets of a sequence, and how many of its tokens are shared by its last one."""
    head = _head(tokens)
    if not isinstance(salt, Invoked):
        return ((salt, head),), tokens.size
    own = (salt.text, head)
    if salt.n_base < KEY_TOKENS:
        return (own,), tokens.size
    return (own, (salt.base, head)), salt.n_base


def _head(tokens: NDArray[np.int32]) -> bytes:
    return tokens[:KEY_TOKENS].tobytes()
