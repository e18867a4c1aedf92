"""Tokens that may come next under a constraint, asked for in the way that costs a row least.

Within a structure few tokens may come: only those are looked at. Within a text nearly all may, so
the best of the row are mostly among them, and it is enough to ask which are. Only where neither
helps is the whole row copied and barred (`bars`).
Not: which tokens (`umad.engine.constraints.guidance`). Owner: one answer; one thread at a time.
"""

import numpy as np
from numpy.typing import NDArray

MaskWords = NDArray[np.int32]
TokenIds = NDArray[np.intp]

WORD_BITS = 32
# Picking tokens one by one takes 10 ns each; a pass over 152k logits 20 microseconds and more.
_FEW = 1024
# By a byte of the mask, the lowest bit first: what is added to the logits of its eight tokens.
_BARS: NDArray[np.float32] = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), 0.0, -np.inf
).astype(np.float32)


class Allowed:
    """Of `n_vocab` tokens. few: those allowed, ascending; None where they are not few."""

    __slots__ = ("_bars", "_bytes", "_n_vocab", "_words", "few")

    def __init__(self, words: MaskWords, n_vocab: int) -> None:
        """words: int32 (n_vocab / 32, rounded up), a bit for each token, the lowest first; kept."""
        self._words = words
        self._bytes = words.view(np.uint8)
        self._n_vocab = n_vocab
        self._bars: NDArray[np.float32] | None = None
        self.few = _few(words, n_vocab)

    @classmethod
    def only(cls, tokens: TokenIds, n_vocab: int) -> "Allowed":
        """Just these."""
        n_words = (n_vocab + WORD_BITS - 1) // WORD_BITS
        bits = np.zeros(n_words * WORD_BITS, np.bool_)
        bits[tokens] = True
        return cls(np.packbits(bits, bitorder="little").view(np.int32), n_vocab)

    def __contains__(self, token: int) -> bool:
        return bool((int(self._bytes[token >> 3]) >> (token & 7)) & 1)

    def among(self, ids: TokenIds) -> NDArray[np.bool_]:
        """Of each of `ids`, whether it is allowed."""
        bits: NDArray[np.uint8] = np.right_shift(self._bytes[ids >> 3], ids & 7) & 1
        return bits.astype(np.bool_)

    @property
    def bars(self) -> NDArray[np.float32]:
        """float32 (n_vocab,), 0 for each token allowed, -inf for all others. Made once: 150
        microseconds for 152k tokens."""
        if self._bars is None:
            bars = np.take(_BARS, self._bytes, axis=0, mode="clip")
            self._bars = bars.reshape(-1)[: self._n_vocab]
        return self._bars

    def is_of(self, words: MaskWords) -> bool:
        """Whether it was made of the same words."""
        return np.array_equal(self._words, words)


def _few(words: MaskWords, n_vocab: int) -> TokenIds | None:
    used = np.flatnonzero(words)
    if used.size > _FEW:
        return None
    bits = np.unpackbits(words[used].view(np.uint8), bitorder="little").reshape(-1, WORD_BITS)
    rows, columns = np.nonzero(bits)
    ids = used[rows] * WORD_BITS + columns
    ids = ids[: ids.searchsorted(n_vocab)]
    return ids if ids.size <= _FEW else None
