"""What a step of interactive rows alone takes beyond the device's best time, as readers feel it.

Between two tokens a reader also waits for the host: mail, planning, sampling, sending. And a usual
step takes a little longer than the cost curves say, because they believe a quick step sooner than a
slow one (else what other programs take would make slices smaller and smaller). Both together are
measured as one: by how much the last such steps, from one step's tokens to the next one's, took
longer than the curve foretold; the median counts. A rehearsal at load learns it first, then every
step that carried nothing else.
Pure; owner: the step thread.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from umad.scheduler.costs.cost_curve import ROWS

# Steps a median is taken over: a second of a small model, half a minute of a large one.
MEMORY_STEPS = 63
# Fewer show nothing yet, unless nothing at all is known.
LEAST_STEPS = 9
# A median moves slowly; sorting that many floats at every step would be the dearest thing in it.
COUNT_EVERY = 8


class _Usual:
    """The median of the latest values, or what was remembered until there are enough of them."""

    __slots__ = ("_latest", "_since", "ms", "seen")

    def __init__(self) -> None:
        self.ms = 0.0
        self.seen = 0
        self._latest: deque[float] = deque(maxlen=MEMORY_STEPS)
        self._since = 0

    def learn(self, ms: float) -> None:
        self._latest.append(ms)
        self.seen += 1
        self._since += 1
        n = len(self._latest)
        is_first = self.seen == n and n < LEAST_STEPS
        if is_first or (n >= LEAST_STEPS and self._since >= COUNT_EVERY):
            self._since = 0
            # Between two steps nothing is quicker than the device foretold.
            self.ms = max(0.0, sorted(self._latest)[n // 2])


class Pace:
    """By number of rows, at the points of `ROWS`."""

    def __init__(self) -> None:
        self._usual = [_Usual() for _ in ROWS]

    @property
    def is_known(self) -> bool:
        """Something was observed, now or before an earlier end."""
        return any(one.seen for one in self._usual)

    def above_ms(self, n_rows: int) -> float:
        """Usual milliseconds above the device's; where `n_rows` is not known, those of the nearest
        number that is."""
        at = _point(n_rows)
        here = self._usual[at]
        if here.seen:
            return here.ms
        known = [index for index, one in enumerate(self._usual) if one.seen]
        if not known:
            return 0.0
        return self._usual[min(known, key=lambda index: abs(index - at))].ms

    def learn(self, n_rows: int, above_ms: float) -> None:
        """A step of so many interactive rows and nothing else took so much more than foretold."""
        self._usual[_point(n_rows)].learn(above_ms)

    def snapshot(self) -> list[tuple[float, int]]:
        """(milliseconds, times seen) of every point of `ROWS`."""
        return [(one.ms, one.seen) for one in self._usual]

    def restore(self, points: Sequence[tuple[float, int]]) -> None:
        """Take up what `snapshot` gave."""
        for one, (ms, seen) in zip(self._usual, points, strict=True):
            one.ms, one.seen = ms, seen


def _point(n_rows: int) -> int:
    return min(bisect_left(ROWS, n_rows), len(ROWS) - 1)
