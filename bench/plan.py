"""Measures how long `Scheduler.plan()` takes with 64 streams running and 1,000 requests waiting.

Prints percentiles in microseconds over many steps, with arrivals, ends and placements among them.
Not a test of what is planned. `python -m bench plan`
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console

from bench import command
from umad.config import LaneSettings, SchedulerSettings
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.step import Sampled, StepResult

LANES = {
    "interactive": LaneSettings(priority=10),
    "background": LaneSettings(priority=1, floor=0.02),
}


def measure(*, running: int, waiting: int, steps: int) -> list[float]:
    """Microseconds of each `plan()`; the pool is full and every app has a line."""
    scheduler = assemble(
        SchedulerSpec(
            n_cells=running * 400,
            max_seqs=running,
            batch_tokens=512,
            settings=SchedulerSettings(),
            latency_cap=1.2,
            lanes=LANES,
        )
    )
    rng = np.random.default_rng(7)
    rid = 0

    def arrive() -> None:
        nonlocal rid
        rid += 1
        n_prompt = int(rng.integers(20, 200))
        scheduler.submit(
            Submission(
                rid=rid,
                tokens=rng.integers(0, 50, n_prompt).astype(np.int32),
                n_prompt=n_prompt,
                max_new_tokens=int(rng.integers(50, 150)),
                lane="interactive" if rid % 3 else "background",
                app=f"app{rid % 12}",
            ),
            rid,
        )

    for _ in range(running + waiting):
        arrive()
    taken_us = []
    for step in range(steps):
        began = time.perf_counter_ns()
        plan = scheduler.plan(step)
        taken_us.append((time.perf_counter_ns() - began) / 1000)
        rids = [row.rid for row in plan.decode]
        rids += [piece.rid for piece in plan.prefill if piece.wants_logits]
        result = StepResult(
            outcome="done",
            sampled=tuple(Sampled(rid=one, token=1) for one in rids),
            device_ms=1.0 * plan.n_rows,
        )
        for _ in scheduler.apply(plan, result, step):
            arrive()
    return taken_us


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the percentiles."""
    taken_us = measure(running=options.running, waiting=options.waiting, steps=options.steps)
    settled = taken_us[options.steps // 5 :]
    p50, p95, p99 = np.percentile(settled, [50, 95, 99])
    figures = {"p50_us": p50, "p95_us": p95, "p99_us": p99, "max_us": max(settled)}
    plain = {name: round(float(value), 1) for name, value in figures.items()}
    console.print(", ".join(f"{name} {value}" for name, value in plain.items()), highlight=False)
    command.write(options, {"benchmark": "plan", **plain})


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("plan", __doc__)
    add = parser.add_argument
    add("--running", type=command.positive, default=64, help="streams")
    add("--waiting", type=command.positive, default=1000, help="requests without a place")
    add("--steps", type=command.positive, default=3000)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
