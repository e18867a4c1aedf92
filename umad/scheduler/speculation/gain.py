"""Measures what verifying guesses has brought on this machine, and stops it where it does not pay.

The choice of guesses trusts the cost model. Rows that come of a quick minute, a busy host or a
sampler that is slow in several rows would make it wrong again and again. So the steps with guesses
are held against what they would have taken without: their tokens at the pace of plain steps, beside
the time from the last step's tokens to theirs. Once more than `MOST_LOST` plain steps are lost in a
row of such steps (a CUSUM test, Page 1954), no step has guesses for `FIRST_REST` steps. The next
time it is twice as many, and so on. So where it never pays, it costs four steps in five hundred at
first, and one in four thousand later.

What was gained counts against losses, up to `MOST_SAVED` plain steps. A step of 24 rows whose first
guess fails loses six plain ones at once. Without savings an edit that is three times as fast would
rest at its first changed word.

Pure; owner: the step thread.
"""

# The gain is that of about the last so many steps with guesses.
MEMORY_STEPS = 48
# Some guesses fail in a row where most hold.
MOST_LOST = 4.0
# More is not saved, so a machine that becomes slower is found out soon.
MOST_SAVED = 16.0
FIRST_REST, LONGEST_REST = 512, 16_384
# A step that took so many times what was expected was interrupted by something outside.
OUTLIER = 3.0
# One step in so many is plain, so the price of plain steps stays known.
PLAIN_EVERY = 32


class Pace:
    """How many times as fast as plain ones the latest steps were."""

    __slots__ = ("_took_ms", "_worth_ms")

    def __init__(self) -> None:
        self._worth_ms = self._took_ms = 0.0

    @property
    def ratio(self) -> float:
        """0 for not known."""
        return self._worth_ms / self._took_ms if self._took_ms else 0.0

    def learn(self, worth_ms: float, took_ms: float) -> None:
        """A step took so long, and its tokens would have taken `worth_ms` in plain ones."""
        kept = 1 - 1 / MEMORY_STEPS
        self._worth_ms = kept * self._worth_ms + worth_ms
        self._took_ms = kept * self._took_ms + took_ms

    def clear(self) -> None:
        """Forget it."""
        self._worth_ms = self._took_ms = 0.0


class MeasuredGain:
    """The gain of one source of guesses of one engine. `whole` learns that of all sources."""

    __slots__ = ("_lost_ms", "_pace", "_rest", "_rests", "_since", "_steps", "_whole")

    def __init__(self, whole: Pace | None = None) -> None:
        self._whole = Pace() if whole is None else whole
        self._pace = Pace()
        self._lost_ms = 0.0
        # Steps with guesses since the last rest.
        self._since = 0
        self._rest = FIRST_REST
        # How many more steps are plain.
        self._rests = 0
        self._steps = 0

    @property
    def ratio(self) -> float:
        """The pace of the last steps with guesses, in multiples of plain ones'; 0 for none."""
        return self._pace.ratio

    @property
    def is_resting(self) -> bool:
        """True while guesses are not tried, because they have not paid."""
        return self._rests > 0

    def may_try(self) -> bool:
        """Count a step that could have guesses. Return whether it may."""
        self._steps += 1
        if self._rests:
            self._rests -= 1
            return False
        return self._steps % PLAIN_EVERY != 0

    def learn(
        self, *, n_streams: int, n_tokens: int, plain_ms: float, planned_ms: float, felt_ms: float
    ) -> None:
        """Learn what a step with guesses of `n_streams` took.

        n_tokens: those drawn. plain_ms: what the step would have taken without guesses. planned_ms:
        what it was expected to take. felt_ms: what it took.
        """
        worth_ms = plain_ms * n_tokens / n_streams
        self._book(worth_ms, min(felt_ms, OUTLIER * planned_ms), plain_ms)

    def lost(self, took_ms: float, plain_ms: float) -> None:
        """A step with guesses was cut after so long, and brought nothing. plain_ms: as above."""
        self._book(0.0, took_ms, plain_ms)

    def _book(self, worth_ms: float, took_ms: float, plain_ms: float) -> None:
        self._pace.learn(worth_ms, took_ms)
        self._whole.learn(worth_ms, took_ms)
        self._lost_ms = max(-MOST_SAVED * plain_ms, self._lost_ms + took_ms - worth_ms)
        self._since += 1
        if self._lost_ms > MOST_LOST * plain_ms:
            self._rests, self._since = self._rest, 0
            self._rest = min(LONGEST_REST, 2 * self._rest)
            self._pace.clear()
            # What other sources bring is learnt again with their next steps.
            self._whole.clear()
            self._lost_ms = 0.0
        elif self._since > MEMORY_STEPS and self.ratio > 1.0:
            self._rest = FIRST_REST
