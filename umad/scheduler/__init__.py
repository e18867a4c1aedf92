"""Decides what each step runs: lanes, admission, slices, prefix reuse, preemption, the guard.

Not: decoding, sampling, time, or I/O. A `Scheduler` is handed facts and returns `StepPlan`s.

    submit(Admission) ─┐
    cancel / set_lane ─┼─▶ plan(now_ns) ─▶ [engine runs it] ─▶ apply(plan, result, now_ns)
    pause / resume ────┘

    policy     Scheduler: the state of every request and the rules; the only file with decisions
    request    Entry: one request as the scheduler sees it, and its state table
    ledger     KvLedger: which cells belong to which sequences, counted exactly
    prefixes   PrefixIndex: longest known prefix of a prompt among live and retained sequences
    fairness   TokenCounters: virtual token counters between apps of one lane (VTC, 2401.00588)
    cost       CostModel: milliseconds of a step from its shape, learnt online
    guard      LatencyGuard: how many milliseconds of other work a step may carry

Owner: the engine's step thread. Nothing here locks.
"""

from umad.scheduler.policy import Admission, Scheduler, SchedulerSnapshot

__all__ = ["Admission", "Scheduler", "SchedulerSnapshot"]
