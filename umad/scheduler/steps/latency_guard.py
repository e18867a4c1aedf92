"""Limits how many milliseconds of other work a step of interactive streams may carry.

*Solo* is the time that the step's readers would wait with its interactive work alone. The guard
holds the time between tokens to p95 <= cap x solo and p99 <= 2 x solo. So a step carries other work
of at most (cap - 1) x solo. Where not even one token of the other work fits into that, one step in
`CHUNK_EVERY` carries up to one solo. The time by which a step exceeds its limit is a debt, and the
next steps pay it before they carry other work again.

The guard learns how far it may trust the cost model: `trust` scales what a step carries. It falls
24 times faster with a step over the cap than it rises with a step within the cap. So it settles
where one carrying step in 25 is over (stochastic approximation of a quantile, Robbins and Monro
1951). Where even one token makes a step too long, fewer steps carry any (`overruns`).

Only steps without other work show what solo is. So after `CHUNK_EVERY` carrying steps in a row one
step carries nothing, and sooner where the last such step was much quicker than solo: solo may have
been learnt beside a load or another program, and steps of 1.2 times that would go on after it.

Background work always gets its floor: while it has had less than that share of the device's time, a
step carries some of it whatever the guard says, but never more than one solo. Only a step that is
to be alone carries none even then.

Pure; owner: the step thread.
"""

from collections.abc import Iterable

from umad.scheduler.steps.overruns import Overruns

# p95 leaves one step in twenty free to be longer; one in 25 keeps a margin for the machine's noise.
CHUNK_EVERY = 25
# One chunk in so many is the smallest piece only. The cost of that piece may have been
# overestimated, and as long as it seems too dear for ordinary steps, no other step would measure
# it again.
PIECE_EVERY = 4
# Background work's share of the time is measured over about the last so many milliseconds.
SHARE_MEMORY_MS = 2_000.0
# A step within the cap gains so much trust. A step above the cap loses CHUNK_EVERY - 1 times that.
TRUST_GAIN = 0.002
TRUST_LOSS = (CHUNK_EVERY - 1) * TRUST_GAIN
# On a machine that other programs disturb, steps are over the cap whatever they carry. Background
# work goes on there with this trust.
LEAST_TRUST = 0.25
# An engine begins with this trust: what it knows of costs may be of another day.
FIRST_TRUST = 0.5
# A lone step that takes less than this share of solo is a surprise. The next lone step then comes
# after so many carrying steps.
SURPRISE, SOON = 0.84, 1
# A single freak step must not silence the background for longer than this many solo steps.
MAX_DEBT_SOLOS = 20.0


class LatencyGuard:
    """Guards the streams of one engine. All times are milliseconds, from one step's tokens to the
    next one's."""

    def __init__(self, *, cap: float, floor: float) -> None:
        self._cap = cap
        self._floor = floor
        self._debt_ms = 0.0
        self._steps_since_chunk = CHUNK_EVERY
        self._chunks = 1
        self._background_share = 0.0
        self._trust = FIRST_TRUST
        self._carried_in_a_row = 0
        self._lone_after = CHUNK_EVERY
        self._overruns = Overruns()

    @property
    def trust(self) -> float:
        """The share of the cap's slack that steps may use now, `LEAST_TRUST` to 1."""
        return self._trust

    @property
    def background_share(self) -> float:
        """The share of the recent steps' time that went to background work, 0 to 1."""
        return self._background_share

    def within_ms(self, solo_ms: float, caps: Iterable[float | None]) -> float:
        """How long a step may take whose interactive work alone takes `solo_ms`.

        caps: the latency caps of its rows, None for the engine's own. The strictest holds for the
        whole step, since all its rows wait for it.
        """
        strictest = min([self._cap if cap is None else cap for cap in caps], default=self._cap)
        return strictest * solo_ms

    def allowance_ms(self, solo_ms: float, within_ms: float, least_ms: float) -> float:
        """Milliseconds of other work that a step may carry beside `solo_ms` of interactive rows.

        within_ms: how long the whole step may take.
        least_ms: the cost of the smallest useful piece of the other work. The result is 0 when not
        even that piece may run; otherwise it is at least `least_ms`.
        """
        if self._carried_in_a_row >= self._lone_after:
            # Before the floor, which solo moves, too: where solo is too long, carried work seems to
            # take no time.
            return 0.0
        regular_ms = within_ms - solo_ms
        if self._background_share < self._floor:
            # Two pieces bring the share about sooner, unless they and not one are over the cap.
            most_ms = regular_ms if least_ms <= regular_ms else solo_ms
            return max(least_ms, min(most_ms, 2 * least_ms))
        if self._debt_ms > 0:
            return 0.0
        if least_ms <= regular_ms:
            if not self._overruns.allows:
                return 0.0
            return max(least_ms, self._trust * regular_ms)
        if least_ms <= solo_ms and self._steps_since_chunk >= CHUNK_EVERY:
            return least_ms if self._chunks % PIECE_EVERY == 0 else solo_ms
        return 0.0

    def settle(self, *, solo_ms: float, within_ms: float, step_ms: float, carried: bool) -> None:
        """Book a step that took `step_ms`, as its readers feel it.

        solo_ms: 0 where the step had no interactive work.
        carried: whether the step had background work.
        """
        regular_ms = within_ms - solo_ms
        extra_ms = max(0.0, step_ms - solo_ms)
        self._remember_share(extra_ms if carried else 0.0, step_ms)
        if not solo_ms:
            return
        self._overruns.settle(carried=carried, is_over=extra_ms > regular_ms)
        self._steps_since_chunk += 1
        self._carried_in_a_row = self._carried_in_a_row + 1 if carried else 0
        if not carried:
            self._lone_after = SOON if step_ms < SURPRISE * solo_ms else CHUNK_EVERY
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
