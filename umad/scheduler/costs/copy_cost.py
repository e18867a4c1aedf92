"""Learns what copying cells to host memory costs, and compares it with computing them again.

Pure; owner: the step thread.
"""

from umad.scheduler.costs.step_cost import CostModel
from umad.units import BYTES_PER_MB

# The rate assumed until the first copy: that of fresh pages (measured 0.6 ms a MB, and 0.05 once a
# page has been used).
FIRST_MS_PER_MB = 0.6
LEARNING_RATE = 0.2
# The time of a smaller copy is that of the call. As a rate it would tell of large copies what is
# not so: nothing of a model with states of a kilobyte was parked ever after.
LEAST_BYTES = 16 * 1024
# A copy this many times slower than expected was interrupted. It teaches at most this factor.
OUTLIER = 4.0
# A first copy that took longer was slow by itself.
INTERRUPTION_MS = 50.0
# Parking must be so many times cheaper than computing again: the copies are made for certain, but
# nobody may come back for the cells.
WORTH = 2.0


class CopyCost:
    """Compares the milliseconds of copies with those of prefill."""

    def __init__(self, cost: CostModel, *, cell_bytes: float, batch_tokens: int) -> None:
        self._cost = cost
        self._cell_bytes = cell_bytes
        self._batch_tokens = batch_tokens
        self._ms_per_mb = FIRST_MS_PER_MB
        self._has_learnt = False

    def copy_ms(self, n_tokens: int) -> float:
        """Milliseconds to copy the cells of `n_tokens` tokens one way."""
        return n_tokens * self._cell_bytes / BYTES_PER_MB * self._ms_per_mb

    def bytes_ms(self, n_bytes: int) -> float:
        """Milliseconds to copy so many bytes one way."""
        return n_bytes / BYTES_PER_MB * self._ms_per_mb

    def rebuild_ms(self, n_tokens: int, *, start: int = 0) -> float:
        """Milliseconds to compute `n_tokens` from position `start` on while nothing else runs."""
        total_ms = 0.0
        for at in range(start, start + n_tokens, self._batch_tokens):
            n_slice = min(self._batch_tokens, start + n_tokens - at)
            total_ms += self._cost.prefill.slice_ms(n_slice, at)
        return total_ms

    @property
    def step_ms(self) -> float:
        """Milliseconds of a step with next to nothing in it."""
        return min(self._cost.prefill.at(1), self._cost.decode.at(1))

    def is_worth_parking(self, n_tokens: int, *, state_bytes: int = 0) -> bool:
        """Whether copying `n_tokens` out and back is cheaper, by a margin, than computing them.
        state_bytes: bytes of a state that go with them."""
        copy_ms = self.copy_ms(n_tokens) + self.bytes_ms(state_bytes)
        return WORTH * 2 * copy_ms < self.rebuild_ms(n_tokens)

    def learn(self, n_bytes: int, ms: float) -> None:
        """Learn that `n_bytes` were copied in `ms`."""
        if n_bytes < LEAST_BYTES or ms <= 0:
            return
        rate = ms / n_bytes * BYTES_PER_MB
        bounded = min(rate, OUTLIER * self._ms_per_mb)
        if not self._has_learnt:
            # At a rate that an interruption made, nothing would seem worth a copy ever after, and
            # so nothing would be learnt again.
            self._has_learnt = True
            self._ms_per_mb = rate if ms > INTERRUPTION_MS else bounded
            return
        self._ms_per_mb += LEARNING_RATE * (bounded - self._ms_per_mb)
