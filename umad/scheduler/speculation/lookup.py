"""Guesses how a text goes on from what stands in it already: prompt lookup.

Edits, code and JSON repeat long runs of what was said before. The last tokens of the text are
looked up among all earlier ones (`grams`), and what followed there is the guess. While the text
goes on as guessed, the guess goes on at the same place; otherwise the last tokens are looked up
anew.

An edit copies a long run, changes a word, and copies on. Looking up would take `GRAM` tokens
behind each change, and then a short agreement says little. So behind a copy (an agreement of `COPY`
tokens) that breaks, the guess goes on behind the word that was replaced. Where that is wrong, the
next token that stands near there is taken for the place at which the copy goes on.

A long prompt is put into the table in pieces, one a step, and there are no guesses until all of it
is in.

Source: prompt lookup decoding (Saxena 2023), as in llama.cpp's example of that name.
Pure; owner: the step thread.
"""

import numpy as np
from numpy.typing import NDArray

from umad.scheduler.speculation.grams import GRAM, MOST_RUN, GramTable, hashed

# An agreement of so many is a copy.
COPY = 12
# What is counted where a copy goes on behind a change: less than any agreement that is looked up.
RESUMED = 1
# So many tokens behind a break, and so far from it, a copy may go on.
PATIENCE = 8
# A step puts so many tokens of a prompt into the table. It takes some 50 microseconds.
INDEXED_AT_ONCE = 8192


def longer(run: int) -> int:
    """The run behind one more guess that was right. A copy that goes on is the copy that it was."""
    return COPY if run == RESUMED else min(MOST_RUN, run + 1)


class PromptLookup:
    """The guesses of one stream.

    run: how many tokens before the guess agree with those before its source; `RESUMED` where a copy
    goes on behind a change; 0 for no guess.
    """

    __slots__ = ("_copy", "_patience", "_source", "gram", "run", "text")

    def __init__(self, tokens: NDArray[np.int32]) -> None:
        """tokens: int32 (limit,), which its owner fills while the text grows."""
        self.text = GramTable(tokens)
        # The place of the next guess; 0 for none.
        self._source = 0
        self.run = 0
        # The hash of the last tokens; 0 while there are too few of them.
        self.gram = 0
        # Where a copy that broke goes on if one word was replaced, and how many more tokens it is
        # waited for.
        self._copy = self._patience = 0

    @property
    def n_tokens(self) -> int:
        """The number of tokens that are taken in."""
        return self.text.n

    def take_piece(self, n_tokens: int) -> None:
        """Take in the next piece of a text that has `n_tokens`."""
        text = self.text
        first, end = max(text.n + 1, GRAM), min(n_tokens, text.n + INDEXED_AT_ONCE)
        text.n, self._source, self.run = end, 0, 0
        self._patience = 0
        if first > end:
            return
        self.gram = text.put_piece(first, end)
        # The last place may be the end of the text, behind which nothing is known yet. So its
        # tokens are looked up before it is put in.
        if end == n_tokens:
            self._find(end)
        text.put(self.gram, end)

    def take(self) -> bool | None:
        """Take in the next token. Return whether it was the one guessed; None for no guess."""
        text = self.text
        tokens, at = text.tokens, text.n
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
        text.n = at = at + 1
        if at >= GRAM:
            self.gram = hashed(tokens, at)
            if not self._source:
                self._find(at)
                if self._patience:
                    self._resume(at)
            text.put(self.gram, at)
        return was_right

    def guess(self, n: int) -> tuple[int, ...]:
        """The next `n` tokens as they followed at the source; () for no guess."""
        source = self._source
        if not source:
            return ()
        # A text that repeats itself goes on in its own period.
        period = self.text.n - source
        item = self.text.tokens.item
        return tuple([item(source + at % period) for at in range(n)])

    def _resume(self, end: int) -> None:
        """Find where a copy that broke goes on, unless the tokens before `end` tell better."""
        is_first = self._patience == PATIENCE
        self._patience -= 1
        copy, item = self._copy, self.text.tokens.item
        if self._source and abs(self._source - copy) <= 2 * PATIENCE:
            self.run, self._patience = max(self.run, COPY), 0
        elif self.run < COPY:
            last = item(end - 1)
            for place in range(copy, min(copy + PATIENCE, end)):
                if is_first or item(place - 1) == last:
                    self._source, self.run = place, RESUMED
                    return

    def _find(self, end: int) -> None:
        """Look up the tokens before `end`."""
        self._source, self.run = self.text.found(self.gram, self.text.tokens, end)
