"""Holds background work back for the ΣBMT budget, or for another model's interactive work.

    plan    terms(candidates) says what background work has to wait, and how the rest may run;
            charge(plan) books the bytes it is expected to move
    apply   settle(plan, result) corrects that by what was really moved
    between heard(neighbours) books what the other engines of the device moved

The floor wins: beside interactive work, background work that has had less than its share runs
whatever the budget says.
Interactive work is never held. Pure; owner: the step thread.
"""

import math

from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.candidates import Candidates, Hold, Reason
from umad.scheduler.steps.composer import FREE, BackgroundTerms
from umad.scheduler.steps.limits import StepLimits
from umad.scheduler.steps.neighbours import STEP_MS, Courtesy, Neighbours
from umad.scheduler.steps.traffic_budget import TrafficBudget, TrafficModel
from umad.step import EmbedSlice, StepPlan, StepResult
from umad.units import MS_PER_S

# Engines that wait for the same budget wake at the same moment, and the one that is a little
# quicker would get it every time. So the engine that had the last turn waits TURN_MS longer, and
# one that has moved more bytes than the others as long as its lead takes at the budget's rate, but
# at most MOST_TURN_MS: on a crowded machine an engine that is woken late would else lose its turn
# again and again. Nothing of the budget is lost by it, since more is saved up (`budget.BURST_MS`).
TURN_MS, MOST_TURN_MS = 10.0, 40.0
# Another engine that has neither made a background step nor waited for one for so long takes no
# turns, and the lead over it fades as quickly.
TAKES_TURNS_NS = 1_000_000_000
# Background rows beside interactive ones, if together they add less than this share of the bytes,
# are let through whatever the budget says: held back, they would read all the weights for
# themselves.
RIDERS_SHARE = 0.05


class FadingSum:
    """A sum whose parts count for less the longer ago they came: by e in `memory_ns`."""

    def __init__(self, memory_ns: int) -> None:
        self._memory_ns = memory_ns
        self._sum = 0.0
        self._at_ns = 0

    def add(self, value: float, now_ns: int) -> None:
        """`value` comes now."""
        self._sum = self.at(now_ns) + value
        self._at_ns = now_ns

    def at(self, now_ns: int) -> float:
        """What is left of it now."""
        return self._sum * math.exp((self._at_ns - now_ns) / self._memory_ns)


class BackgroundThrottle:
    """The books of one engine."""

    def __init__(
        self, *, budget: TrafficBudget | None, traffic: TrafficModel | None, floor: float
    ) -> None:
        """traffic: None where it is not known what a step moves; then only busy neighbours hold
        background work back."""
        self.budget = budget or TrafficBudget()
        self._traffic = traffic
        self._courtesy = Courtesy(share=floor)
        self._charged_bytes = 0

        # Whose background step was the last, when another engine last made or awaited one, and how
        # many bytes of such steps we are ahead of all others.
        self._last_was_ours = False
        self._theirs_ns = -TAKES_TURNS_NS
        self._ahead = FadingSum(TAKES_TURNS_NS)
        self._has_waited = False

    def heard(self, neighbours: Neighbours, now_ns: int) -> None:
        """What the other engines of the device did since the last time."""
        self._courtesy.busy_next_door = neighbours.interactive
        self.budget.raise_to(neighbours.bytes_per_s)
        if neighbours.interactive_bytes:
            self.budget.owe(neighbours.interactive_bytes, background=False)
        if neighbours.waiting or neighbours.background_bytes:
            if not self._takes_turns(now_ns):
                self._ahead = FadingSum(TAKES_TURNS_NS)  # nobody was left behind
            self._theirs_ns = now_ns
        if neighbours.background_bytes:
            self.budget.owe(neighbours.background_bytes, background=True)
            self._ahead.add(-neighbours.background_bytes, now_ns)
            self._last_was_ours = False

    def terms(
        self, candidates: Candidates, limits: StepLimits, now_ns: int, *, floor_is_owed: bool
    ) -> BackgroundTerms:
        """On what terms background work may run beside the others now."""
        if not (candidates.has_background or candidates.embeds):
            return FREE
        if candidates.has_interactive:
            # Composed under the guard, which also sees to the floor; only the budget is new.
            if floor_is_owed or self.budget.wait_ms(now_ns) <= 0:
                return FREE
            riders = self._riders(candidates, limits)
            return BackgroundTerms(
                hold=Hold(reason=Reason.BUDGET, background=True, embeds=True, riders=riders)
            )
        most_ms = None
        if self._courtesy.busy_next_door:
            # Its share is small enough to be the floor: the neighbour's bytes do not forbid it.
            reason, most_ms = Reason.NEIGHBOUR, STEP_MS
            wait_ms = self._courtesy.wait_ms(now_ns)
        else:
            reason = Reason.BUDGET
            wait_ms = self.budget.wait_ms(now_ns, saved_ms=self._leaves_ms(now_ns))
        if wait_ms <= 0:
            return BackgroundTerms(most_ms=most_ms, thrifty=self._has_waited)
        self._has_waited = True
        hold = Hold(reason=reason, background=True, embeds=True, wait_ms=wait_ms)
        return BackgroundTerms(hold=hold, most_ms=most_ms)

    def _riders(self, candidates: Candidates, limits: StepLimits) -> tuple[ScheduledRequest, ...]:
        """The background rows that cost interactive steps next to no bytes: they use the weights
        which are read anyway."""
        if self._traffic is None or not limits.rows:
            return ()
        n_rows, n_cells = len(limits.rows), limits.n_cells
        own_bytes = self._traffic.moved(n_rows=n_rows, n_cells_read=n_cells, n_logit_rows=n_rows)
        riders: list[ScheduledRequest] = []
        for entry in candidates.background_decode:
            n_rows, n_cells = n_rows + 1, n_cells + entry.n_tokens
            with_it = self._traffic.moved(n_rows=n_rows, n_cells_read=n_cells, n_logit_rows=n_rows)
            if with_it - own_bytes > RIDERS_SHARE * own_bytes:
                break
            riders.append(entry)
        return tuple(riders)

    def charge(self, plan: StepPlan, now_ns: int) -> None:
        """`plan` is about to run."""
        self._has_waited = False
        if self._traffic is None:
            return
        n_logit_rows = len(plan.decode) + sum([piece.wants_logits for piece in plan.prefill])
        self._charged_bytes = self._traffic.moved(
            n_rows=plan.n_rows, n_cells_read=plan.n_cells_read, n_logit_rows=n_logit_rows
        )
        if plan.embed is not None:
            self._charged_bytes += embed_bytes(self._traffic, plan.embed)
        self.budget.spend(self._charged_bytes, now_ns, background=plan.background)

    def settle(self, plan: StepPlan, result: StepResult, now_ns: int) -> None:
        """`plan` has run."""
        if plan.background:
            self._courtesy.ran(result.device_ms + result.embed_ms, now_ns)
            self._last_was_ours = True
            self._ahead.add(result.bytes_moved, now_ns)
        if self._traffic is None:
            return
        correction = result.bytes_moved - self._charged_bytes
        self._charged_bytes = 0
        self.budget.spend(correction, now_ns, background=plan.background)
        if result.outcome == "done" and plan.embed is None:
            self.budget.learn(result.bytes_moved, result.device_ms)

    def _leaves_ms(self, now_ns: int) -> float:
        """How long a step of another engine has to begin, once the budget allows one."""
        rate = self.budget.bytes_per_s
        if rate is None or not self._takes_turns(now_ns):
            return 0.0
        ahead_ms = self._ahead.at(now_ns) / rate * MS_PER_S
        return min(MOST_TURN_MS, max(ahead_ms, TURN_MS if self._last_was_ours else 0.0))

    def _takes_turns(self, now_ns: int) -> bool:
        return now_ns - self._theirs_ns < TAKES_TURNS_NS


def embed_bytes(traffic: TrafficModel, embed: EmbedSlice) -> int:
    """What an embedding decode moves; llama.cpp makes logits of all its rows, too."""
    n_rows = embed.n_rows
    return traffic.moved(n_rows=n_rows, n_cells_read=embed.n_cells_read, n_logit_rows=n_rows)
