"""Finds out by trying whether cells of an opened model can be parked, and how large a slab must be.

llama.cpp saves more of a cell than its keys and values: its position and its sequences, in some
models its place in a picture, and all of it once for each cache that the model has. So it is asked
what it saves of a few cells. A slab that was too small could never be filled, and nothing would be
parked. The trial runs on an empty pool and leaves it empty.
Not: the slabs themselves (`parked_cells`), states (`state_trial`). Owner: the main thread.
"""

from dataclasses import replace

import numpy as np

from umad.engine.llamacpp.llama import Batch, Context
from umad.engine.llamacpp.parked_cells import can_park
from umad.engine.llamacpp.state_trial import StateLayout
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.windows import Window

# So many cells are saved, and then half of them.
_CELLS = 4


def try_parking(
    context: Context,
    shape: ParkShape,
    *,
    scratch: int,
    empty: int | None,
    token: int,
    states: StateLayout | None,
    window: Window | None,
) -> ParkShape | None:
    """The host memory for copies, with slabs as large as they must be; None where there is too
    little of it, or copies cannot be put back.

    scratch, empty: as of `ParkedCells`. token: any token of the model. states: of its sequences;
    None where it has none. window: what cells can fall out of; None for nothing.
    """
    if states is None:
        # Of layers with a window, llama.cpp saves only the cells in the window. Another turn could
        # not share what lies before it.
        if window is not None:
            return None
    else:
        shape = replace(shape, state_bytes=states.most_bytes, has_cells=states.has_cells)
        if not states.has_cells:
            return shape if shape.capacity_bytes >= states.most_bytes else None
    least_bytes = saved_bytes(context, shape.slice_cells, scratch=scratch, empty=empty, token=token)
    if least_bytes is None:
        return None
    shape = replace(shape, slab_bytes=max(shape.slab_bytes, least_bytes))
    if shape.capacity_bytes < shape.slab_bytes:
        return None
    works = can_park(context, shape, scratch=scratch, empty=empty, token=token, layout=states)
    return shape if works else None


def saved_bytes(
    context: Context, n_cells: int, *, scratch: int, token: int, empty: int | None = None
) -> int | None:
    """The bytes that llama.cpp saves of so many cells; None where it cannot compute any."""
    context.clear()
    batch = Batch(_CELLS)
    batch.token[:] = token
    batch.pos[:] = np.arange(_CELLS)
    batch.wants_logits[-1] = 1
    batch.set_rows(_CELLS)
    few, many = _CELLS // 2, _CELLS
    try:
        if context.decode(batch):
            return None
        sizes = {}
        for n in (few, many):
            context.copy(0, scratch, n)
            if empty is not None:
                context.copy(empty, scratch, n)
            sizes[n] = context.whole_size(scratch)
            context.trim(scratch, 0)
    finally:
        context.clear()
    each_bytes = -(-(sizes[many] - sizes[few]) // (many - few))
    return sizes[few] + max(0, n_cells - few) * each_bytes
