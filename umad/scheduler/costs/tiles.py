"""Rounds a number of prompt tokens so that a step's rows fill whole tiles.

Matrix kernels work on blocks of rows, and a block that is not full costs as much as a full one, or
more. llama.cpp on a CPU multiplies four rows at a time, and its flash attention takes a quicker way
for every 64 (Q8_0, 0.5B, 2 cores, rows of a step and milliseconds: 31: 320, 32: 289;
60: 552, 63: 590, 64: 498, 65: 589, 68: 606). An accelerator's tiles are multiples of the same.

Pure; owner: the step thread.
"""

from collections.abc import Callable

ROWS_AT_ONCE = 4
ATTENTION_ROWS = 64
# A slice is made shorter by one in so many tokens at most. Leaving out more would need more steps,
# and the other rows of those steps cost more than full tiles save.
MOST_LEFT_OUT = 4


def in_whole_tiles(n_tokens: int, *, beside: int, fits: Callable[[int], bool]) -> int:
    """Return a number near `n_tokens` of prompt tokens that, with `beside` other rows, fills whole
    tiles. It is more than `n_tokens` where `fits` allows more, otherwise a few fewer. Where no such
    number is near enough, return `n_tokens`."""
    n_rows = n_tokens + beside
    for tile in (ATTENTION_ROWS, ROWS_AT_ONCE):
        over = n_rows % tile
        if n_tokens <= 0 or n_rows < tile:
            continue
        if over and fits(n_tokens - over + tile):
            return n_tokens - over + tile
        if over * MOST_LEFT_OUT <= n_tokens:
            return n_tokens - over
    return n_tokens
