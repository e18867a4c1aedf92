"""Gives every cell of a medium a number, as a token has one, so that all books can compare them.

A prompt is one array of numbers, one for each cell. Text has the model's tokens, which are not
negative. A run of rows of a medium has stand-ins: negative numbers drawn from its key, so that
equal media at equal places are equal prompts and share cells, and others differ in their first
cell. The ledger, the prefix index, parking and saved sessions compare numbers and need to know no
more.

Some bits of a stand-in say what only media have:

    FIRST   a run of rows begins here. Nobody shares or keeps a part of a run: its rows may look at
            one another, and its cells may lie at one position.
    FOLDED  as FIRST, and all cells of the run begin at one position, as those of an image under
            M-RoPE do.
    STAYS   this cell adds no position: such an image has fewer positions than cells.

Pure.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from umad.media_slices import FoldedRun

FIRST, STAYS, FOLDED = 1, 2, 4
_BITS = 3
_SIGN = np.uint32(1 << 31)
_Ids = NDArray[np.int32]


def stand_ins(key: str, n_cells: int, n_positions: int | None = None) -> _Ids:
    """int32 (n_cells,): the numbers of a run of rows. key: what its rows depend on. n_positions:
    how many positions a folded run takes; None where each cell has its own.
    """
    drawn = hashlib.shake_256(key.encode()).digest(4 * n_cells)
    ids = np.frombuffer(drawn, np.uint32).copy()
    ids &= np.uint32(0xFFFFFFFF >> (_BITS + 1) << _BITS)
    ids |= _SIGN
    ids[0] |= np.uint32(FIRST)
    if n_positions is not None:
        ids[0] |= np.uint32(FOLDED)
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


def has_folded(tokens: _Ids) -> bool:
    """Whether the positions of some cells are not their numbers, as those of all texts are."""
    return bool(((tokens < 0) & (tokens & FOLDED > 0)).any())


def folded_runs(tokens: _Ids, *, start: int = 0) -> tuple[FoldedRun, ...]:
    """The folded runs among `tokens`, which has all of each, ascending. start: the number of the
    first of these cells in their sequence."""
    firsts = np.flatnonzero((tokens < 0) & (tokens & FOLDED > 0))
    if not firsts.size:
        return ()
    stays = (tokens < 0) & (tokens & STAYS > 0)
    # A run ends where the next one or a text begins.
    borders = np.flatnonzero((tokens >= 0) | (tokens & FIRST > 0))
    after = np.searchsorted(borders, firsts, side="right")
    found = []
    for first, at in zip(firsts.tolist(), after.tolist(), strict=True):
        end = int(borders[at]) if at < borders.size else tokens.size
        n_without = int(np.count_nonzero(stays[first:end]))
        found.append(FoldedRun(start=start + first, end=start + end, n_without=n_without))
    return tuple(found)
