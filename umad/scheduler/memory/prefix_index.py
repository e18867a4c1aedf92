"""Finds the sequence, live or retained, that shares the longest prefix with a prompt.

Sequences are bucketed by their first tokens, so a look-up compares only likely ones. A match that
is shorter than those first tokens is not worth sharing and is not found.

A salt separates callers who must not learn of each other: a sequence is found only under the salt
it was put in with. Without the salt, the time to a first token, or `cached_tokens`, would tell one
key what stands in another key's prompt. The daemon decides what a salt means.

Owner: the step thread.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# For fewer tokens the bookkeeping of a copy costs more than computing them.
KEY_TOKENS = 16


@dataclass(slots=True)
class _Known:
    tokens: NDArray[np.int32]
    n_computed: int
    key: "tuple[str, bytes] | None"


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
        self._buckets: dict[tuple[str, bytes], set[int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, seq: int, tokens: NDArray[np.int32], n_computed: int, salt: str = "") -> None:
        """Note that `seq` holds the KV of the first `n_computed` of `tokens`. The index keeps the
        array itself, not a copy."""
        known = self._known.get(seq)
        if known is not None and known.tokens is tokens and known.key is not None:
            known.n_computed = n_computed
            if n_computed >= KEY_TOKENS:
                return
        self.drop(seq)
        key = (salt, tokens[:KEY_TOKENS].tobytes()) if n_computed >= KEY_TOKENS else None
        self._known[seq] = _Known(tokens, n_computed, key)
        if key is not None:
            self._buckets.setdefault(key, set()).add(seq)

    def drop(self, seq: int) -> None:
        """Forget `seq`."""
        known = self._known.pop(seq, None)
        if known is None or known.key is None:
            return
        bucket = self._buckets[known.key]
        bucket.discard(seq)
        if not bucket:
            del self._buckets[known.key]

    def longest(
        self,
        tokens: NDArray[np.int32],
        salt: str = "",
        *,
        can_share: Callable[[int, int], bool] | None = None,
    ) -> tuple[int, int]:
        """Return (seq, matched tokens) of the best match, (-1, 0) when there is none.

        can_share: tells whether the first n tokens of a sequence can be shared. It is asked only
        about a sequence that would be the best match. None where every sequence can be shared.
        """
        best_seq, best = -1, 0
        if tokens.size < KEY_TOKENS:
            return best_seq, best
        for seq in self._buckets.get((salt, tokens[:KEY_TOKENS].tobytes()), ()):
            known = self._known[seq]
            matched = common_prefix(known.tokens[: known.n_computed], tokens)
            is_better = matched > best or (matched == best and seq < best_seq)
            if is_better and (can_share is None or can_share(seq, matched)):
                best_seq, best = seq, matched
        return best_seq, best
