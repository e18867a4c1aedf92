"""What a step costs in milliseconds, from its shape, learnt while serving.

A step's cost is that of its decode rows, read off a curve over the number of rows, plus that of
its prefill tokens, read off a second curve (a third where they run beside decode rows, and the
fixed cost is already paid). On a CPU the curves rise almost linearly from the first row; on a GPU
they are flat at first: nothing is assumed but that they do not fall.
Pure; owner: the step thread.
"""

from bisect import bisect_left
from collections.abc import Sequence

# Shapes the curves are kept at; between them a straight line, beyond the last its slope.
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
# A step quicker than expected is believed, a slower one may only have been interrupted: what other
# programs take from this machine must not feed back into ever smaller slices (oMLX #2633).
LEARNING_RATE_DOWN = 0.3
LEARNING_RATE_UP = 0.05
# A step this many times dearer than expected was interrupted by something outside; once a shape
# is known it may teach at most this factor.
OUTLIER = 2.0
STRAIGHTEN_EVERY = 64


class CostCurve:
    """Milliseconds over a count, as a rising broken line through learnt points."""

    def __init__(self, initial_ms_each: float) -> None:
        self._ms = [initial_ms_each * n for n in ROWS]
        self._seen = [0] * len(ROWS)
        self._since_straight = 0

    def at(self, n: int) -> float:
        """Expected milliseconds for `n`; 0 for none."""
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

    def most(self, budget_ms: float, n_max: int) -> int:
        """The largest count up to `n_max` whose cost is within `budget_ms`."""
        low, high = 0, n_max
        while low < high:
            middle = (low + high + 1) // 2
            if self.at(middle) <= budget_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def learn(self, n: int, ms: float) -> None:
        """`n` took `ms`."""
        if n <= 0 or ms <= 0:
            return
        expected = self.at(n)
        right = min(bisect_left(ROWS, n), len(ROWS) - 1)
        left = right if ROWS[right] <= n or right == 0 else right - 1
        span = ROWS[right] - ROWS[left]
        is_news = False
        for index in (left,) if left == right else (left, right):
            weight = 1.0 if span == 0 else 1 - abs(n - ROWS[index]) / span
            if self._seen[index]:
                rate = LEARNING_RATE_DOWN if ms < expected else LEARNING_RATE_UP
                bounded = min(ms, OUTLIER * expected)
                self._ms[index] += rate * weight * (bounded - expected)
            else:
                self._ms[index] *= ms / expected
                is_news = True
            self._seen[index] += 1
        # The whole curve follows a new point at once, a moved one only now and then: this runs
        # between two steps.
        self._since_straight += 1
        if is_news or self._since_straight >= STRAIGHTEN_EVERY:
            self._straighten()

    def _straighten(self) -> None:
        """Fill in the shapes never seen; no shape is cheaper than a smaller one."""
        self._since_straight = 0
        seen = [index for index, times in enumerate(self._seen) if times]
        for index, n in enumerate(ROWS):
            if self._seen[index]:
                continue
            at = bisect_left(seen, index)
            if at == len(seen):
                # Above what is known, the known rate.
                self._ms[index] = self._ms[seen[-1]] / ROWS[seen[-1]] * n
            elif at == 0:
                # Below, half of the known step is taken to be its fixed cost.
                self._ms[index] = self._ms[seen[0]] * (0.5 + 0.5 * n / ROWS[seen[0]])
            else:
                left, right = seen[at - 1], seen[at]
                share = (n - ROWS[left]) / (ROWS[right] - ROWS[left])
                self._ms[index] = self._ms[left] + share * (self._ms[right] - self._ms[left])
        for index in range(1, len(ROWS)):
            self._ms[index] = max(self._ms[index], self._ms[index - 1])

    def next_untried(self) -> int:
        """The smallest count above all that were ever seen; beyond any when all were."""
        top = max((index for index, times in enumerate(self._seen) if times), default=-1)
        return ROWS[top + 1] if top + 1 < len(ROWS) else ROWS[-1] + 1

    def snapshot(self) -> tuple[tuple[int, float, int], ...]:
        """(count, milliseconds, times seen) of every point."""
        return tuple(zip(ROWS, self._ms, self._seen, strict=True))


class CostModel:
    """The three curves of one engine. The first guesses hold until the first observation."""

    def __init__(self, *, decode_ms_each: float = 10.0, prefill_ms_per_token: float = 5.0) -> None:
        self.decode = CostCurve(decode_ms_each)
        self.prefill = CostCurve(prefill_ms_per_token)
        self.mixed = CostCurve(prefill_ms_per_token)

    def step_ms(self, n_decode: int, n_prefill: int) -> float:
        """Expected milliseconds of one decode call."""
        if not n_decode:
            return self.prefill.at(n_prefill)
        return self.decode.at(n_decode) + self.mixed.at(n_prefill)

    def prefill_within(self, budget_ms: float, *, beside: int, n_max: int) -> int:
        """Most prefill tokens whose extra cost beside `beside` decode rows is within budget."""
        curve = self.mixed if beside else self.prefill
        return curve.most(budget_ms, n_max)

    def efficient_slice(self, *, within_ms: float, n_max: int) -> int:
        """The smallest prefill slice that runs near the best known speed, within a bound.

        A cut throws away the slice under way, so it should be no larger than speed asks for.
        """
        n_max = max(1, self.prefill.most(within_ms, n_max))
        untried = self.prefill.next_untried()
        if untried <= n_max:
            # Beyond what is known the known rate is assumed, so a larger slice never looks better
            # before it has been tried once.
            return untried
        best = self.prefill.at(n_max) / n_max
        for n in ROWS:
            if n >= n_max:
                break
            # 3 % slower is the price of losing half as much to a cut.
            if self.prefill.at(n) / n <= 1.03 * best:
                return n
        return n_max

    def learn(self, n_decode: int, n_prefill: int, ms: float) -> None:
        """A step of this shape took `ms`."""
        if not n_prefill:
            self.decode.learn(n_decode, ms)
        elif not n_decode:
            self.prefill.learn(n_prefill, ms)
        else:
            # Only what is above the decode rows' own cost is the prefill's.
            self.mixed.learn(n_prefill, max(ms - self.decode.at(n_decode), 0.05))

    def learn_all(self, observed: Sequence[tuple[int, int, float]]) -> None:
        """Several observations: (decode rows, prefill tokens, milliseconds)."""
        for n_decode, n_prefill, ms in observed:
            self.learn(n_decode, n_prefill, ms)
