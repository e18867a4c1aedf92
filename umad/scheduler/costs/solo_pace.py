"""Learns how much longer readers wait than the cost curve foretells for interactive rows alone.

Between two tokens a reader also waits for the host: mail, planning, sampling, sending. And a usual
step takes a little longer than the cost curves say, because the curves believe a quick step sooner
than a slow one (otherwise time taken by other programs would make slices smaller and smaller). Both
parts are measured as one: the time from one step's tokens to the next one's, less the time that the
curve foretold. The median of the last such steps counts. A rehearsal at load teaches it first, then
every step that carried only interactive rows.

Pure; owner: the step thread.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from umad.scheduler.costs.cost_curve import ROWS

# Steps a median is taken over: a second of a small model, half a minute of a large one.
MEMORY_STEPS = 63
# Fewer steps show nothing yet, unless nothing at all is known.
LEAST_STEPS = 9
# A median moves slowly, and sorting so many floats would be the slowest part of a step's booking.
# So the median is taken once in so many steps.
COUNT_EVERY = 8


class _Usual:
    """The median of the latest values. Until there are enough of them, a remembered value."""

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
            # A step that was quicker than foretold says nothing about the host: never below 0.
            self.ms = max(0.0, sorted(self._latest)[n // 2])

    def bound(self, ms: float) -> None:
        """Learn that it is at most `ms`: all that was more is forgotten."""
        if ms >= self.ms:
            return
        self.ms = max(0.0, ms)
        self._latest = deque([min(one, self.ms) for one in self._latest], MEMORY_STEPS)


class Pace:
    """The usual extra wait by number of rows, at the points of `ROWS`."""

    def __init__(self) -> None:
        self._usual = [_Usual() for _ in ROWS]

    @property
    def is_known(self) -> bool:
        """Whether any step was observed, by this engine or by one before it."""
        return any(one.seen for one in self._usual)

    def above_ms(self, n_rows: int) -> float:
        """Usual milliseconds above the curve's for `n_rows` rows. Where that number was never
        observed, those of the nearest number that was."""
        known = self._known(n_rows)
        return known.ms if known else 0.0

    def learn(self, n_rows: int, above_ms: float) -> None:
        """Learn that a step of `n_rows` interactive rows and nothing else took `above_ms` more than
        foretold."""
        self._usual[_point(n_rows)].learn(above_ms)

    def bound(self, n_rows: int, above_ms: float) -> None:
        """Learn that a step of `n_rows` interactive rows and other work took `above_ms` more than
        foretold for the rows alone. They would not have taken longer without the other work."""
        known = self._known(n_rows)
        if known:
            known.bound(above_ms)

    def snapshot(self) -> list[tuple[float, int]]:
        """(milliseconds, times seen) of every point of `ROWS`."""
        return [(one.ms, one.seen) for one in self._usual]

    def restore(self, points: Sequence[tuple[float, int]]) -> None:
        """Take up what `snapshot` gave."""
        for one, (ms, seen) in zip(self._usual, points, strict=True):
            one.ms, one.seen = ms, seen

    def _known(self, n_rows: int) -> _Usual | None:
        """What is known of the nearest number of rows of which anything is; None of nothing."""
        at = _point(n_rows)
        if self._usual[at].seen:
            return self._usual[at]
        known = [index for index, one in enumerate(self._usual) if one.seen]
        return self._usual[min(known, key=lambda index: abs(index - at))] if known else None


def _point(n_rows: int) -> int:
    return min(bisect_left(ROWS, n_rows), len(ROWS) - 1)
