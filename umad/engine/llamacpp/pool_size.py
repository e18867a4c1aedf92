"""Chooses how many cells the pool has where nobody says: `ctx_size: auto`.

A pool is there for texts that come. It should hold the longest text that the model can read, and
leave the machine to others:

- One text of the length that the model was trained on, but at least 64k cells, or four such texts
  where these are fewer: as many as the fewest streams a model gets. For these cells, all models
  together may take three quarters of the memory, which is also what macOS lets a GPU have.
- More, up to four of those texts and a million cells, within a quarter of the memory.
- Fewer where that does not fit, but at least 4k.

What engines of other models take, and what parking was promised, is not there to be had. Not: what
a context of some size takes (`context_memory`), or a size that was asked for: that is given or
refused (`fitting`). Pure.
"""

from collections.abc import Callable

from umad.engine.llamacpp.stream_count import FEW_STREAMS
from umad.estimate import MEMORY_SHARE

# Agents send 20,000 to 60,000 tokens.
GOOD_CELLS = 2**16
# With more, llama.cpp's list of a pool's cells takes more than 63 MB, used or not.
MOST_CELLS = 2**20
FEWEST_CELLS = 4096
_STEP_CELLS = 1024
# The share of the memory for weights, cells and everything else of this model.
MODEL_SHARE = 0.75
# The share of the memory for what lies beyond `GOOD_CELLS`, with the cells before it.
POOL_SHARE = 0.25

# The bytes that a context with so many cells takes, beside the weights.
ContextBytes = Callable[[int], int]


def pool_cells(
    context_bytes: ContextBytes,
    *,
    trained_tokens: int,
    stream_tokens: int | None,
    weights_bytes: int,
    available_bytes: int,
    taken_bytes: int = 0,
    park_bytes: int = 0,
) -> int:
    """The cells of a pool that nobody chose a size for.

    trained_tokens: the longest text the model can read, 0 where its file does not say.
    stream_tokens: the longest text that was asked for; the pool holds it, whatever it takes.
    taken_bytes: memory of the other models' engines. park_bytes: what was asked for parking.
    """
    most = min(MOST_CELLS, FEW_STREAMS * trained_tokens) if trained_tokens else GOOD_CELLS
    good = min(max(GOOD_CELLS, trained_tokens), most)
    parked_bytes = int(MEMORY_SHARE * available_bytes) - park_bytes
    room_bytes = min(int(MODEL_SHARE * available_bytes), parked_bytes) - taken_bytes - weights_bytes
    share_bytes = min(room_bytes, int(POOL_SHARE * available_bytes))
    if context_bytes(good) > room_bytes:
        chosen = _between(min(FEWEST_CELLS, good), good, context_bytes, room_bytes)
    elif most > good and context_bytes(good) < share_bytes:
        chosen = _between(good, most, context_bytes, share_bytes)
    else:
        chosen = good
    return max(chosen, stream_tokens or 0)


def _between(low: int, high: int, context_bytes: ContextBytes, room_bytes: int) -> int:
    """The most cells from `low` to `high` that take no more than `room_bytes`; `low` where even
    these take more. The bytes grow evenly with the cells.
    """
    low_bytes, high_bytes = context_bytes(low), context_bytes(high)
    if high_bytes <= room_bytes:
        return high
    if low_bytes >= room_bytes:
        return low
    more = (room_bytes - low_bytes) * (high - low) // (high_bytes - low_bytes)
    return max(low, (low + more) // _STEP_CELLS * _STEP_CELLS)
