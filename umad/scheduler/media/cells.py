"""Gives every cell of a medium a number, as a token has one, so that all books can compare them.

A prompt is one array of numbers, one for each cell. Text has the model's tokens, which are not
negative. A run of rows of a medium has stand-ins: negative numbers drawn from its key, so that
equal media at equal places are equal prompts and share cells, and others differ in their first
cell. The ledger, the prefix index, parking and saved sessions compare numbers and need to know no
more.

Two bits of a stand-in say what only media have:

    FIRST   a run of rows begins here. Nobody shares or keeps a part of a run: its rows may look at
            one another, and its cells may lie at one position.
    STAYS   this cell adds no position. Under M-RoPE an image has fewer positions than cells.

Pure.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

FIRST, STAYS = 1, 2
_BITS = 2
_SIGN = np.uint32(1 << 31)
_Ids = NDArray[np.int32]


def stand_ins(key: str, n_cells: int, n_positions: int | None = None) -> _Ids:
    """int32 (n_cells,): the numbers of a run of rows. key: what its rows depend on. n_positions:
    how many positions it takes; None for one a cell.
    """
    drawn = hashlib.shake_256(key.encode()).digest(4 * n_cells)
    ids = np.frombuffer(drawn, np.uint32).copy()
    ids &= np.uint32(0xFFFFFFFF >> (_BITS + 1) << _BITS)
    ids |= _SIGN
    ids[0] |= np.uint32(FIRST)
    if n_positions is not None:
        ids[n_positions:] |= np.uint32(STAYS)
    return ids.view(np.int32)


def is_text(tokens: _Ids) -> NDArray[np.bool_]:
    """Which of the numbers are tokens of the model."""
    return tokens >= 0


def whole_runs(tokens: _Ids, n_cells: int) -> int:
    """The most cells, up to `n_cells`, that cut no run of rows of `tokens` in two."""
    if n_cells >= tokens.size or tokens[n_cells] >= 0 or tokens[n_cells] & FIRST:
        return n_cells
    before = tokens[:n_cells]
    return int(np.flatnonzero((before < 0) & (before & FIRST > 0))[-1])


def whole_match(tokens: _Ids, found: tuple[int, int]) -> tuple[int, int]:
    """(sequence, cells) that were found for `tokens`, without a part of a run of rows."""
    seq, n_cells = found[0], whole_runs(tokens, found[1])
    return (seq, n_cells) if n_cells else (-1, 0)


def has_one_position_a_cell(tokens: _Ids) -> bool:
    """Whether the position of every cell is its number, as it is for all texts."""
    return not bool(((tokens < 0) & (tokens & STAYS > 0)).any())
