"""Measures how long `Scheduler.plan()` takes with 64 streams running and 1,000 requests waiting.

Prints percentiles in microseconds over many steps, with arrivals, ends and placements among them:
once for a few apps, and once where each request is of another app. The scheduler's clock goes on as
on a busy machine, so that most of the requests that wait have aged, as in an overload. Not a test
of what is planned. `python -m bench plan`
"""

import argparse
import gc
import sys
import time
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bench import command
from umad.config import LaneSettings, SchedulerSettings
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.step import Sampled, StepResult
from umad.units import NS_PER_MS

LANES = {
    "interactive": LaneSettings(priority=10),
    "background": LaneSettings(priority=1, floor=0.02),
}
STEP_NS = 20 * NS_PER_MS
# The cells of the pool for each running stream. With enough of them only the numbers of sequences
# are short; with few, most of the requests that wait are looked at and do not fit.
ENOUGH_CELLS = 400
FEW_CELLS = 150


def measure(*, running: int, waiting: int, steps: int, apps: int, cells: int) -> list[float]:
    """Microseconds of CPU time of each `plan()`. apps: the requests are of so many, in turns.
    cells: those of the pool, for each running stream."""
    scheduler = assemble(
        SchedulerSpec(
            n_cells=running * cells,
            max_seqs=running,
            batch_tokens=512,
            settings=SchedulerSettings(),
            latency_cap=1.2,
            lanes=LANES,
        )
    )
    rng = np.random.default_rng(7)
    rid = 0

    def arrive(now_ns: int) -> None:
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
                app=f"app{rid % apps}",
            ),
            now_ns,
        )

    for _ in range(running + waiting):
        arrive(rid)
    taken_us = []
    for step in range(steps):
        now_ns = step * STEP_NS
        began = time.thread_time_ns()
        plan = scheduler.plan(now_ns)
        taken_us.append((time.thread_time_ns() - began) / 1000)
        rids = [row.rid for row in plan.decode]
        rids += [piece.rid for piece in plan.prefill if piece.wants_logits]
        result = StepResult(
            outcome="done",
            sampled=tuple(Sampled(rid=one, token=1) for one in rids),
            device_ms=1.0 * plan.n_rows,
        )
        for _ in scheduler.apply(plan, result, now_ns):
            arrive(now_ns)
    return taken_us


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the percentiles."""
    drawn = Table(
        title="microseconds of CPU time for a plan", title_justify="left", box=box.SIMPLE_HEAD
    )
    for name in ("apps", "cells a stream", "p50", "p95", "p99", "max"):
        drawn.add_column(name, justify="right")
    rows = []
    many = options.running + options.waiting
    for apps, cells in ((options.apps, ENOUGH_CELLS), (many, ENOUGH_CELLS), (many, FEW_CELLS)):
        # An engine freezes what it has made, too.
        gc.collect()
        gc.freeze()
        taken_us = measure(
            running=options.running,
            waiting=options.waiting,
            steps=options.steps,
            apps=apps,
            cells=cells,
        )
        settled = taken_us[options.steps // 5 :]
        p50, p95, p99 = (round(float(one), 1) for one in np.percentile(settled, [50, 95, 99]))
        most = round(max(settled), 1)
        row = {"apps": apps, "cells": cells, "p50_us": p50, "p95_us": p95, "p99_us": p99}
        rows.append({**row, "max_us": most})
        drawn.add_row(*(str(one) for one in rows[-1].values()))
    console.print(drawn)
    command.write(options, {"benchmark": "plan", "rows": rows})


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("plan", __doc__)
    add = parser.add_argument
    add("--running", type=command.positive, default=64, help="streams")
    add("--waiting", type=command.positive, default=1000, help="requests without a place")
    add("--apps", type=command.positive, default=12, help="of the first row of the table")
    add("--steps", type=command.positive, default=3000)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
