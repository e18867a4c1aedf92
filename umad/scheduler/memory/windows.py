"""Tells whether a sequence's beginning can be shared in a model whose layers look back over a
window only.

llama.cpp protects a cell of such a layer while the next token of its sequence looks at it, and
while two sequences hold it. It may overwrite any other cell, however many cells are free elsewhere.
Then the sequence also loses all cells before that one (`find_slot` and `apply_ubatch` of
llama-kv-cache.cpp; `swa_full` makes the pool large enough for all and does not change that). So a
sequence can always go on at its end. A part of it that ends earlier can be shared only if none of
the cells that the next token there looks at was overwritten.

Every decode may move the place where a sequence begins, and it is not known beforehand which decode
does. So llama.cpp is asked while the plan that shares the cells is made, and no answer is kept for
the next plan.
Not: which sequence shares with which (`residency`). Models without windows have no `Beginnings` and
pay nothing.
Owner: the step thread.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How far back the layers with a window look."""

    # How many tokens a token looks at, itself included.
    n_tokens: int
    # A token looks not at the last `n_tokens`, but at those of its own chunk. A chunk begins at a
    # multiple of `n_tokens` (Llama 4).
    in_chunks: bool = False

    def first_seen(self, position: int) -> int:
        """The first position that a token at `position` looks at."""
        if self.in_chunks:
            return position // self.n_tokens * self.n_tokens
        return max(0, position - self.n_tokens + 1)


class BeginOf(Protocol):
    """Asks llama.cpp where a sequence begins."""

    def __call__(self, seq: int, /) -> int:
        """Return the first position of `seq` that every layer still holds; -1 when it is empty.
        Called on the step thread between two decodes; it answers at once (below a microsecond)."""
        ...


class Beginnings:
    """The beginnings of all sequences of one pool."""

    def __init__(self, window: Window, begin_of: BeginOf) -> None:
        self._window = window
        self._begin_of = begin_of
        # Sequences made by copies that llama.cpp has not been told of yet.
        self._planned: dict[int, int] = {}

    def can_share(self, seq: int, n_tokens: int) -> bool:
        """Whether a token right behind the first `n_tokens` of `seq` finds all cells that it looks
        at."""
        return 0 <= self._begin(seq) <= self._window.first_seen(n_tokens)

    def planned_copy(self, source: int, target: int) -> None:
        """Note that `target` will begin where `source` does, once llama.cpp is told."""
        self._planned[target] = self._begin(source)

    def told(self) -> None:
        """Forget the planned copies: llama.cpp will be told of them before the next question."""
        self._planned.clear()

    def _begin(self, seq: int) -> int:
        planned = self._planned.get(seq)
        return self._begin_of(seq) if planned is None else planned
