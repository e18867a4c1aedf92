"""The latency guard: how many milliseconds of other work a step of interactive streams may carry.

*Solo* is what the step's readers would wait with its interactive work alone. Inter-token time is
held to p95 <= cap x solo and p99 <= 2 x solo, so a step carries at most (cap - 1) x solo; where not
even one token of the other work fits into that, one step in `CHUNK_EVERY` carries up to one solo.
What a step ran over is a debt that the next ones pay before they carry anything.
How far the cost model may be trusted is learnt: `trust` scales what a step carries, and falls 24
times faster with a step over the cap than it rises with one within, so that it settles where one
carrying step in 25 is over (stochastic approximation of a quantile, Robbins and Monro 1951).
Background work always gets its floor: below that share of the device's time a step carries some
whatever the guard says, but never more than one solo.
Pure; owner: the step thread.
"""

from collections.abc import Iterable

# p95 leaves one step in twenty free to be longer; one in 25 keeps a margin for the machine's noise.
CHUNK_EVERY = 25
# One chunk in so many is the smallest piece only. Its cost may have been overestimated, and while
# it is thought too dear for ordinary steps, nothing else would ever measure it again.
PIECE_EVERY = 4
# Background work's share of the time is that of about the last so many milliseconds.
SHARE_MEMORY_MS = 2_000.0
# Trust gained by a step within the cap; lost so many times over by one above it.
TRUST_GAIN = 0.002
TRUST_LOSS = (CHUNK_EVERY - 1) * TRUST_GAIN
# A machine that others disturb is over the cap whatever is carried; the background goes on there.
LEAST_TRUST = 0.25
# A single freak step must not silence the background for longer than this many solo steps.
MAX_DEBT_SOLOS = 20.0


class LatencyGuard:
    """Books of one engine. All values in milliseconds, from one step's tokens to the next one's."""

    def __init__(self, *, cap: float, floor: float) -> None:
        self._cap = cap
        self._floor = floor
        self._debt_ms = 0.0
        self._steps_since_chunk = CHUNK_EVERY
        self._chunks = 1
        self._background_share = 0.0
        self._trust = 1.0

    @property
    def trust(self) -> float:
        """Share of the cap's slack that steps are given now, `LEAST_TRUST` to 1."""
        return self._trust

    @property
    def background_share(self) -> float:
        """Share of the recent steps' time that went to background work, 0 to 1."""
        return self._background_share

    def within_ms(self, solo_ms: float, caps: Iterable[float | None]) -> float:
        """How long a step may take that costs `solo_ms` alone. caps: of its rows, None for the
        engine's own; the strictest holds for the step, since all its rows wait for it."""
        strictest = min([self._cap if cap is None else cap for cap in caps], default=self._cap)
        return strictest * solo_ms

    def allowance_ms(self, solo_ms: float, within_ms: float, least_ms: float) -> float:
        """What a step may carry beside `solo_ms` of interactive rows and is to end `within_ms`.

        least_ms: the cost of the smallest useful piece of the other work. 0 when not even that
        may run; otherwise at least `least_ms`.
        """
        if self._background_share < self._floor:
            return max(least_ms, min(solo_ms, 2 * least_ms))
        if self._debt_ms > 0:
            return 0.0
        regular_ms = within_ms - solo_ms
        if least_ms <= regular_ms:
            return max(least_ms, self._trust * regular_ms)
        if least_ms <= solo_ms and self._steps_since_chunk >= CHUNK_EVERY:
            return least_ms if self._chunks % PIECE_EVERY == 0 else solo_ms
        return 0.0

    def settle(self, *, solo_ms: float, within_ms: float, step_ms: float, carried: bool) -> None:
        """A step ran that took `step_ms`, as its readers feel it. solo_ms: 0 where it had no
        interactive work; carried: whether it had background work."""
        regular_ms = within_ms - solo_ms
        extra_ms = max(0.0, step_ms - solo_ms)
        self._remember_share(extra_ms if carried else 0.0, step_ms)
        if not solo_ms:
            return
        self._steps_since_chunk += 1
        if carried:
            gain = TRUST_GAIN if extra_ms <= regular_ms else -TRUST_LOSS
            self._trust = min(1.0, max(LEAST_TRUST, self._trust + gain))
        if carried and extra_ms > regular_ms:
            self._steps_since_chunk = 0
            self._chunks += 1
            self._debt_ms = min(self._debt_ms + extra_ms - regular_ms, MAX_DEBT_SOLOS * solo_ms)
        else:
            self._debt_ms = max(0.0, self._debt_ms - regular_ms)

    def _remember_share(self, background_ms: float, step_ms: float) -> None:
        if step_ms <= 0:
            return
        weight = min(1.0, step_ms / SHARE_MEMORY_MS)
        self._background_share += weight * (background_ms / step_ms - self._background_share)
