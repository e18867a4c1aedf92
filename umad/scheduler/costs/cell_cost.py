"""Learns, while serving, how many milliseconds each KV cell that is read adds to a step.

A row of a long conversation reads thousands of cells, so it costs more than a row at the start. The
price of a cell is the slope of a regression with a fading memory: the milliseconds that steps took
above the cost of their rows, over the cells they read. On a disturbed machine a few steps can show
any slope, so a slope is believed only where it stands out of the noise. All cells of a step
together never cost more than the step. Where all rows are about as deep in their contexts, no slope
shows, even if each row takes many times what it took at the start. Then the least that the cells
must have cost is believed without a slope.

Pure; owner: the step thread.
"""

import math

# The regression remembers about so many steps.
MEMORY_STEPS = 100
# Fewer steps than this show no slope.
LEAST_STEPS = 8
# How far the slope in use moves towards the regression's with every step: one prompt should
# correct it, a dozen steps of a disturbed machine should not.
RATE = 0.05
# Cells must have varied by this share of their mean before a slope is believed.
LEAST_SPREAD = 0.1
# A rising slope must be this many times its own standard error (Student's t).
LEAST_T = 4.0
# PLAIN_STEPS steps in a row are no coincidence where each took PLAIN_TIMES what its rows alone cost
# and had PLAIN_DEPTH cells to read for a row. A busy minute makes shallow steps as slow, so shallow
# steps are not counted.
PLAIN_STEPS, PLAIN_TIMES, PLAIN_DEPTH = 8, 2.0, 1_000
# A step that took longer than expected by more than this share was interrupted by something
# outside. The time above that share teaches nothing.
MOST_SURPRISE = 0.5


class CellCost:
    """The price of one cell. ms_each: milliseconds per cell read, as far as is known.

    plain: a price is also believed without a slope, once several steps in a row took many times
    what their rows cost.
    """

    __slots__ = (
        "_co",
        "_least_each",
        "_mean_cells",
        "_mean_ms",
        "_n",
        "_n_plain",
        "_plain",
        "_var_cells",
        "_var_ms",
        "ms_each",
    )

    def __init__(self, ms_each: float = 0.0, *, plain: bool = False) -> None:
        self.ms_each = ms_each
        self._plain = plain
        self._n = 0
        self._mean_cells = self._mean_ms = 0.0
        self._var_cells = self._var_ms = self._co = 0.0
        self._n_plain, self._least_each = 0, math.inf

    def learn(self, n_cells: int, rows_ms: float, ms: float, *, n_rows: int) -> None:
        """Learn from a step of `n_rows` that took `ms` and read `n_cells`. `rows_ms` is the cost
        expected of its rows."""
        # Too steep a slope makes slices so short that the regression learns nothing that would
        # correct the slope. So it is bounded: a step's cells cannot cost more than the whole step.
        self.at_most(ms / n_cells)
        if self._plain and n_cells >= PLAIN_DEPTH * n_rows:
            self._see_what_is_plain(n_cells, rows_ms, ms)
        cells_ms = self.ms_each * n_cells
        above_ms = min(ms - rows_ms, cells_ms + MOST_SURPRISE * (rows_ms + cells_ms))
        self._n += 1
        weight = 1 / min(self._n, MEMORY_STEPS)
        off_cells = n_cells - self._mean_cells
        off_ms = above_ms - self._mean_ms
        self._mean_cells += weight * off_cells
        self._mean_ms += weight * off_ms
        # Weighted means, variances and covariance in one pass (West 1979).
        kept = 1 - weight
        self._var_cells = kept * (self._var_cells + weight * off_cells * off_cells)
        self._var_ms = kept * (self._var_ms + weight * off_ms * off_ms)
        self._co = kept * (self._co + weight * off_cells * off_ms)
        if self._n < LEAST_STEPS or self._var_cells <= (LEAST_SPREAD * self._mean_cells) ** 2:
            return
        slope = max(0.0, self._co / self._var_cells)
        if slope < self.ms_each or self._stands_out():
            self.ms_each += max(RATE, 1 / self._n) * (slope - self.ms_each)

    def at_most(self, ms_each: float) -> None:
        """Lower the price to `ms_each`, the most that a cell can have cost in some step."""
        self.ms_each = min(self.ms_each, ms_each)

    def _see_what_is_plain(self, n_cells: int, rows_ms: float, ms: float) -> None:
        if ms < PLAIN_TIMES * rows_ms:
            self._n_plain, self._least_each = 0, math.inf
            return
        self._n_plain += 1
        self._least_each = min(self._least_each, (ms - rows_ms) / n_cells)
        if self._n_plain >= PLAIN_STEPS:
            self.ms_each = max(self.ms_each, self._least_each)
            self._n_plain, self._least_each = 0, math.inf

    def _stands_out(self) -> bool:
        explained = self._co * self._co / self._var_cells
        left = max(0.0, self._var_ms - explained)
        n_steps = min(self._n, MEMORY_STEPS)
        return explained * (n_steps - 2) > LEAST_T * LEAST_T * left
