"""Tells whether the beginning of a sequence can still be shared, where layers look back over a
window only.

llama.cpp protects a cell of such a layer while the next token of its sequence looks at it, and
while two sequences hold it. Any other cell it may write over, however many are free elsewhere, and
then the sequence loses all that lies before that cell as well (`find_slot` and `apply_ubatch` of
llama-kv-cache.cpp; `swa_full` makes the pool large enough for all and does not change that). So a
sequence can always go on at its end. A part of it that ends earlier can be shared only if what the
next token there looks at has not been written over.

Every decode may move the place where a sequence begins, and nobody can say beforehand which one
does. So llama.cpp is asked, while the plan is made in which the cells are shared, and no answer is
kept for the next plan.
Not: who shares with whom (`residency`). Models without windows have no `Beginnings` and pay
nothing. Owner: the step thread.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How far back the layers with a window look.

    n_tokens: a token looks at so many, itself included. in_chunks: not at the last `n_tokens`, but
    at those of its own chunk, which begins at a multiple of `n_tokens` (Llama 4).
    """

    n_tokens: int
    in_chunks: bool = False

    def first_seen(self, position: int) -> int:
        """The first position that a token at `position` looks at."""
        if self.in_chunks:
            return position // self.n_tokens * self.n_tokens
        return max(0, position - self.n_tokens + 1)


class BeginOf(Protocol):
    """llama.cpp's books."""

    def __call__(self, seq: int, /) -> int:
        """The first position that every layer still holds of `seq`; -1 when it is empty. Called on
        the step thread between two decodes; it answers at once (below a microsecond)."""
        ...


class Beginnings:
    """Of all sequences of one pool."""

    def __init__(self, window: Window, begin_of: BeginOf) -> None:
        self._window = window
        self._begin_of = begin_of
        # Sequences made by copies that llama.cpp has not been told of yet.
        self._planned: dict[int, int] = {}

    def can_share(self, seq: int, n_tokens: int) -> bool:
        """Whether a token behind the first `n_tokens` of `seq` finds there all that it looks at."""
        return 0 <= self._begin(seq) <= self._window.first_seen(n_tokens)

    def planned_copy(self, source: int, target: int) -> None:
        """`target` will begin where `source` does, once llama.cpp is told."""
        self._planned[target] = self._begin(source)

    def told(self) -> None:
        """llama.cpp is told of all that was planned before anybody asks again."""
        self._planned.clear()

    def _begin(self, seq: int) -> int:
        planned = self._planned.get(seq)
        return self._begin_of(seq) if planned is None else planned
