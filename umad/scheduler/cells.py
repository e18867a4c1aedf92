"""What one KV cell read adds to a step's milliseconds, learnt while serving.

A row of a long conversation reads thousands of cells, and so costs more than one at the start.
The slope is that of a regression with a fading memory: of what steps took above the cost of their
rows, over the cells they read. Steps that all read about the same tell nothing about it.
Pure; owner: the step thread.
"""

# The regression remembers about so many steps.
MEMORY_STEPS = 100
# How far the slope in use moves towards the regression's with every step: one prompt should
# correct it, a dozen steps of a disturbed machine should not.
RATE = 0.05
# Cells must have varied by this share of their mean before a slope is believed.
LEAST_SPREAD = 0.1
# A step that was dearer than expected by more than this share of it was interrupted by something
# outside, and teaches no more than one that was dearer by so much.
MOST_SURPRISE = 0.5


class CellCost:
    """ms_each: milliseconds per cell read, as far as is known."""

    __slots__ = ("_co", "_mean_cells", "_mean_ms", "_n", "_var", "ms_each")

    def __init__(self, ms_each: float = 0.0) -> None:
        self.ms_each = ms_each
        self._n = 0
        self._mean_cells = self._mean_ms = 0.0
        self._var = self._co = 0.0

    def learn(self, n_cells: int, above_ms: float, expected_ms: float) -> None:
        """A step took `above_ms` more than its rows alone were thought to cost, with `n_cells`
        read; `expected_ms` is what rows and cells together were thought to cost."""
        self._n += 1
        above_ms = min(above_ms, self.ms_each * n_cells + MOST_SURPRISE * expected_ms)
        weight = 1 / min(self._n, MEMORY_STEPS)
        off_cells = n_cells - self._mean_cells
        off_ms = above_ms - self._mean_ms
        self._mean_cells += weight * off_cells
        self._mean_ms += weight * off_ms
        # Weighted mean and covariance in one pass (West 1979).
        self._var = (1 - weight) * (self._var + weight * off_cells * off_cells)
        self._co = (1 - weight) * (self._co + weight * off_cells * off_ms)
        if self._n > 1 and self._var > (LEAST_SPREAD * self._mean_cells) ** 2:
            slope = max(0.0, self._co / self._var)
            self.ms_each += max(RATE, 1 / self._n) * (slope - self.ms_each)
