"""Holds background work back for the ΣBMT budget, or for another model's interactive work.

    plan    terms(candidates) says which background work must wait, and how the rest may run;
            charge(plan) books the bytes that the plan is expected to move
    apply   settle(plan, result) corrects that number by the bytes that were really moved
    between heard(neighbours) books the bytes that the other engines of the device moved

The floor wins: beside interactive work, background work that has had less than its share runs
whatever the budget says. Interactive work is never held.

Pure; owner: the step thread.
"""

import math

from umad.media_slices import RowSlice
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.candidates import Candidates, Hold, Reason
from umad.scheduler.steps.composer import FREE, BackgroundTerms
from umad.scheduler.steps.limits import StepLimits
from umad.scheduler.steps.neighbours import STEP_MS, Courtesy, Neighbours
from umad.scheduler.steps.traffic_budget import TrafficBudget, TrafficModel
from umad.step import EmbedSlice, StepPlan, StepResult
from umad.units import MS_PER_S

# Engines that wait for the same budget wake at the same moment, and the one that is a little
# quicker would get it every time. So the engine that had the last turn waits TURN_MS longer. An
# engine that has moved more bytes than the others waits as long as its lead takes at the budget's
# rate, but at most MOST_TURN_MS. Without these waits, on a crowded machine, an engine that is woken
# late would lose its turn again and again. The waits waste none of the budget, since unused bytes
# are saved up for longer (`traffic_budget.BURST_MS`).
TURN_MS, MOST_TURN_MS = 10.0, 40.0
# If another engine has neither made a background step nor waited for one for so long, it takes no
# turns, and the lead over it fades as quickly.
TAKES_TURNS_NS = 1_000_000_000
# Background rows beside interactive ones run whatever the budget says if together they add less
# than this share of the bytes. If they were held back, a later step would read all the weights for
# them alone.
RIDERS_SHARE = 0.05


class FadingSum:
    """A sum whose parts fade with their age: by a factor of e in `memory_ns`."""

    def __init__(self, memory_ns: int) -> None:
        self._memory_ns = memory_ns
        self._sum = 0.0
        self._at_ns = 0

    def add(self, value: float, now_ns: int) -> None:
        """Add `value`, which comes now."""
        self._sum = self.at(now_ns) + value
        self._at_ns = now_ns

    def at(self, now_ns: int) -> float:
        """Return what is left of the sum now."""
        return self._sum * math.exp((self._at_ns - now_ns) / self._memory_ns)


class BackgroundThrottle:
    """Holds back the background work of one engine."""

    def __init__(
        self, *, budget: TrafficBudget | None, traffic: TrafficModel | None, floor: float
    ) -> None:
        """traffic: None where the bytes that a step moves are not known. Then only busy neighbours
        hold background work back."""
        self.budget = budget or TrafficBudget()
        self._traffic = traffic
        self._courtesy = Courtesy(share=floor)
        self._charged_bytes = 0

        # Whether this engine ran the last background step of all engines.
        self._last_was_ours = False
        # When another engine last ran a background step or waited for one.
        self._theirs_ns = -TAKES_TURNS_NS
        # How many more bytes this engine's background steps moved than those of all others.
        self._ahead = FadingSum(TAKES_TURNS_NS)
        self._has_waited = False

    def heard(self, neighbours: Neighbours, now_ns: int) -> None:
        """Book what the other engines of the device did since the last call."""
        self._courtesy.busy_next_door = neighbours.interactive
        self.budget.raise_to(neighbours.bytes_per_s)
        if neighbours.interactive_bytes:
            self.budget.owe(neighbours.interactive_bytes, background=False)
        if neighbours.waiting or neighbours.background_bytes:
            if not self._takes_turns(now_ns):
                self._ahead = FadingSum(TAKES_TURNS_NS)  # no other engine was waiting
            self._theirs_ns = now_ns
        if neighbours.background_bytes:
            self.budget.owe(neighbours.background_bytes, background=True)
            self._ahead.add(-neighbours.background_bytes, now_ns)
            self._last_was_ours = False

    def terms(
        self, candidates: Candidates, limits: StepLimits, now_ns: int, *, floor_is_owed: bool
    ) -> BackgroundTerms:
        """Return the terms on which background work may run now."""
        if not (candidates.has_background or candidates.embeds):
            return FREE
        if candidates.has_interactive:
            # The guard bounds background work beside interactive work and sees to the floor, so
            # only the budget is checked here.
            if floor_is_owed or self.budget.wait_ms(now_ns) <= 0:
                return FREE
            riders = self._riders(candidates, limits)
            return BackgroundTerms(
                hold=Hold(reason=Reason.BUDGET, background=True, embeds=True, riders=riders)
            )
        most_ms = None
        if self._courtesy.busy_next_door:
            # Background work gets only its small share here, which it is owed in any case. So the
            # budget is not asked, although the neighbour may have emptied it.
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
        """Return the background rows that add next to no bytes to an interactive step, because they
        use the weights which are read anyway."""
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
        """Book the bytes that `plan`, which is about to run, is expected to move."""
        self._has_waited = False
        if self._traffic is None:
            return
        n_logit_rows = len(plan.decode) + sum([piece.wants_logits for piece in plan.prefill])
        n_logit_rows += plan.n_guesses
        self._charged_bytes = self._traffic.moved(
            n_rows=plan.n_rows, n_cells_read=plan.n_cells_read, n_logit_rows=n_logit_rows
        )
        if plan.embed is not None:
            self._charged_bytes += embed_bytes(self._traffic, plan.embed)
        if plan.rows is not None:
            self._charged_bytes += row_bytes(self._traffic, plan.rows)
        self.budget.spend(self._charged_bytes, now_ns, background=plan.background)

    def settle(self, plan: StepPlan, result: StepResult, now_ns: int) -> None:
        """Correct the booked bytes by those that `plan` really moved."""
        if plan.background:
            took_ms = result.device_ms + result.embed_ms + result.media_ms + plan.draft_ms
            self._courtesy.ran(took_ms, now_ns)
            self._last_was_ours = True
            self._ahead.add(result.bytes_moved, now_ns)
        if self._traffic is None:
            return
        correction = result.bytes_moved - self._charged_bytes
        self._charged_bytes = 0
        self.budget.spend(correction, now_ns, background=plan.background)
        if result.outcome == "done" and plan.embed is None:
            self.budget.learn(result.bytes_moved, result.device_ms + plan.draft_ms)

    def _leaves_ms(self, now_ns: int) -> float:
        """How many milliseconds this engine leaves to another one to begin a step, once the budget
        allows one."""
        rate = self.budget.bytes_per_s
        if rate is None or not self._takes_turns(now_ns):
            return 0.0
        ahead_ms = self._ahead.at(now_ns) / rate * MS_PER_S
        return min(MOST_TURN_MS, max(ahead_ms, TURN_MS if self._last_was_ours else 0.0))

    def _takes_turns(self, now_ns: int) -> bool:
        return now_ns - self._theirs_ns < TAKES_TURNS_NS


def row_bytes(traffic: TrafficModel, rows: RowSlice) -> int:
    """Bytes that the decode of a medium's rows moves."""
    return traffic.moved(n_rows=rows.n_cells, n_cells_read=rows.n_cells_read, n_logit_rows=0)


def embed_bytes(traffic: TrafficModel, embed: EmbedSlice) -> int:
    """Bytes that an embedding decode moves. llama.cpp makes logits of all its rows, too."""
    n_rows = embed.n_rows
    return traffic.moved(n_rows=n_rows, n_cells_read=embed.n_cells_read, n_logit_rows=n_rows)
