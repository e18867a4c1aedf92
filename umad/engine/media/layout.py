"""Says what stands for a medium in a prompt: runs of rows, with the text that a model wants around.

A model reads an image as rows of numbers in the place of tokens. Most models want a text before and
behind them ("<start_of_image>"), and some cut a large image into tiles with texts between. Sizes
alone decide all of it, so a layout is known without pixels: it counts tokens. Values only. Not: the
rows (`encoding`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextPiece:
    """Tokens of text that belong to a medium."""

    # int32 (n,).
    tokens: NDArray[np.int32]

    @property
    def n_cells(self) -> int:
        """The cells that it takes."""
        return self.tokens.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowPiece:
    """A run of rows: a whole medium, or one tile of an image or window of a sound."""

    # Its number among the runs of its medium.
    index: int
    # Each row takes one cell.
    n_rows: int
    # How far the positions go on behind it. Under M-RoPE an image takes as many as its longer side
    # has rows, and so fewer than cells.
    n_positions: int
    # Rows look at earlier ones only. Where not, all rows are computed in one micro-batch.
    causal: bool
    # int32 (4, n_rows): where each row lies under M-RoPE, counted from the run's first position:
    # time, height, width, and one that is unused. None where rows follow one another like tokens.
    places: NDArray[np.int32] | None = None

    @property
    def n_cells(self) -> int:
        """The cells that it takes."""
        return self.n_rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MediumLayout:
    """All that stands for one medium, in order."""

    pieces: tuple[TextPiece | RowPiece, ...]

    @property
    def n_cells(self) -> int:
        """The cells of the whole medium, texts included. A user counts them as tokens."""
        return sum(piece.n_cells for piece in self.pieces)

    @property
    def runs(self) -> tuple[RowPiece, ...]:
        """The runs of rows alone."""
        return tuple(piece for piece in self.pieces if isinstance(piece, RowPiece))
