"""Finds the tokens of the places at which a chat's turns end: the marks of a prompt.

Tokens may span a place in a text: with other words behind it, the same words may become other
tokens. No token spans the border of a control token, so a mark is taken there where one is near.
In templates that use none it is the last border of tokens before the place that holds whatever
follows. Pure. Not: the places in the text (`turn_ends`).
"""

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from umad.engine.chats.turn_ends import MOST_BETWEEN, MOST_ENDS, TurnEnd
from umad.engine.vocab import Vocabulary

# So much text before a place decides how its last words become tokens.
_WINDOW_CHARS = 256
# Words that may follow a place. Tokens before it that stay the same with all of them hold.
_MAY_FOLLOW = ("x", " x", "\n", "\n\nx", "1", ".", "<", "</")


def turn_marks(
    vocab: Vocabulary, text: str, ids: NDArray[np.int32], ends: Sequence[TurnEnd]
) -> tuple[int, ...]:
    """The marks of the prompt `ids`, which are the tokens of the rendered chat `text`. Ascending;
    at most `MOST_ENDS`, of which the first and the latest are kept.
    """
    if not ends:
        return ()
    borders = _Borders.of(vocab, text, ids)
    if borders is None:
        return ()
    # The prompt's last token is always computed, so no mark stands behind it.
    found = {min(borders.mark(end), ids.size - 1) for end in ends}
    marks = sorted(found - {0})
    if len(marks) > MOST_ENDS:
        marks = [marks[0], *marks[1 - MOST_ENDS :]]
    return tuple(marks)


def tokens_before(vocab: Vocabulary, text: str, ids: NDArray[np.int32], at: int) -> int:
    """How many of `ids`, the tokens of `text`, surely stay the same with any words at `at`."""
    borders = _Borders.of(vocab, text, ids)
    return 0 if borders is None else borders.mark(TurnEnd(max(0, at - MOST_BETWEEN), at))


class _Borders:
    """The borders of the control tokens of one rendered chat, in its text and in its tokens."""

    def __init__(
        self, vocab: Vocabulary, text: str, ids: NDArray[np.int32], known: list[tuple[int, int]]
    ) -> None:
        """known: (position in the text, number of tokens before it), ascending."""
        self._vocab = vocab
        self._text = text
        self._ids = ids
        self._at = [at for at, _ in known]
        self._n_before = [n for _, n in known]

    @classmethod
    def of(cls, vocab: Vocabulary, text: str, ids: NDArray[np.int32]) -> "_Borders | None":
        """The borders; None where text and tokens do not have the same control tokens."""
        written = vocab.controls_in(text)
        places = vocab.control_places(ids)
        n = min(places.size, len(written))
        if max(places.size, len(written)) > n + 1:
            return None
        # The beginning token may have been added, or left out behind an earlier conversation.
        written, places = written[len(written) - n :], places[places.size - n :]
        if ids[places].tolist() != [token for _, _, token in written]:
            return None
        known: list[tuple[int, int]] = []
        for (start, end, _), place in zip(written, places.tolist(), strict=True):
            known += [(start, place), (end, place + 1)]
        return cls(vocab, text, ids, known)

    def mark(self, end: TurnEnd) -> int:
        """The number of tokens up to that end; 0 if none is sure to hold."""
        after = bisect.bisect_right(self._at, end.agreed)
        if after and self._at[after - 1] >= end.words:
            return self._n_before[after - 1]
        is_near = after < len(self._at) and self._at[after] <= end.agreed + MOST_BETWEEN
        if end.closes and is_near:
            return self._n_before[after]
        return self._between_words(end.agreed, after)

    def _between_words(self, at: int, after: int) -> int:
        """The number of tokens up to `at` or shortly before it, where no control token is near.
        after: the first border behind `at`.
        """
        vocab = self._vocab
        begin = max(0, at - _WINDOW_CHARS, self._at[after - 1] if after else 0)
        window = vocab.unguarded_part(self._text[begin:at])
        alone = vocab.tokenize(window, special=True, with_ends=False)
        n_same = alone.size
        for other in _MAY_FOLLOW:
            both = vocab.tokenize(window + other, special=True, with_ends=False)[:n_same]
            differs = np.flatnonzero(both != alone[: both.size])
            n_same = int(differs[0]) if differs.size else both.size
        left = sum(map(len, vocab.pieces(alone[max(0, n_same - 1) :])))
        # From the next sure border back, token by token.
        is_last = after == len(self._at)
        n_tokens = self._ids.size if is_last else self._n_before[after]
        behind = self._text[at:] if is_last else self._text[at : self._at[after]]
        left += len(vocab.unguarded_part(behind).encode("utf-8", "surrogatepass"))
        while left > 0 and n_tokens:
            n_tokens -= 1
            left -= len(vocab.marked_piece(int(self._ids[n_tokens])))
        return n_tokens
