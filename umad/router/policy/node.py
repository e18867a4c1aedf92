"""Follows one member of the fleet: what it said, how much room it has now, and its weight. Pure.

    what it said ─▶ headroom ─▶ less by age, less by doubt ─▶ room ─▶ weight

The weight is what HAProxy gets. It falls at once and rises slowly, and small changes are kept back:
a weight that follows every scorecard would swing, because all newcomers go where it is high, and
the scorecard shows them half a minute later.
Owner: the fleet.
"""

import math
from dataclasses import dataclass, field

from umad.router.policy.headroom import Headroom, headroom_of
from umad.router.policy.health import NEXT, Happening, Health
from umad.router.policy.reading import Reading
from umad.router.policy.settings import MOST_WEIGHT, PolicySettings
from umad.units import NS_PER_S

# A weight rises by at most so much with one scorecard, and keeps back changes of less than an
# eighth.
_MOST_RISE = 64
_KEPT_BACK = 1 / 8
# A node whose weight was 0 gets one again when it would be at least this: else a node at its cap
# would be opened and closed with each scorecard.
_REOPENS_AT = 16
_SLOW_START_FROM = 1 / 8
# Of the requests that the router saw, so many may be late before a node that claims to have room
# is doubted, and as many as at the other nodes. Doubt halves what it says, down to a sixteenth, and
# takes as many scorecards to pass.
_DOUBTED_ABOVE = 0.10
# A few late answers are chance. So doubt needs so many answers, and more late ones than so many
# standard deviations explain. What was seen counts a twentieth less with each further look.
_LEAST_ANSWERS = 8
_DEVIATIONS = 3.0
_STILL_COUNTS = 0.95
_CLAIMS_ROOM = 0.25
# A node is slow whose answers begin so many times later than those of others would by its own
# claims, and so much later, in so many looks one after another. It is so until it is less than so
# many times later: prompts and answers differ from node to node, and that is no lie.
_SLOW_TIMES, _SLOW_BY_MS, _SLOW_LOOKS = 4.0, 1000.0, 2
_NOT_SLOW_TIMES = 2.0
_LEAST_TRUST = 1 / 16
_TRUST_RISE = 1 / 16
# With a scorecard each five seconds, by a tenth in an hour of work.
_LIGHT_RISES = 1.00013
# A newcomer counts as so many open requests more, halved each few seconds: its prompt is read, and
# nobody else there goes on at full speed meanwhile.
_PROMPT_COUNTS = 2.0
# A number of newcomers that is too small to matter.
_NOTHING = 1e-3


@dataclass(slots=True, kw_only=True)
class Node:
    """One member."""

    name: str
    # Its number in HAProxy and in the table of sessions. Never given twice.
    number: int
    # Its index in the draws.
    slot: int
    # How much it can do, where the largest of the fleet is 1.
    size: float = 1.0
    settings: PolicySettings = field(default_factory=PolicySettings)
    health: Health = Health.JOINING
    draining: bool = False
    # What is published: its weight, and 1 where it takes newcomers.
    weight: int = 0
    present: int = 0
    reading: Reading = field(default_factory=Reading)
    headroom: Headroom = field(default_factory=lambda: headroom_of(Reading()))
    reported_ns: int = 0
    up_since_ns: int = 0
    # Since when it has been without headroom; None while it has some.
    full_since_ns: int | None = None
    failures: int = 0
    failed_ns: int = 0
    held_until_ns: int = 0
    trust: float = 1.0
    # Answers that the router saw, and those of them that were late; old ones count less.
    answers: float = 0.0
    late: float = 0.0
    # How long its answers took to begin at the router's last look, when that was, and how long
    # those of others would take by what this node claims; None where nobody can tell.
    answer_ms: float | None = None
    answered_ns: int = 0
    usual_ms: float | None = None
    # Looks in a row at which it was slow.
    slow_looks: int = 0
    # By model: the time of a token that it claimed last.
    claimed_ms: dict[str, float] = field(default_factory=dict)
    # Sessions that may still leave it before its next scorecard.
    moves_left: int = 0
    # Requests that are open there as the router counts them; None where nobody counts.
    counted: int | None = None
    # By model: the time of a token when little runs.
    _light_ms: dict[str, float] = field(default_factory=dict)
    # Requests that did not come by this router, by the last scorecard.
    _of_others: int = 0
    # Sessions that were just placed here, halved each few seconds, and when that was computed; and
    # those that came after the router counted.
    _newcomers: float = 0.0
    _newcomers_ns: int = 0
    _uncounted: int = 0

    # -- what happens -------------------------------------------------------------------------

    def reported(self, reading: Reading, now_ns: int) -> bool:
        """A scorecard came. False if it does not count: it is late, or the node is held."""
        if now_ns < self.reported_ns:
            return False
        if self.health is Health.DOWN and now_ns < self.held_until_ns:
            return False
        if self.health is not Health.UP:
            self.up_since_ns = now_ns
        self.health = NEXT.after(self.health, Happening.REPORTED)
        if now_ns - self.failed_ns > self.settings.forgiven_ns:
            self.failures = 0
        said = reading.running + reading.waiting
        self._of_others = max(0, said - (self.counted or 0))
        self._learn_light(reading)
        self.claimed_ms = {
            model: ms for model, ms in self.claimed_ms.items() if model in reading.loaded
        } | dict(reading.token_ms_of)
        self.reading, self.reported_ns = reading, now_ns
        self.headroom = headroom_of(reading, self._light_ms)
        if self.headroom.least > 0:
            self.full_since_ns = None
        elif self.full_since_ns is None:
            self.full_since_ns = now_ns
        self.moves_left = max(1, int(self.running * self.settings.moved_at_once))
        return True

    def failed(self, now_ns: int) -> None:
        """A connection to it failed, or its health check."""
        was_down = self.health is Health.DOWN
        self.health = NEXT.after(self.health, Happening.FAILED)
        self.failed_ns = now_ns
        if was_down:
            # One failure is seen by many requests, and by each check until the node is back.
            self.held_until_ns = max(self.held_until_ns, now_ns + self.settings.first_hold_ns)
            return
        self.failures += 1
        doubled = self.settings.first_hold_ns << min(self.failures - 1, 16)
        self.held_until_ns = now_ns + min(doubled, self.settings.most_hold_ns)
        self._newcomers = 0.0

    def fell_silent(self) -> None:
        """It has said nothing for too long."""
        self.health = NEXT.after(self.health, Happening.FELL_SILENT)

    def left(self) -> None:
        """It is no member any more."""
        self.health = NEXT.after(self.health, Happening.LEFT)

    def witnessed(self, *, late: int, of: int, usual: float) -> None:
        """What the router saw since the last call: requests that were later than they should be.

        A node that says that it has room, and is late more often than the others, is doubted. A
        node that says that it is full is believed.
        usual: the share of answers that are late at the other nodes.
        """
        if of < 1:
            return
        self.late = self.late * _STILL_COUNTS + late
        self.answers = self.answers * _STILL_COUNTS + of
        allowed = max(_DOUBTED_ABOVE, usual)
        expected = allowed * self.answers
        is_chance = (
            self.answers < _LEAST_ANSWERS
            or self.late - expected <= _DEVIATIONS * math.sqrt(expected)
        )
        if not (is_chance or late <= allowed * of):
            self._doubt()
        elif not self.is_slow:
            self.trust = min(1.0, self.trust + _TRUST_RISE)

    def timed(self, took_ms: float, usual_ms: float | None, now_ns: int) -> None:
        """The router looked at how long its answers take to begin.

        A node that says that it has room, and is slow in several looks, is doubted with each.
        usual_ms: what the other nodes would take by this one's claims; None where there are none.
        """
        self.answer_ms, self.usual_ms, self.answered_ns = took_ms, usual_ms, now_ns
        if usual_ms is None:
            self.slow_looks = 0
        elif took_ms > _SLOW_TIMES * usual_ms and took_ms > usual_ms + _SLOW_BY_MS:
            self.slow_looks = min(_SLOW_LOOKS, self.slow_looks + 1)
            if self.is_slow:
                self._doubt()
        elif took_ms < _NOT_SLOW_TIMES * usual_ms or took_ms < usual_ms + _SLOW_BY_MS / 2:
            self.slow_looks = 0

    def forget_times(self, now_ns: int) -> None:
        """What was seen long ago says nothing of today: a node that gets nobody must not be slow
        for ever."""
        if self.answer_ms is not None and now_ns - self.answered_ns > self.settings.forgiven_ns:
            self.answer_ms, self.slow_looks = None, 0
            self.trust = min(1.0, self.trust + _TRUST_RISE)

    def _doubt(self) -> None:
        if self.headroom.least > _CLAIMS_ROOM:
            self.trust = max(_LEAST_TRUST, self.trust / 2)

    def opened(self, count: int) -> None:
        """So many requests are open there, those that were just sent among them."""
        self.counted = count
        self._uncounted = 0

    def sent(self, now_ns: int) -> None:
        """A session was placed here."""
        self._newcomers = self._still_new(now_ns) + 1
        self._newcomers_ns = now_ns
        self._uncounted += 1

    # -- what follows -------------------------------------------------------------------------

    @property
    def is_slow(self) -> bool:
        """Whether its answers begin later than it claims, by what the router sees."""
        return self.slow_looks >= _SLOW_LOOKS

    @property
    def takes_new(self) -> bool:
        """Whether new sessions may come."""
        return self.health.takes_new and not self.draining

    @property
    def running(self) -> int:
        """Requests that run there, as it says or as the router counts, whichever is more."""
        return max(self.reading.running, self.counted or 0)

    def room(self, now_ns: int) -> float:
        """The headroom that it is believed to have by now."""
        old_ns = now_ns - self.reported_ns - self.settings.fresh_ns
        fades = 1.0 if old_ns <= 0 else 0.5 ** (old_ns / self.settings.half_life_ns)
        return self.headroom.least * fades * self.trust

    @property
    def pace(self) -> float:
        """How fast its streams are, of how fast they are when little runs there: above 0, at most
        1; of the model that is slowed most. 1 where nobody reads."""
        return min(
            (self._light_ms[model] / ms for model, ms in self.reading.token_ms_of.items()),
            default=1.0,
        )

    def open_requests(self, now_ns: int) -> float:
        """Requests that run or wait there, newcomers threefold for as long as they are new.

        The router's count is fresher than the scorecard, which knows those of others too: programs
        of the node's own users, and another router.
        """
        new = self._still_new(now_ns)
        if self.counted is None:
            return self.reading.running + self.reading.waiting + (1 + _PROMPT_COUNTS) * new
        return self.counted + self._of_others + self._uncounted + _PROMPT_COUNTS * new

    def wanted_weight(self, now_ns: int) -> int:
        """The weight that its last scorecard makes, by now."""
        if not self.takes_new:
            return 0
        slow = self.settings.slow_start_ns
        up_ns = now_ns - self.up_since_ns
        share = 1.0 if up_ns >= slow else _SLOW_START_FROM + (1 - _SLOW_START_FROM) * up_ns / slow
        return round(MOST_WEIGHT * self.room(now_ns) * self.size * share)

    def settled_weight(self, now_ns: int, *, rises: bool) -> int:
        """The weight to publish: the wanted one, or the old one if the change is kept back.

        rises: whether it may become more, which only a new scorecard allows.
        """
        wanted, old = self.wanted_weight(now_ns), self.weight
        if wanted <= 0:
            return 0
        if wanted > old:
            if not rises or (old == 0 and wanted < _REOPENS_AT * self.size):
                return old
            if old > 0 and wanted - old < max(2, old * _KEPT_BACK):
                return old
            return min(wanted, old + _MOST_RISE)
        return wanted if old - wanted >= max(2, old * _KEPT_BACK) else old

    def _learn_light(self, reading: Reading) -> None:
        """The least time of a token that was seen of each model. It rises slowly, so that a figure
        of another time, or of one lucky moment, does not hold for ever."""
        self._light_ms = {
            model: min(token_ms, self._light_ms.get(model, token_ms) * _LIGHT_RISES)
            for model, token_ms in reading.token_ms_of.items()
        } | {
            model: light_ms
            for model, light_ms in self._light_ms.items()
            if model in reading.loaded and model not in reading.token_ms_of
        }

    def _still_new(self, now_ns: int) -> float:
        age_ns = now_ns - self._newcomers_ns
        if self._newcomers <= _NOTHING or age_ns > 60 * NS_PER_S:
            return 0.0
        return self._newcomers * float(0.5 ** (age_ns / self.settings.new_half_life_ns))
