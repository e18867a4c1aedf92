"""Learns how long an arrival waits for a step that it cuts, and bounds steps by that.

A device looks for arrivals at some places of a step only: before every node on a CPU, between two
layers on a GPU, or never. So an arrival waits for a share of the step, and a little longer for what
follows. The backend says the share that it expects. Cuts show it: other programs may have the
cores, and a driver may take work in larger pieces than it is given. Steps are then as long as an
arrival may wait, divided by the share.

Not: which steps may be cut (`composer`), what a cut loses (`slice_size`).
Pure; owner: the step thread.
"""

# What follows the last look of a step, whatever its length: threads that wake, cells given back.
# Measured on two cores of a CPU: 6 to 13 ms.
AFTER_MS = 15.0
# A cut counts for so much of what is known. One slow cut on a busy machine is no habit yet.
WEIGHT = 0.25


class CutWait:
    """The waits of one engine's arrivals."""

    def __init__(self, share: float) -> None:
        """share: of a step that passes until the device looks again, as its backend expects: 0
        where it looks all the time, 1 where it never looks."""
        self._expected = share
        self._share = share
        # The usual milliseconds of a wait; None before the first cut.
        self.ms: float | None = None

    @property
    def can_cut(self) -> bool:
        """Whether a step that is cut ends before its end."""
        return self._expected < 1.0

    @property
    def share(self) -> float:
        """Of a step that an arrival waits for."""
        return self._share

    def learn(self, wait_ms: float, step_ms: float) -> None:
        """An arrival waited for the end of a step that was expected to take `step_ms`."""
        if wait_ms <= 0 or step_ms <= 0:
            return
        self.ms = wait_ms if self.ms is None else self.ms + WEIGHT * (wait_ms - self.ms)
        seen = min(1.0, max(0.0, wait_ms - AFTER_MS) / step_ms)
        # Arrivals come anywhere between two looks, so a shorter wait is luck.
        self._share = max(self._expected, self._share + WEIGHT * (seen - self._share))

    def longest_ms(self, wait_ms: float, most_ms: float) -> float:
        """The longest step, up to `most_ms`, for which an arrival waits at most `wait_ms`."""
        if self._share * most_ms <= wait_ms:
            return most_ms
        return wait_ms / self._share
