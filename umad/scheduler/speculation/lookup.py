"""Guesses how a text goes on from what stands in it already: prompt lookup.

Edits, code and JSON repeat long runs of what was said before. The last tokens of the text are
looked up among all earlier ones, and what followed there is the guess. While the text goes on as
guessed, the guess goes on at the same place; otherwise the last tokens are looked up anew.

An edit copies a long run, changes a word, and copies on. Looking up would take `GRAM` tokens
behind each change, and then a short agreement says little. So behind a copy (an agreement of `COPY`
tokens) that breaks, the guess goes on behind the word that was replaced. Where that is wrong, the
next token that stands near there is taken for the place at which the copy goes on.

The table has a fixed size. It maps a hash of `GRAM` tokens to the place behind their latest
occurrence. A place is checked before it is used, so a collision costs a guess and is never wrong
in another way. A token costs one hash, whatever the length of the text. A long prompt is put into
the table in pieces, one a step, and there are no guesses until all of it is in.

Source: prompt lookup decoding (Saxena 2023), as in llama.cpp's example of that name.
Pure; owner: the step thread.
"""

import numpy as np
from numpy.typing import NDArray

# So many tokens are looked up. Two find too much that goes on differently.
GRAM = 3
# The length of an agreement is counted up to here. `acceptance` has no use for more.
MOST_RUN = 32
# An agreement of so many is a copy.
COPY = 12
# What is counted where a copy goes on behind a change: less than any agreement that is looked up.
RESUMED = 1
# So many tokens behind a break, and so far from it, a copy may go on.
PATIENCE = 8
# A step puts so many tokens of a prompt into the table. It takes some 50 microseconds.
INDEXED_AT_ONCE = 8192
_LEAST_BITS, _MOST_BITS = 8, 17
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_WORD = 2**64 - 1


def longer(run: int) -> int:
    """The run behind one more guess that was right. A copy that goes on is the copy that it was."""
    return COPY if run == RESUMED else min(MOST_RUN, run + 1)


class PromptLookup:
    """The guesses of one stream.

    run: how many tokens before the guess agree with those before its source; `RESUMED` where a copy
    goes on behind a change; 0 for no guess.
    """

    __slots__ = ("_copy", "_n", "_patience", "_shift", "_source", "_table", "_tokens", "run")

    def __init__(self, tokens: NDArray[np.int32]) -> None:
        """tokens: int32 (limit,), which its owner fills while the text grows."""
        self._tokens = tokens
        bits = min(_MOST_BITS, max(_LEAST_BITS, int(tokens.size).bit_length()))
        self._shift = 64 - bits
        # The place behind the latest occurrence of each hash; 0 for none. At most 512 KiB.
        self._table = np.zeros(1 << bits, np.int32)
        # How many tokens are taken in.
        self._n = 0
        # The place of the next guess; 0 for none.
        self._source = 0
        self.run = 0
        # Where a copy that broke goes on if one word was replaced, and how many more tokens it is
        # waited for.
        self._copy = self._patience = 0

    @property
    def n_tokens(self) -> int:
        """The number of tokens that are taken in."""
        return self._n

    def take_piece(self, n_tokens: int) -> None:
        """Take in the next piece of a text that has `n_tokens`."""
        first, end = max(self._n + 1, GRAM), min(n_tokens, self._n + INDEXED_AT_ONCE)
        self._n, self._source, self.run = end, 0, 0
        self._patience = 0
        if first > end:
            return
        words = self._tokens[first - GRAM : end].astype(np.uint64)
        hashes = np.zeros(end - first + 1, np.uint64)
        for at, multiplier in enumerate(_MULTIPLIERS):
            hashes += words[at : at + hashes.size] * np.uint64(multiplier)
        # Where a hash occurs twice, numpy leaves the last value: the latest place.
        slots = (hashes >> np.uint64(self._shift)).astype(np.intp)
        places = np.arange(first, end + 1, dtype=np.int32)
        self._table[slots[:-1]] = places[:-1]
        # The last place may be the end of the text, behind which nothing is known yet. So its
        # tokens are looked up before it is put in.
        if end == n_tokens:
            self._find(int(slots[-1]), end)
        self._table[slots[-1]] = end

    def take(self) -> bool | None:
        """Take in the next token. Return whether it was the one guessed; None for no guess."""
        tokens, at = self._tokens, self._n
        was_right = None
        if self._source:
            was_right = tokens.item(self._source) == tokens.item(at)
            if was_right:
                self._source += 1
                self.run = longer(self.run)
            else:
                if self.run >= COPY:
                    self._copy, self._patience = self._source + 1, PATIENCE
                self._source = self.run = 0
        self._n = at = at + 1
        if at >= GRAM:
            slot = self._slot(at)
            if not self._source:
                self._find(slot, at)
                if self._patience:
                    self._resume(at)
            self._table[slot] = at
        return was_right

    def guess(self, n: int) -> tuple[int, ...]:
        """The next `n` tokens as they followed at the source; () for no guess."""
        source = self._source
        if not source:
            return ()
        # A text that repeats itself goes on in its own period.
        period = self._n - source
        item = self._tokens.item
        return tuple([item(source + at % period) for at in range(n)])

    def _resume(self, end: int) -> None:
        """Find where a copy that broke goes on, unless the tokens before `end` tell better."""
        is_first = self._patience == PATIENCE
        self._patience -= 1
        copy, item = self._copy, self._tokens.item
        if self._source and abs(self._source - copy) <= 2 * PATIENCE:
            self.run, self._patience = max(self.run, COPY), 0
        elif self.run < COPY:
            last = item(end - 1)
            for place in range(copy, min(copy + PATIENCE, end)):
                if is_first or item(place - 1) == last:
                    self._source, self.run = place, RESUMED
                    return

    def _slot(self, end: int) -> int:
        item = self._tokens.item
        hashed = 0
        for at, multiplier in enumerate(_MULTIPLIERS, end - GRAM):
            hashed += item(at) * multiplier
        return (hashed & _WORD) >> self._shift

    def _find(self, slot: int, end: int) -> None:
        """Look up the tokens before `end`."""
        source = self._table.item(slot)
        if not source:
            return
        item, run = self._tokens.item, 0
        while run < MOST_RUN and run < source and item(source - 1 - run) == item(end - 1 - run):
            run += 1
        if run >= GRAM:
            self._source, self.run = source, run
