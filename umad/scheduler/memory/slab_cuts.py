"""Says where a sequence is cut into slabs, which are copied out of the pool and back one by one.

A slab has `slice_cells` cells. But llama.cpp takes cells by their positions, and the cells of an
image under M-RoPE begin at one position. So no slab has a part of such an image: a slab ends before
it, and an image that is longer than a slab is one slab, with room for several.

Cuts depend on the cells up to them alone, and on the image there. So sequences that begin alike are
cut alike. Pure.
"""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from umad.scheduler.media.cells import folded_runs


class SlabCuts:
    """The cuts of one sequence. tokens: int32 (n,) of its cells."""

    def __init__(self, tokens: NDArray[np.int32], slice_cells: int) -> None:
        self._slice_cells = slice_cells
        self._n_cells = tokens.size
        # Where each slab begins, and the end; None where they are multiples of a slab's cells.
        self._borders: list[int] | None = None
        images = folded_runs(tokens)
        if not images:
            return
        self._borders = borders = [0]
        while (start := borders[-1]) < tokens.size:
            end = start + slice_cells
            cut = next((one for one in images if one.start < end < one.end), None)
            if cut is not None:
                end = cut.start if cut.start > start else cut.end
            borders.append(min(end, tokens.size))

    @property
    def n_slabs(self) -> int:
        """How many slabs there are."""
        if self._borders is not None:
            return len(self._borders) - 1
        return -(-self._n_cells // self._slice_cells)

    @property
    def n_rooms(self) -> int:
        """The room that all slabs take, counted in slabs of `slice_cells`."""
        if self._borders is None:
            return self.n_slabs
        return sum(map(self.rooms, range(self.n_slabs)))

    @property
    def most_cells(self) -> int:
        """The cells of the largest slab."""
        if self._borders is None:
            return min(self._n_cells, self._slice_cells)
        return max(self.end(slab) - self.start(slab) for slab in range(self.n_slabs))

    def slab_at(self, n_cells: int) -> int:
        """The number of the slab that the cell behind the first `n_cells` is in."""
        if self._borders is None:
            return n_cells // self._slice_cells
        return bisect_right(self._borders, n_cells) - 1

    def start(self, slab: int) -> int:
        """The first cell of a slab."""
        return self._borders[slab] if self._borders is not None else slab * self._slice_cells

    def end(self, slab: int) -> int:
        """The cell behind a slab."""
        if self._borders is not None:
            return self._borders[slab + 1]
        return min((slab + 1) * self._slice_cells, self._n_cells)

    def rooms(self, slab: int) -> int:
        """The room that a slab takes: 1, and more for a large image."""
        return -(-(self.end(slab) - self.start(slab)) // self._slice_cells)
