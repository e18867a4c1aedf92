"""Decides what each step runs: lanes, admission, slices, prefix reuse, preemption, the guard.

Not: decoding, sampling, time, or I/O. A `Scheduler` is handed facts and returns `StepPlan`s.

    submit(Admission) ─┐
    cancel / set_lane ─┼─▶ plan(now_ns) ─▶ [engine runs it] ─▶ apply(plan, result, now_ns)
    pause / resume ────┘

    spec       SchedulerSpec: what a scheduler is made from
    assembly   assemble: a spec to a Scheduler
    policy     Scheduler: every request, from step to step
    orders     Order: who goes first, one class for each order
    candidates Candidates: who could run now; Hold: what keeps some of them back, and why
    limits     StepLimits: what the interactive rows of a step allow
    reasons    why each request waits, in words
    placing    Placer: who comes into the pool, who gives way
    governor   StepGovernor: how much a step carries, of whose work
    compose    StepComposer: whose rows and slices make up a step, how large
    newcomers  NewcomerLine: whose prompt is read next, of those who wait for a first token
    books      StepBooks: what a step came to
    guard      LatencyGuard: how many milliseconds of other work a step may carry
    throttle   BackgroundThrottle: when background work waits
    budget     TrafficBudget: bytes a second, all work counted, background held
    neighbours Courtesy: how little background work does while another model's engine is busy
    cost       CostModel: milliseconds of a step from its shape, learnt online
    pace       Pace: what readers feel beyond that, alone
    curve      CostCurve: of a number of rows
    cells      CellCost: of a KV cell read
    slices     SlicePicker: how large a slice is that nobody waits for
    tiles      in_whole_tiles: sizes at which no block of the kernels is left half empty
    waiting    WaitingLine: lanes, apps, order, aging
    fairness   TokenCounters: virtual token counters between the apps of a lane
    residency  Residency: who sits in the pool; sharing, retaining, evicting
    parking    Parker: what is copied to host memory before it is evicted, and put back
    rent       Rent: what is only kept pays for the time rows take to pass over it
    freight    Freight: how many copies a step carries
    parked     ParkedStore: what is in host memory, and what goes when it is full
    saving     SessionSaver: which sessions are on disk, or to be, and who waits for one
    copying    CopyCost: milliseconds of a copy, against those of computing anew
    ledger     KvLedger: which cells belong to which sequences, counted exactly
    prefixes   PrefixIndex: the longest known prefix of a prompt
    windows    Beginnings: which prefixes layers with a window still have
    embeds     EmbedQueue: texts to be embedded, in slices of a context of their own
    embed_turns EmbedTurns: when such a slice runs, and how long it may take
    snapshot   SchedulerSnapshot: where things stand, for the scorecard
    entry      Entry: one request as the scheduler sees it, and its state table

Owner: the engine's step thread. Nothing here locks.
"""

from umad.scheduler.assembly import assemble
from umad.scheduler.budget import TrafficBudget
from umad.scheduler.entry import Admission
from umad.scheduler.neighbours import Neighbours
from umad.scheduler.policy import Scheduler
from umad.scheduler.snapshot import SchedulerSnapshot
from umad.scheduler.spec import SchedulerSpec, guarded_lanes

__all__ = [
    "Admission",
    "Neighbours",
    "Scheduler",
    "SchedulerSnapshot",
    "SchedulerSpec",
    "TrafficBudget",
    "assemble",
    "guarded_lanes",
]
