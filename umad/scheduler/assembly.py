"""Builds a scheduler from a `SchedulerSpec`.

Every part is made here, once, and knows only the parts that it is handed.
"""

from umad.config import guarded_lanes
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.checkpoints import Checkpoints
from umad.scheduler.memory.copy_allowance import CopyAllowance
from umad.scheduler.memory.end_saving import EndSaver
from umad.scheduler.memory.park_budget import ParkBudget
from umad.scheduler.memory.parked_store import ParkedStore, ParkShape
from umad.scheduler.memory.parking import Parker
from umad.scheduler.memory.rent import Rent
from umad.scheduler.memory.residency import Residency
from umad.scheduler.memory.restoring import Restorer
from umad.scheduler.memory.session_saving import SessionSaver
from umad.scheduler.memory.sparing import Sparing
from umad.scheduler.memory.state_saving import StateSaver
from umad.scheduler.queue.followers import Followers
from umad.scheduler.queue.orders import ORDERS
from umad.scheduler.queue.placement import Placer
from umad.scheduler.queue.token_counters import TokenCounters
from umad.scheduler.queue.waiting_line import WaitingLine
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.scheduler import Scheduler
from umad.scheduler.spec import SchedulerSpec
from umad.scheduler.steps.accounting import StepAccounting
from umad.scheduler.steps.adapter_turns import AdapterTurns
from umad.scheduler.steps.cut_cost import FREE_CUTS, CutCost
from umad.scheduler.steps.governor import StepGovernor

_NO_ROOM = ParkShape(capacity_bytes=0, slice_cells=1, slab_bytes=1)


def assemble(spec: SchedulerSpec) -> Scheduler:
    """Build the scheduler that `spec` describes, without any request in it."""
    cost = spec.cost or CostModel()
    entries: dict[int, ScheduledRequest] = {}
    guarded = guarded_lanes(spec.lanes)
    order = ORDERS[spec.settings.order]
    governor = StepGovernor(
        cost=cost,
        settings=spec.settings,
        lanes=spec.lanes,
        guarded=guarded,
        latency_cap=spec.latency_cap,
        batch_tokens=spec.batch_tokens,
        cut_share=spec.cut_share,
        traffic=spec.traffic,
        budget=spec.budget,
        embeds=spec.embeds,
        order=order,
        most_scored_rows=spec.most_scored_rows,
        max_seqs=spec.max_seqs,
        cut_cost=_cut_cost(spec),
        guesses_for=entries if spec.can_verify else None,
        draft=spec.draft,
        has_rows=spec.has_rows,
    )
    counters = {name: TokenCounters() for name in spec.lanes}
    waiting = WaitingLine(spec.lanes, order)
    shape = spec.parking or _NO_ROOM
    needs_states = spec.shares_at == "states"
    park_budget = ParkBudget(shape.capacity_bytes)
    store = ParkedStore(shape, park_budget)
    copying = CopyCost(
        cost,
        cell_bytes=shape.slab_bytes / shape.slice_cells,
        batch_tokens=spec.batch_tokens,
    )
    checkpoints = Checkpoints(
        state_bytes=shape.state_bytes if needs_states else 0,
        unit_bytes=shape.slab_bytes,
        budget=park_budget,
        copying=copying,
    )
    residency = Residency(
        n_cells=spec.n_cells,
        max_seqs=spec.max_seqs,
        can_share_prefix=spec.can_share_prefix,
        rebuild_ms=copying.rebuild_ms,
        beginnings=spec.beginnings,
        needs_states=needs_states,
    )
    states = StateSaver(
        checkpoints=checkpoints,
        store=store,
        residency=residency,
        copying=copying,
        windows=spec.beginnings if needs_states else None,
    )
    ends = EndSaver(states=states, residency=residency)
    parker = Parker(store=store, states=states, residency=residency, copying=copying)
    restorer = Restorer(store=store, checkpoints=checkpoints, residency=residency, copying=copying)
    return Scheduler(
        spec=spec,
        order=order,
        guarded=guarded,
        cost=cost,
        entries=entries,
        counters=counters,
        waiting=waiting,
        residency=residency,
        governor=governor,
        books=StepAccounting(
            entries=entries,
            residency=residency,
            cost=cost,
            guard=governor.guard,
            slices=governor.slices,
            guarded=guarded,
        ),
        parker=parker,
        restorer=restorer,
        checkpoints=checkpoints,
        saver=SessionSaver(
            saved=spec.saved,
            saved_states=spec.saved_states,
            store=store,
            checkpoints=checkpoints,
            parker=parker,
            states=states,
            restorer=restorer,
            residency=residency,
            copying=copying,
        ),
        freight=CopyAllowance(
            parker=parker,
            restorer=restorer,
            states=states,
            ends=ends,
            store=store,
            checkpoints=checkpoints,
            copying=copying,
            settings=spec.settings,
            guarded=guarded,
        ),
        placer=Placer(
            residency=residency,
            parker=parker,
            restorer=restorer,
            states=states,
            ends=ends,
            waiting=waiting,
            followers=Followers(
                priority=spec.priority,
                shares_at_states=needs_states,
                cuts=not needs_states or spec.beginnings is not None,
            ),
            priority=spec.priority,
            guarded=guarded,
            leaves_soon=spec.skip_ms > 0,
            order=order,
        ),
        # A model that has states alone has no cells that rows could scan past.
        rent=Rent(
            skip_ms=spec.skip_ms if shape.has_cells else 0.0,
            residency=residency,
            parker=parker,
            copying=copying,
        ),
        sparing=Sparing(park_budget),
        adapter_turns=AdapterTurns(),
    )


def _cut_cost(spec: SchedulerSpec) -> CutCost:
    # A model with windows only is not spoilt by a cut: its cells can be given up one by one.
    if spec.shares_at == "anywhere" or spec.beginnings is not None:
        return FREE_CUTS
    return CutCost(save_ms=float("inf") if spec.cut_save_ms is None else spec.cut_save_ms)
