"""Restricts a row to the tokens that a constraint allows, in the cheapest way for that row.

Within a structure few tokens are allowed, so only those are looked at. Within a text nearly all are
allowed. The best tokens of the row are mostly among them, so only the best are tested. Where
neither way helps, the whole row is copied and all other tokens are barred (`bars`).

Not: which tokens are allowed (`umad.engine.constraints.guidance`).
Owner: one answer; one thread at a time.
"""

import numpy as np
from numpy.typing import NDArray

MaskWords = NDArray[np.int32]
TokenIds = NDArray[np.intp]

WORD_BITS = 32
# At most so many allowed tokens are picked one by one. That takes 10 ns for each, while a pass over
# 152k logits takes 20 microseconds and more.
_FEW = 1024
# For each value of a byte of the mask, lowest bit first: the numbers that are added to the logits
# of the byte's eight tokens.
_BARS: NDArray[np.float32] = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), 0.0, -np.inf
).astype(np.float32)


class Allowed:
    """The allowed ones of `n_vocab` tokens.

    few: the allowed tokens, ascending; None where there are many.
    """

    __slots__ = ("_bars", "_bytes", "_n_vocab", "_words", "few")

    def __init__(self, words: MaskWords, n_vocab: int) -> None:
        """words: int32 (n_vocab / 32, rounded up), one bit for each token, lowest first. The array
        itself is kept."""
        self._words = words
        self._bytes = words.view(np.uint8)
        self._n_vocab = n_vocab
        self._bars: NDArray[np.float32] | None = None
        self.few = _few(words, n_vocab)

    @classmethod
    def only(cls, tokens: TokenIds, n_vocab: int) -> "Allowed":
        """Allow just `tokens`."""
        n_words = (n_vocab + WORD_BITS - 1) // WORD_BITS
        bits = np.zeros(n_words * WORD_BITS, np.bool_)
        bits[tokens] = True
        return cls(np.packbits(bits, bitorder="little").view(np.int32), n_vocab)

    def __contains__(self, token: int) -> bool:
        return bool((int(self._bytes[token >> 3]) >> (token & 7)) & 1)

    def just(self, token: int) -> "Allowed":
        """Only `token` of the same vocabulary. Quicker than `only`, as the step thread needs it."""
        words = np.zeros_like(self._words)
        words.view(np.uint32)[token // WORD_BITS] = np.uint32(1 << token % WORD_BITS)
        return Allowed(words, self._n_vocab)

    def without(self, tokens: TokenIds) -> "Allowed":
        """The same without `tokens`; all of them where nothing else is allowed."""
        bits = np.unpackbits(self._bytes, bitorder="little")
        bits[tokens] = 0
        if not bits.any():
            return self
        return Allowed(np.packbits(bits, bitorder="little").view(np.int32), self._n_vocab)

    def among(self, ids: TokenIds) -> NDArray[np.bool_]:
        """Whether each of `ids` is allowed."""
        bits: NDArray[np.uint8] = np.right_shift(self._bytes[ids >> 3], ids & 7) & 1
        return bits.astype(np.bool_)

    @property
    def bars(self) -> NDArray[np.float32]:
        """float32 (n_vocab,): 0 for each allowed token, -inf for all others. It is made once, in
        150 microseconds for 152k tokens."""
        if self._bars is None:
            bars = np.take(_BARS, self._bytes, axis=0, mode="clip")
            self._bars = bars.reshape(-1)[: self._n_vocab]
        return self._bars

    def is_of(self, words: MaskWords) -> bool:
        """Whether this was made of the same words."""
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
