"""Learns, while serving, how milliseconds rise with a count: a broken line through known points.

On a CPU costs rise almost linearly from the first row. On a GPU they are flat at first. So the only
assumption is that costs do not fall.

Beyond the largest size that was seen, a curve may follow another one (`like`): rows of a prompt
beside streams cost about what rows of a prompt alone cost, once the weights are read.

Pure; owner: the step thread.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

# The counts at which a curve has a point. Between two points the curve is a straight line. Beyond
# the last point it goes on at that point's cost per count.
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
# So many of the first counts follow one another.
_FEW = 4
# A quick step is believed sooner than a slow one, which may only have been interrupted. Time that
# other programs take from this machine must not lead to ever smaller slices (oMLX #2633).
LEARNING_RATE_DOWN = 0.3
LEARNING_RATE_UP = 0.05
# A step this many times slower than expected was interrupted by something outside. Once a point is
# known, a step teaches it at most this factor.
OUTLIER = 2.0
# A count that seems to cost so many times as much as a larger one does was learnt wrongly.
MISTAKE = 1.5
# A count cannot cost much more than its parts one after another. What seems to cost so many times
# as much was learnt wrongly, as by a first step for which a GPU's driver built its programs.
PARTS = 8.0
# No count is expected to cost less.
LEAST_MS = 0.01
STRAIGHTEN_EVERY = 64


class CostCurve:
    """Expected milliseconds over a count, as a rising broken line through learnt points."""

    def __init__(self, initial_ms_each: float, *, like: "CostCurve | None" = None) -> None:
        """like: rises beyond this curve's largest known point as this one does there."""
        self._ms = [initial_ms_each * n for n in ROWS]
        self._seen = [0] * len(ROWS)
        self._like = like
        # The largest point that was seen; 0 for none.
        self._reach = 0
        self._since_straight = 0

    @property
    def is_known(self) -> bool:
        """Whether any step was observed."""
        return any(self._seen)

    @property
    def least_each(self) -> float:
        """The lowest cost per count of all points that were observed; 0 where none was."""
        known = zip(ROWS, self._ms, self._seen, strict=True)
        return min((ms / n for n, ms, seen in known if seen), default=0.0)

    def at(self, n: int) -> float:
        """Expected milliseconds for `n`; 0 for none."""
        # Few rows have a point of their own, and are asked for several times a step.
        if 0 < n <= _FEW and (n <= self._reach or self._like is None):
            return self._ms[n - 1]
        if n <= 0:
            return 0.0
        if n > self._reach and self._like is not None and self._like._reach > self._reach:
            # Between two times at which the other curve is made to rise, it may fall.
            further_ms = max(0.0, self._like_ms(n) - self._like_ms(self._reach))
            return self._own(self._reach) + further_ms
        return self._own(n)

    def _like_ms(self, n: int) -> float:
        """What `n` rows cost by the other curve where the weights are read already."""
        return 0.0 if self._like is None else max(0.0, self._like.at(n + 1) - self._like.at(1))

    def _own(self, n: int) -> float:
        """As `at`, by this curve's own points."""
        if n <= 0:
            return 0.0
        if n <= ROWS[0]:
            return self._ms[0]
        right = bisect_left(ROWS, n)
        if right >= len(ROWS):
            return self._ms[-1] * n / ROWS[-1]
        left = right - 1
        share = (n - ROWS[left]) / (ROWS[right] - ROWS[left])
        return self._ms[left] + share * (self._ms[right] - self._ms[left])

    def learn(self, n: int, ms: float, *, bounds_fewer: bool = False) -> None:
        """Learn that a step of `n` took `ms`. bounds_fewer: it is known so well that fewer cannot
        take much longer. A cost that was learnt beside a load falls then with the first quick step,
        of whatever size.
        """
        if n <= 0 or ms <= 0:
            return
        expected = max(self.at(n), LEAST_MS)
        right = min(bisect_left(ROWS, n), len(ROWS) - 1)
        left = right if ROWS[right] <= n or right == 0 else right - 1
        span = ROWS[right] - ROWS[left]
        was_known = self.is_known
        is_news = False
        for index in (left,) if left == right else (left, right):
            weight = 1.0 if span == 0 else 1 - abs(n - ROWS[index]) / span
            if self._seen[index]:
                rate = LEARNING_RATE_DOWN if ms < expected else LEARNING_RATE_UP
                if ms * OUTLIER < expected:
                    rate = 1.0  # nothing makes a step so quick, but much makes one slow
                bounded = min(ms, OUTLIER * expected)
                moved = self._ms[index] + rate * weight * (bounded - expected)
                # Between a cheap point and a dear one the expected cost is above that of the cheap
                # point, and subtracting the whole difference could take the cheap point below
                # zero. So a point falls by its own share at most.
                self._ms[index] = max(moved, (1 - rate * weight) * self._ms[index])
            else:
                # The very first observation is believed, whatever it is. A later one is believed
                # if it is quicker than its neighbours foretell; if it is slower, only up to a
                # bound. A size that is taken to be slow is not tried again soon, so a mistake would
                # stay.
                bounded = min(ms, OUTLIER * expected) if was_known else ms
                self._ms[index] = max(self.at(ROWS[index]), LEAST_MS) * bounded / expected
                is_news = True
            self._seen[index] += 1
        if bounds_fewer:
            for index in range(right):
                if ROWS[index] <= n and self._ms[index] > MISTAKE * ms:
                    self._ms[index] = ms
        self._reach = max(self._reach, ROWS[right])
        # The whole curve follows a new point at once. It follows a moved point only now and then,
        # because this runs between two steps.
        self._since_straight += 1
        if is_news or self._since_straight >= STRAIGHTEN_EVERY:
            self._straighten()

    def _straighten(self) -> None:
        """Fill in the points never seen, and make no point cheaper than a smaller one."""
        self._since_straight = 0
        self._bound_by_parts()
        seen = [index for index, times in enumerate(self._seen) if times]
        for index, n in enumerate(ROWS):
            if self._seen[index]:
                continue
            at = bisect_left(seen, index)
            if at == len(seen):
                # Above the largest known point the curve goes on at the known rate.
                self._ms[index] = self._ms[seen[-1]] / ROWS[seen[-1]] * n
            elif at == 0:
                # Below the smallest known point, half of its cost is taken to be fixed.
                share = 0.5 + 0.5 * n / ROWS[seen[0]]
                if whole_ms := self._like_ms(ROWS[seen[0]]):
                    share = self._like_ms(n) / whole_ms
                self._ms[index] = self._ms[seen[0]] * share
            else:
                left, right = seen[at - 1], seen[at]
                share = (n - ROWS[left]) / (ROWS[right] - ROWS[left])
                self._ms[index] = self._ms[left] + share * (self._ms[right] - self._ms[left])
        for index in range(1, len(ROWS)):
            self._ms[index] = max(self._ms[index], self._ms[index - 1])

    def _bound_by_parts(self) -> bool:
        """Mend points that seem to cost far more than their parts; whether there were some. A curve
        that follows another one leaves out what is paid once, so it says nothing about parts."""
        if self._like is not None:
            return False
        least_each, was_wrong = math.inf, False
        for index, n in enumerate(ROWS):
            if not self._seen[index]:
                continue
            bound_ms = PARTS * n * least_each
            if self._ms[index] > bound_ms:
                self._ms[index], was_wrong = bound_ms, True
            least_each = min(least_each, self._ms[index] / n)
        return was_wrong

    def next_untried(self) -> int:
        """The smallest point of `ROWS` above all that were ever seen, by this curve or by the one
        that it follows; more than the last point when that one was seen."""
        reach = self._reach if self._like is None else max(self._reach, self._like._reach)
        at = bisect_right(ROWS, reach)
        return ROWS[at] if at < len(ROWS) else ROWS[-1] + 1

    def snapshot(self) -> list[tuple[float, int]]:
        """(milliseconds, times seen) of every point of `ROWS`."""
        return list(zip(self._ms, self._seen, strict=True))

    def restore(self, points: Sequence[tuple[float, int]]) -> None:
        """Take up what `snapshot` gave."""
        self._ms = [ms for ms, _ in points]
        self._seen = [times for _, times in points]
        self._reach = max(
            [n for n, times in zip(ROWS, self._seen, strict=True) if times], default=0
        )
        if self._bound_by_parts():
            self._straighten()
