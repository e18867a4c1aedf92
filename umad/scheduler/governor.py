"""Everything that decides how much a step carries: who could run, who waits, how large it is.

    ready_of   who could run now, each list in the order they deserve to
    StepGovernor.step   guard, slices and budget applied to them: the next plan

Not: who is in the pool (`placing`), what came of a step (`books`). Pure; owner: the step thread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from umad.config import LaneSettings, SchedulerSettings
from umad.scheduler.budget import TrafficBudget, TrafficModel
from umad.scheduler.compose import Ready, StepComposer
from umad.scheduler.cost import CostModel
from umad.scheduler.embed_turns import EmbedTurns
from umad.scheduler.embeds import EmbedQueue, EmbedShape
from umad.scheduler.entry import Entry, State
from umad.scheduler.guard import LatencyGuard
from umad.scheduler.slices import SlicePicker
from umad.scheduler.throttle import BackgroundThrottle
from umad.step import MemoryOp, StepPlan


def ready_of(
    running: Iterable[Entry], *, guarded: frozenset[str], priority: Mapping[str, int]
) -> Ready:
    """Background work by lane, then by deadline; the others in the order they were placed."""
    ready = Ready()
    for entry in running:
        if entry.paused or entry.restore is not None:
            continue
        if entry.lane in guarded:
            prefill, decode = ready.prefill, ready.decode
        else:
            prefill, decode = ready.background_prefill, ready.background_decode
        (decode if entry.state is State.DECODE else prefill).append(entry)
    for group in (ready.background_prefill, ready.background_decode):
        if len(group) > 1:
            group.sort(key=lambda entry: (-priority[entry.lane], entry.deadline_ns))
    return ready


class StepGovernor:
    """Makes the plans. Its `guard`, `slices`, `throttle` and `embeds` are public for those who tell
    them what became of a step (`books`, `policy`)."""

    def __init__(
        self,
        *,
        cost: CostModel,
        settings: SchedulerSettings,
        lanes: Mapping[str, LaneSettings],
        guarded: frozenset[str],
        latency_cap: float,
        batch_tokens: int,
        cuts_soon: bool,
        traffic: TrafficModel | None,
        budget: TrafficBudget | None,
        embeds: EmbedShape,
    ) -> None:
        self._floor = max((lanes[name].floor for name in lanes if name not in guarded), default=0.0)
        self.guard = LatencyGuard(cap=latency_cap, floor=self._floor)
        self.slices = SlicePicker(cost.prefill, bound_ms=None if cuts_soon else settings.slice_ms)
        self.throttle = BackgroundThrottle(budget=budget, traffic=traffic, floor=self._floor)
        self._composer = StepComposer(
            cost=cost,
            guard=self.guard,
            slices=self.slices,
            settings=settings,
            batch_tokens=batch_tokens,
        )
        priority = {name: lane.priority for name, lane in lanes.items()}
        self.embeds = EmbedQueue(embeds, priority=priority, guarded=guarded, like=cost.prefill)
        self._turns = EmbedTurns(self.embeds, cost=cost, guard=self.guard, floor=self._floor)

    def step(self, ready: Ready, memory: tuple[MemoryOp, ...], now_ns: int) -> StepPlan:
        """The next step, its bytes booked; an idle one says when background work may run."""
        ready.embeds = ready.embeds and len(self.embeds) > 0
        floor_is_owed = self.guard.background_share < self._floor
        wait_ms = self.throttle.hold(ready, now_ns, floor_is_owed=floor_is_owed)
        plan = self._composer.compose(ready, memory, self._turns.take(ready, now_ns))
        if not plan.is_idle:
            self.throttle.charge(plan, now_ns)
        elif wait_ms:
            return replace(plan, wait_ms=wait_ms)
        return plan
