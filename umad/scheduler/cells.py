"""What one KV cell read adds to a step's milliseconds, learnt while serving.

A row of a long conversation reads thousands of cells, and so costs more than one at the start.
The slope is that of a regression with a fading memory: of what steps took above the cost of their
rows, over the cells they read. On a disturbed machine a few steps can show any slope, so it is
believed only where it stands out of the noise; and all cells of a step together never cost more
than the step.
Pure; owner: the step thread.
"""

# The regression remembers about so many steps.
MEMORY_STEPS = 100
# Fewer than this show nothing.
LEAST_STEPS = 8
# How far the slope in use moves towards the regression's with every step: one prompt should
# correct it, a dozen steps of a disturbed machine should not.
RATE = 0.05
# Cells must have varied by this share of their mean before a slope is believed.
LEAST_SPREAD = 0.1
# A rising slope must be this many times its own standard error (Student's t).
LEAST_T = 4.0
# A step that was dearer than expected by more than this share of it was interrupted by something
# outside, and teaches no more than one that was dearer by so much.
MOST_SURPRISE = 0.5


class CellCost:
    """ms_each: milliseconds per cell read, as far as is known."""

    __slots__ = ("_co", "_mean_cells", "_mean_ms", "_n", "_var_cells", "_var_ms", "ms_each")

    def __init__(self, ms_each: float = 0.0) -> None:
        self.ms_each = ms_each
        self._n = 0
        self._mean_cells = self._mean_ms = 0.0
        self._var_cells = self._var_ms = self._co = 0.0

    def learn(self, n_cells: int, rows_ms: float, ms: float) -> None:
        """A step took `ms` and read `n_cells`; `rows_ms` is what its rows were thought to cost."""
        # A slope that is too steep makes slices so short that the regression learns no more: this
        # bound needs no regression.
        self.ms_each = min(self.ms_each, ms / n_cells)
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

    def _stands_out(self) -> bool:
        explained = self._co * self._co / self._var_cells
        left = max(0.0, self._var_ms - explained)
        n_steps = min(self._n, MEMORY_STEPS)
        return explained * (n_steps - 2) > LEAST_T * LEAST_T * left
