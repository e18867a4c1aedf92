"""Puts a scheduler together: every part is made here, once, and knows only those it is handed."""

from umad.scheduler.books import StepBooks
from umad.scheduler.copying import CopyCost
from umad.scheduler.cost import CostModel
from umad.scheduler.entry import Entry
from umad.scheduler.fairness import TokenCounters
from umad.scheduler.freight import Freight
from umad.scheduler.governor import StepGovernor
from umad.scheduler.orders import ORDERS
from umad.scheduler.parked import ParkedStore, ParkShape
from umad.scheduler.parking import Parker
from umad.scheduler.placing import Placer
from umad.scheduler.policy import Scheduler
from umad.scheduler.rent import Rent
from umad.scheduler.residency import Residency
from umad.scheduler.saving import SessionSaver
from umad.scheduler.spec import SchedulerSpec, guarded_lanes
from umad.scheduler.waiting import WaitingLine

_NO_ROOM = ParkShape(capacity_bytes=0, slice_cells=1, slab_bytes=1)


def assemble(spec: SchedulerSpec) -> Scheduler:
    """The scheduler that `spec` describes, with nothing in it."""
    cost = spec.cost or CostModel()
    guarded = guarded_lanes(spec.lanes)
    order = ORDERS[spec.settings.order]
    governor = StepGovernor(
        cost=cost,
        settings=spec.settings,
        lanes=spec.lanes,
        guarded=guarded,
        latency_cap=spec.latency_cap,
        batch_tokens=spec.batch_tokens,
        cuts_soon=spec.cuts_soon,
        traffic=spec.traffic,
        budget=spec.budget,
        embeds=spec.embeds,
        order=order,
    )
    counters = {name: TokenCounters() for name in spec.lanes}
    waiting = WaitingLine(spec.lanes, order)
    store = ParkedStore(spec.parking or _NO_ROOM)
    copying = CopyCost(
        cost,
        cell_bytes=store.shape.slab_bytes / store.shape.slice_cells,
        batch_tokens=spec.batch_tokens,
    )
    residency = Residency(
        n_cells=spec.n_cells,
        max_seqs=spec.max_seqs,
        can_share_prefix=spec.can_share_prefix,
        rebuild_ms=copying.rebuild_ms,
        beginnings=spec.beginnings,
    )
    entries: dict[int, Entry] = {}
    parker = Parker(store=store, residency=residency, copying=copying)
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
        books=StepBooks(
            entries=entries,
            residency=residency,
            cost=cost,
            guard=governor.guard,
            slices=governor.slices,
            guarded=guarded,
        ),
        parker=parker,
        saver=SessionSaver(
            saved=spec.saved, store=store, parker=parker, residency=residency, copying=copying
        ),
        freight=Freight(
            parker=parker,
            copying=copying,
            slab_cells=store.shape.slice_cells,
            settings=spec.settings,
            guarded=guarded,
        ),
        placer=Placer(
            residency=residency,
            parker=parker,
            waiting=waiting,
            priority=spec.priority,
            guarded=guarded,
            leaves_soon=spec.skip_ms > 0,
            order=order,
        ),
        rent=Rent(skip_ms=spec.skip_ms, residency=residency, parker=parker, copying=copying),
    )
