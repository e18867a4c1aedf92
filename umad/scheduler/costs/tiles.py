"""How many prompt tokens make a step's rows come out in whole tiles.

Matrix kernels work on blocks of rows, and a block that is not full costs as much as one that is,
or more. llama.cpp on a CPU multiplies four rows at a time, and its flash attention takes a quicker
way for every 64 (Q8_0, 0.5B, 2 cores, rows of a step and milliseconds: 31: 320, 32: 289;
60: 552, 63: 590, 64: 498, 65: 589, 68: 606). An accelerator's tiles are multiples of the same.
Pure; owner: the step thread.
"""

from collections.abc import Callable

ROWS_AT_ONCE = 4
ATTENTION_ROWS = 64
# A slice is made shorter by one in so many tokens at most: to leave out more would need more steps,
# and what their other rows cost weighs more than full tiles save.
MOST_LEFT_OUT = 4


def in_whole_tiles(n_tokens: int, *, beside: int, fits: Callable[[int], bool]) -> int:
    """`n_tokens` of prompt, or more where so many fit, or a few fewer, so that with `beside` other
    rows the step has no tile that is not full, where that can be had."""
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
