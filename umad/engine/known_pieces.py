"""Remembers the tokens of long pieces of chats, so that a next turn tokenizes only what is new.

An agent's chat comes again with every turn: thousands of tokens that were tokenized before, and one
new message. llama.cpp divides a text at its control tokens and tokenizes what is between them by
itself, so a rendered chat can be cut in front of a control token and the pieces tokenized apart.
The tokens stay the same to the last one: a few vocabularies take blanks away in front of a control
token, so each control token is tried once, and where the two ways differ it is no place to cut.

    pieces = KnownPieces(tokenize=…, controls_in=…)
    pieces.tokens(text, with_ends=True)

Any thread. Values are never changed once they are kept.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
# Shorter pieces are tokenized together with what is around them: sooner than they are looked up.
LEAST_CHARS = 512
# Of all remembered pieces together. A chat of 100,000 tokens has about 400,000 characters.
MOST_CHARS = 4 * 2**20
# What may stand in front of and behind a control token, where it is tried.
_AROUND = (("word", "word"), ("two words \n ", " \n two words"))


class KnownPieces:
    """The tokens of long pieces of one vocabulary, by their text; the oldest are forgotten.

    tokenize: the tokens of a text, with control tokens in it, and with the ends that the model
    wants around a text or without. controls_in: begin and end of each control token in a text.
    control_of: the control tokens by their text.
    """

    def __init__(
        self,
        *,
        tokenize: Callable[[str, bool], Ids],
        controls_in: Callable[[str], Iterable[tuple[int, int]]],
        control_of: Mapping[str, int],
        most_chars: int = MOST_CHARS,
    ) -> None:
        self._tokenize = tokenize
        self._controls_in = controls_in
        self._control_of = control_of
        self._most_chars = most_chars
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Ids] = OrderedDict()
        self._n_chars = 0
        # Whether a text may be cut in front of this control token, once that was tried.
        self._may_cut: dict[str, bool] = {}
        # What the model wants in front of a text; None until it was asked.
        self._beginning: Ids | None = None

    def tokens(self, text: str, *, with_ends: bool) -> Ids:
        """The tokens of a text: those of `tokenize`, int32 (n,)."""
        if len(text) < LEAST_CHARS or (with_ends and not self._has_beginning()):
            return self._tokenize(text, with_ends)
        found = [self._beginning] if with_ends and self._beginning is not None else []
        for piece, is_long in self._pieces(text):
            found.append(self._known(piece) if is_long else self._tokenize(piece, False))
        return np.concatenate(found)

    def _has_beginning(self) -> bool:
        """Whether all that the model wants around a text is known, and stands in front of it. A few
        models want something behind it, too."""
        if self._beginning is None:
            self._beginning = self._tokenize("", True)
        parts = [self._beginning, self._tokenize("word", False)]
        return np.array_equal(self._tokenize("word", True), np.concatenate(parts))

    def _pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """Long pieces, each by itself, and what is short between them, together."""
        begun = at = 0
        for cut in (*self._cuts(text), len(text)):
            if cut - at >= LEAST_CHARS:
                if at > begun:
                    yield text[begun:at], False
                yield text[at:cut], True
                begun = cut
            at = cut
        if at > begun or not text:
            yield text[begun:at], False

    def _cuts(self, text: str) -> list[int]:
        """Where the text may be cut, first to last."""
        return [
            start
            for start, end in self._controls_in(text)
            if start and self._may_be_cut(text[start:end])
        ]

    def _may_be_cut(self, control: str) -> bool:
        may = self._may_cut.get(control)
        if may is None:
            is_whole = not any(
                control in other and not other.startswith(control) for other in self._control_of
            )
            may = is_whole and all(
                self._is_apart(before, control, behind) for before, behind in _AROUND
            )
            self._may_cut[control] = may
        return may

    def _is_apart(self, before: str, control: str, behind: str) -> bool:
        whole = self._tokenize(before + control + behind, False)
        parts = [self._tokenize(before, False), self._tokenize(control + behind, False)]
        return self._control_of.get(control) in parts[1][:1] and np.array_equal(
            whole, np.concatenate(parts)
        )

    def _known(self, piece: str) -> Ids:
        with self._lock:
            known = self._kept.get(piece)
            if known is not None:
                self._kept.move_to_end(piece)
                return known
        tokens = self._tokenize(piece, False)
        tokens.flags.writeable = False
        with self._lock:
            if piece not in self._kept and len(piece) <= self._most_chars:
                self._kept[piece] = tokens
                self._n_chars += len(piece)
                while self._n_chars > self._most_chars:
                    forgotten, _ = self._kept.popitem(last=False)
                    self._n_chars -= len(forgotten)
        return tokens
