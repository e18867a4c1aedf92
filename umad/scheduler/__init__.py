"""Decides what each step runs: lanes, admission, slices, prefix reuse, preemption, the guard.

Not: decoding, sampling, time, or I/O. A `Scheduler` is handed facts and returns `StepPlan`s.

    submit(Admission) ─┐
    cancel / set_lane ─┼─▶ plan(now_ns) ─▶ [engine runs it] ─▶ apply(plan, result, now_ns)
    pause / resume ────┘

    spec               SchedulerSpec: the values that a scheduler is made from
    assembly           assemble: a spec to a Scheduler
    scheduler          Scheduler: carries every request from step to step
    scheduled_request  ScheduledRequest: one request as the scheduler sees it, and its state table
    queue/             the requests that wait for a place in the pool, and their order
    memory/            the pool: residency, prefixes, parking, sessions
    costs/             milliseconds, learnt while serving
    steps/             one step: candidates, turns of adapters, guard, budget, slices, accounting
    embeds/            texts to be embedded
    speculation/       guesses of next tokens, of which a step verifies as many as pay
    prompt_changes     apps whose prompts change early from turn to turn
    reasons            why each request waits, in words
    snapshot           SchedulerSnapshot: counts at one moment, for the scorecard

Owner: the engine's step thread. Nothing here locks.
"""

from umad.scheduler.assembly import assemble
from umad.scheduler.scheduled_request import Submission
from umad.scheduler.scheduler import Scheduler
from umad.scheduler.snapshot import SchedulerSnapshot
from umad.scheduler.spec import SchedulerSpec
from umad.scheduler.steps.neighbours import Neighbours
from umad.scheduler.steps.traffic_budget import TrafficBudget

__all__ = [
    "Neighbours",
    "Scheduler",
    "SchedulerSnapshot",
    "SchedulerSpec",
    "Submission",
    "TrafficBudget",
    "assemble",
]
