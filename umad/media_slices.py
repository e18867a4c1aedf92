"""Parts of a medium as a step carries them: rows to compute, time for the encoder. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSpan:
    """A run of rows among the tokens of a request: a medium, or a part of one."""

    # Its number among the runs of its request.
    run: int
    # The cells [start, start + n_cells) of the request are its rows.
    start: int
    n_cells: int
    # Its rows look at one another, or share positions: it is computed in one step.
    is_atomic: bool

    @property
    def end(self) -> int:
        """The cell behind it."""
        return self.start + self.n_cells


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRun:
    """An image under M-RoPE, at the cells [start, end) of a sequence. All its cells begin at one
    position, and most images have fewer positions than cells."""

    start: int
    end: int
    # Its cells that add no position.
    n_without: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSlice:
    """Rows of a medium to be computed at the cells [start, start + n_cells) of a sequence. They are
    a decode of their own, since llama.cpp takes either tokens or rows."""

    rid: int
    seq: int
    start: int
    n_cells: int
    # The run that they are of, and how many of its rows stand before them.
    run: int
    offset: int
    # It is background work.
    bulk: bool
    # As the cost model expects it.
    predicted_ms: float

    @property
    def n_cells_read(self) -> int:
        """KV cells that the attention of these rows reads."""
        return self.n_cells * self.start + self.n_cells * (self.n_cells + 1) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeTurn:
    """Some milliseconds for the encoder of a medium, which is held before and after them."""

    rid: int
    run: int
    ms: float
    # It is background work.
    bulk: bool
    # Streams are read beside it.
    beside_readers: bool
    # A node of the encoder that is not over at the turn's end is waited for so much longer.
    late_ms: float
