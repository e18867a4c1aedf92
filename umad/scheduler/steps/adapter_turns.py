"""Chooses the set of adapters of each step: sets take turns, because a context has one at a time.

All rows of a step are computed under one set of adapters, and "no adapters" is a set like any
other. A change of set costs milliseconds (llama.cpp reserves its graphs anew), so a set whose turn
it is stays for a while: long enough that changes take a tenth of the time at most, and never longer
than `MOST_STAY_MS`, because the other sets' streams stand still meanwhile.

The cost of a change is what a turn's first step took above its second one, which has the same rows
and changes nothing. The cost model cannot say what the first one's rows took: it learns from no
step with a change, so where every step has one, its mistakes stay. Therefore a turn that would be
over after one step gets a second one where the last `LEARN_TURNS` turns taught nothing.

The turns:
1. Interactive work goes first. While some set has interactive work, sets with background work alone
   wait, but none longer than `MOST_WAIT_NS`: then it gets one short step.
2. Among those that may go, the set whose last turn is longest ago is next.
3. A set without work gives its turn away at once, and so does one with background work alone when
   interactive work of another set comes.

So a stream waits for at most one stay and one change for each other set with interactive work.

Not: adapters themselves, which only have keys here. Without any, nothing here runs (`is_on`).
Pure; owner: the step thread.
"""

from collections.abc import Iterable

from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.candidates import Candidates, Hold, Reason
from umad.step import StepPlan, StepResult
from umad.units import NS_PER_MS

# A change takes 1.1 ms on nano and 11 to 19 ms on a model with 32 layers (two cores of a Xeon).
FIRST_SWITCH_MS = 10.0
LEAST_SWITCH_MS = 0.1
# One measurement in a crowd of other programs must not make stays long for good.
MOST_SWITCH_MS = 250.0
LEARNING_RATE = 0.2
# So many turns in a row may end without a second step. A second one costs the other sets' streams a
# step's time. A wrong cost of changes lasts for so many steps.
LEARN_TURNS = 128
# Changes take at most one part in so many of the time while several sets take turns.
STAY_SWITCHES = 10.0
# Readers feel a pause of a fifth of a second, and do not lose the line for it.
MOST_STAY_MS = 200.0
# Background work of a set waits at most so long for one step, where interactive work of others
# never ends.
MOST_WAIT_NS = 2_000_000_000
# The length of that step: readers of the other sets' streams wait for it.
MOST_OVERDUE_MS = 100.0


class AdapterTurns:
    """The turns of one engine's sets."""

    def __init__(self) -> None:
        # Live requests that have adapters.
        self._live: set[int] = set()
        # The set whose turn it is, and since when.
        self._now = ""
        self._since_ns = 0
        # The set of the last step that had rows: that of the context.
        self.applied = ""
        # When each set with work was last seen to run, or first seen to wait.
        self._ran_ns: dict[str, int] = {}
        # How long a step of background work, or of prompts alone, may take, because interactive
        # work of other sets waits for it. None for no such bound.
        self.most_ms: float | None = None
        self.switch_ms = FIRST_SWITCH_MS
        self._has_learnt = False
        # The rows and the milliseconds of the last step, where it changed the set and had no slice
        # of a prompt.
        self._change: tuple[int, float] | None = None
        # How many changes there were since the last one that taught its cost, or whose turn was
        # given a second step for that.
        self._n_untaught = 0

    @property
    def learnt_ms(self) -> float:
        """How long a change takes; 0 while none was measured."""
        return self.switch_ms if self._has_learnt else 0.0

    @property
    def is_on(self) -> bool:
        """Whether a live request has adapters."""
        return bool(self._live)

    @property
    def is_of_use(self) -> bool:
        """Whether the next step may be of another set than the last one."""
        return bool(self._live or self.applied)

    def entered(self, entry: ScheduledRequest) -> None:
        """A request has come."""
        if entry.adapters:
            self._live.add(entry.rid)

    def left(self, entry: ScheduledRequest) -> None:
        """A request has ended."""
        self._live.discard(entry.rid)
        if not self._live:
            self._ran_ns.clear()
            self._now = ""
            self._change = None

    def stay_ms(self) -> float:
        """How long a set keeps its turn while others wait."""
        return min(MOST_STAY_MS, STAY_SWITCHES * self.switch_ms)

    def choose(self, candidates: Candidates, now_ns: int) -> tuple[Candidates, Hold | None]:
        """Return the candidates of the set whose turn it is, and a hold on all others."""
        interactive = _sets((*candidates.decode, *candidates.prefill, *candidates.media))
        background = _sets(
            (
                *candidates.background_decode,
                *candidates.background_prefill,
                *candidates.background_media,
            )
        )
        self.most_ms = None
        present = interactive | background
        if not present:
            return candidates, None
        self._note(present, now_ns)
        turn = self._next(interactive, background, now_ns)
        if turn != self._now:
            self._now, self._since_ns = turn, now_ns
        self._ran_ns[turn] = now_ns
        if interactive - {turn}:
            self.most_ms = MOST_STAY_MS if turn in interactive else MOST_OVERDUE_MS
        if len(present) == 1:
            return candidates, None
        return _of_set(candidates, turn)

    def planned(self, plan: StepPlan) -> tuple[str, float]:
        """The set of the plan's rows, and what the change to it costs."""
        if not (plan.decode or plan.prefill or plan.rows):
            return "", 0.0
        return self._now, 0.0 if self._now == self.applied else self.switch_ms

    def settle(self, plan: StepPlan, result: StepResult) -> None:
        """Book a step that has run: its set is the context's now, and a change has its cost."""
        if not (plan.decode or plan.prefill or plan.rows):
            return
        before, self._change = self._change, None
        changed = plan.adapters != self.applied
        self.applied = plan.adapters
        self._n_untaught += changed
        # A prompt's slice is long, so what it takes is not known to some milliseconds.
        if result.outcome != "done" or plan.prefill or plan.rows:
            return
        if changed:
            self._change = (plan.n_rows, result.device_ms)
        elif before is not None and before[0] == plan.n_rows:
            self._learn(before[1] - result.device_ms)

    def _is_to_teach(self) -> bool:
        """Whether a turn that would be over gets a second step, to learn what its first one's
        change took."""
        if self._change is None or self._n_untaught < LEARN_TURNS:
            return False
        self._n_untaught = 0
        return True

    def _learn(self, took_ms: float) -> None:
        took_ms = min(MOST_SWITCH_MS, max(LEAST_SWITCH_MS, took_ms))
        self.switch_ms += LEARNING_RATE * (took_ms - self.switch_ms)
        self._has_learnt = True
        self._n_untaught = 0

    def _note(self, present: set[str], now_ns: int) -> None:
        """Keep times of the sets that have work, and of no others."""
        self._ran_ns = {name: self._ran_ns.get(name, now_ns) for name in present}

    def _next(self, interactive: set[str], background: set[str], now_ns: int) -> str:
        """The set whose turn it is in this step."""
        may_go = interactive or background
        overdue = {
            name for name in background - may_go if now_ns - self._ran_ns[name] >= MOST_WAIT_NS
        }
        if overdue:
            return min(overdue, key=lambda name: (self._ran_ns[name], name))
        is_over = now_ns - self._since_ns >= self.stay_ms() * NS_PER_MS
        if self._now in may_go and (len(may_go) == 1 or not is_over or self._is_to_teach()):
            return self._now
        others = may_go - {self._now}
        return min(others, key=lambda name: (self._ran_ns[name], name))


def _sets(entries: Iterable[ScheduledRequest]) -> set[str]:
    return {entry.adapters_now for entry in entries}


def _of_set(candidates: Candidates, turn: str) -> tuple[Candidates, Hold]:
    """The candidates of one set, and a hold on all others."""
    held: list[ScheduledRequest] = []
    groups: list[tuple[ScheduledRequest, ...]] = []
    for group in (
        candidates.decode,
        candidates.prefill,
        candidates.background_decode,
        candidates.background_prefill,
        candidates.media,
        candidates.background_media,
    ):
        own: list[ScheduledRequest] = []
        for entry in group:
            (own if entry.adapters_now == turn else held).append(entry)
        groups.append(tuple(own))
    decode, prefill, background_decode, background_prefill, media, background_media = groups
    left = Candidates(
        decode=decode,
        prefill=prefill,
        background_decode=background_decode,
        background_prefill=background_prefill,
        media=media,
        background_media=background_media,
        embeds=candidates.embeds,
    )
    return left, Hold(reason=Reason.ADAPTERS, others=frozenset(held))
