"""Defines the texts to be embedded in one step, as `umad.step` plans them. Values only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedPiece:
    """Some tokens of one input of an embedding request, to be computed in one slice."""

    # The number of the embedding request.
    call: int
    # The number of the input within the request.
    index: int
    # The sequence of the embedding context, and the position in it at which the tokens begin.
    seq: int
    start: int
    # int32 (n_tokens,): a view.
    tokens: NDArray[np.int32]
    # The input ends with these tokens, and its cells may be freed.
    ends: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSlice:
    """One decode of the embedding context."""

    pieces: tuple[EmbedPiece, ...]
    # How many cells the context needs for it; for an encoder, how many rows. A context with fewer
    # is made anew. The new one is empty, and every piece begins at 0.
    cells: int
    # Sequences whose cells are freed before the decode.
    drop: tuple[int, ...] = ()
    # As in `StepPlan`.
    n_cells_read: int = 0
    # It is background work.
    bulk: bool = False
    # An arrival may abort it in the middle.
    cuttable: bool = False

    @property
    def n_rows(self) -> int:
        """Tokens in the batch."""
        return sum([piece.tokens.size for piece in self.pieces])
