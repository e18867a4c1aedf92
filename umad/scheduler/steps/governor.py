"""Plans a step: applies the rules of a plan in order, and composes the work that they leave.

    limits   the interactive rows of the step, and how much other work they allow
    hold     copies, then budget and neighbours, then embeddings keep candidates back
    compose  the rows and slices of the candidates that are left

Not: which requests are in the pool (`placement`), the results of a step (`accounting`).
Pure; owner: the step thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from umad.config import LaneSettings, SchedulerSettings
from umad.media_slices import EncodeTurn, RowSlice
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.embeds.queue import EmbedQueue, EmbedShape
from umad.scheduler.embeds.turns import SLICE_MS, EmbedTurns
from umad.scheduler.media.turns import MediaTurns
from umad.scheduler.queue.orders import Order
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.snapshot import NOTHING_GUESSED, Guessed
from umad.scheduler.speculation.drafting import DraftShape
from umad.scheduler.speculation.speculator import Speculator
from umad.scheduler.steps.background_throttle import BackgroundThrottle
from umad.scheduler.steps.candidates import Candidates, Hold
from umad.scheduler.steps.composer import StepComposer
from umad.scheduler.steps.cut_cost import CutCost
from umad.scheduler.steps.cut_wait import CutWait
from umad.scheduler.steps.latency_guard import LatencyGuard
from umad.scheduler.steps.limits import StepLimits, limits_of
from umad.scheduler.steps.slice_size import SlicePicker
from umad.scheduler.steps.traffic_budget import TrafficBudget, TrafficModel
from umad.step import MemoryOp, StepPlan


class StepGovernor:
    """Makes the plans. Its `guard`, `slices`, `throttle`, `embeds` and `speculator` are public
    because the parts that book a step's results (`accounting`, `scheduler`) hand them on to these.
    """

    def __init__(
        self,
        *,
        cost: CostModel,
        settings: SchedulerSettings,
        lanes: Mapping[str, LaneSettings],
        guarded: frozenset[str],
        latency_cap: float,
        batch_tokens: int,
        cut_share: float,
        traffic: TrafficModel | None,
        budget: TrafficBudget | None,
        embeds: EmbedShape,
        order: Order,
        most_scored_rows: int,
        max_seqs: int,
        cut_cost: CutCost,
        guesses_for: Mapping[int, ScheduledRequest] | None = None,
        draft: DraftShape | None = None,
        has_rows: Callable[[int, int], bool] | None = None,
    ) -> None:
        """guesses_for: the live requests whose next tokens may be guessed; None for no guesses.
        draft: the model that guesses some of them; None for none.
        has_rows: as `MediaTurns` asks; None where no request has media."""
        self._cost = cost
        self._most_rows = min(settings.max_merge, batch_tokens)
        self._floor = max((lanes[name].floor for name in lanes if name not in guarded), default=0.0)
        self.guard = LatencyGuard(cap=latency_cap, floor=self._floor)
        self.slices = SlicePicker(
            cost.prefill,
            wait=CutWait(cut_share),
            cut_cost=cut_cost,
            uncut_ms=settings.slice_ms,
        )
        self.throttle = BackgroundThrottle(budget=budget, traffic=traffic, floor=self._floor)
        self._composer = StepComposer(
            cost=cost,
            slices=self.slices,
            settings=settings,
            batch_tokens=batch_tokens,
            order=order,
            most_scored_rows=most_scored_rows,
            max_seqs=max_seqs,
            cut_cost=cut_cost,
        )
        priority = {name: lane.priority for name, lane in lanes.items()}
        self.embeds = EmbedQueue(embeds, priority=priority, guarded=guarded, like=cost.prefill)
        self._turns = EmbedTurns(
            self.embeds,
            guard=self.guard,
            floor=self._floor,
            cut_ms=settings.slice_ms if self.slices.wait.can_cut else SLICE_MS,
        )
        self.media: MediaTurns | None = None
        if has_rows is not None:
            self.media = MediaTurns(
                cost=cost, settings=settings, batch_tokens=batch_tokens, has_rows=has_rows
            )
        self.speculator: Speculator | None = None
        if guesses_for is not None:
            self.speculator = Speculator(
                entries=guesses_for,
                cost=cost,
                guard=self.guard,
                guarded=guarded,
                most_rows=min(batch_tokens, max_seqs),
                cut_wait=self.slices.wait,
                draft=draft,
            )
        # Every rule's hold of the last plan, in the order of the rules.
        self.holds: tuple[Hold, ...] = ()

    @property
    def guessed(self) -> Guessed:
        """What guesses of next tokens have brought."""
        return NOTHING_GUESSED if self.speculator is None else self.speculator.snapshot()

    def ended(self, entry: ScheduledRequest) -> None:
        """A request has ended."""
        if self.speculator is not None:
            self.speculator.ended(entry)

    def forget(self, owner: str | None) -> None:
        """Give up texts of an owner that guesses are taken from, of everybody for None. Nobody
        knows of which sessions they are."""
        if self.speculator is not None:
            self.speculator.forget(owner)

    def limits(self, candidates: Candidates) -> StepLimits:
        """Return the limits of the next step."""
        return limits_of(candidates, cost=self._cost, guard=self.guard, most_rows=self._most_rows)

    def step(
        self,
        candidates: Candidates,
        limits: StepLimits,
        memory: tuple[MemoryOp, ...],
        now_ns: int,
        *,
        copies: Hold | None = None,
        turn: Hold | None = None,
        most_ms: float | None = None,
    ) -> StepPlan:
        """Plan the next step and book its bytes. An idle plan says when background work may run.

        copies: the hold on the work that the copies of this step replace. turn: the hold on work
        under other adapters, which `candidates` does not have any more. most_ms: how long a step
        of prompts alone, or of background work, may take for their sake; None for no such bound.
        """
        left = candidates.without(copies)
        floor_is_owed = self.guard.background_share < self._floor
        terms = self.throttle.terms(left, limits, now_ns, floor_is_owed=floor_is_owed)
        if most_ms is not None:
            terms = replace(terms, most_ms=min(most_ms, terms.most_ms or most_ms))
        left = left.without(terms.hold)
        embed, embedding = self._turns.take(left, limits, terms, now_ns)
        left = left.without(embedding)
        media = medium = None
        if self.media is not None and embed is None:
            media, medium = self.media.take(left, limits, terms)
            left = left.without(medium)
        plan = self._composer.compose(left, limits, terms, memory, embed, most_ms=most_ms)
        if media is not None:
            plan = self._with_media(plan, media, limits)
        # A longer step is paid for by streams that gain by it, and by none that wait for a turn.
        if self.speculator is not None and turn is None and len(left.decode) <= len(limits.rows):
            plan = self.speculator.with_guesses(plan, most_ms=terms.most_ms)
        found = (turn, copies, terms.hold, embedding, medium, self._composer.hold)
        self.holds = tuple([hold for hold in found if hold is not None])
        if not plan.is_idle:
            self.throttle.charge(plan, now_ns)
        elif terms.hold is not None and terms.hold.wait_ms:
            return replace(plan, wait_ms=terms.hold.wait_ms)
        return plan

    def _with_media(
        self, plan: StepPlan, media: RowSlice | EncodeTurn, limits: StepLimits
    ) -> StepPlan:
        """A plan of interactive rows alone, or of nothing, with rows or a turn of an encoder."""
        rows = media if isinstance(media, RowSlice) else None
        encode = media if isinstance(media, EncodeTurn) else None
        media_ms = media.predicted_ms if isinstance(media, RowSlice) else media.ms
        solo_ms, within_ms = plan.solo_ms, plan.within_ms
        if plan.decode and not media.bulk:
            # As with newcomers' prompts: it is interactive work, too.
            solo_ms += media_ms
            within_ms = limits.guard.within_ms(solo_ms, limits.caps)
        return replace(
            plan,
            rows=rows,
            encode=encode,
            background=media.bulk and not plan.n_rows,
            cuttable=False,
            saves_state=False,
            solo_ms=solo_ms,
            within_ms=within_ms,
        )
