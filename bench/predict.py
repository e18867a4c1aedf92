"""Predicts what the guard would keep waits to on machines that are not here.

The real scheduler plans for a simulated device, under two sets of assumptions. Where rows are free,
a step takes a fixed cost and the longer of two times: moving its bytes, and doing its arithmetic.
So a few more rows cost nothing while memory is what a step waits for. Where rows are not free, the
two times add up, and a kernel for few rows pays a share of the weights again for each row up to
eight, as kernels of GPUs do that were written for one row: public reports of several tokens a step
that lose on Apple's M1 to M4 say that it is so there.

The device is told nothing else. The scheduler is told nothing of the device: it learns from the
steps. Three streams run beside prompts of 2,700 tokens, as in `bench.mixed` without think time. A
prediction, not a measurement: other programs are one factor of noise. `python -m bench predict`
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import command
from umad.config import SchedulerSettings, Settings
from umad.request import BACKGROUND, INTERACTIVE
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.step import Sampled, StepPlan, StepResult

# An 8B model, 4.9 GB: Llama 3.1 as Q4_K_M, KV in f16.
PARAMS, WEIGHT_BYTES = 8.03e9, 4.92e9
LAYERS, HEADS, KV_HEADS, HEAD_WIDTH = 32, 32, 8, 128
CELL_BYTES = LAYERS * KV_HEADS * HEAD_WIDTH * 2 * 2
CELL_FLOPS = 4 * LAYERS * HEADS * HEAD_WIDTH
STREAMS, PROMPT_TOKENS, BACKGROUND_TOKENS = 3, 60, 2700
NOISE = 0.03
SHARED_BY = 8  # rows of a slice that use a cell once it is read
# Where rows are not free: each row after the first, up to so many, costs this share of what the
# weights cost. Assumed, so that eight rows take nearly three times as long as one.
FEW_ROWS, ROW_SHARE = 8, 0.3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """bandwidth: the vendor's figure. efficiency: of it, in decoding; flops: in prefill. Both from
    published runs of llama.cpp (`source`), or else assumed."""

    name: str
    bandwidth_gbps: float
    efficiency: float
    tflops: float
    source: str
    overhead_ms: float = 1.0
    # More rows cost nothing while a step waits for memory.
    rows_are_free: bool = True

    def step_ms(self, plan: StepPlan) -> float:
        """A step on it."""
        return self._ms(plan.n_rows, plan.n_cells_read, plan.n_cells_prefill)

    def solo_ms(self, plan: StepPlan) -> float:
        """What the interactive rows of it would take alone; they stand first."""
        rows = plan.decode[:STREAMS]
        return self._ms(len(rows), sum(row.position + 1 for row in rows), 0)

    def shape_ms(self, n_rows: int) -> float:
        """A step of so many rows that read nothing but themselves."""
        return self._ms(n_rows, n_rows, 0)

    def _ms(self, n_rows: int, n_cells: int, n_cells_prefill: int) -> float:
        # A decode row reads all of its own cells; rows of a slice share what they read.
        cells_moved = n_rows + n_cells - n_cells_prefill * (1 - 1 / SHARED_BY)
        moved = WEIGHT_BYTES + cells_moved * CELL_BYTES
        flops = 2 * PARAMS * n_rows + CELL_FLOPS * n_cells
        bytes_per_s = self.bandwidth_gbps * 1e9 * self.efficiency
        moved_s, computed_s = moved / bytes_per_s, flops / (self.tflops * 1e12)
        if self.rows_are_free:
            return self.overhead_ms + 1e3 * max(moved_s, computed_s)
        again_s = ROW_SHARE * (min(n_rows, FEW_ROWS) - 1) * WEIGHT_BYTES / bytes_per_s
        return self.overhead_ms + 1e3 * (moved_s + max(again_s, computed_s))


_MEASURED = "pp512 and tg128 of an 8B Q4_K_M"
_ASSUMED = "0.3 of the peak and 0.7 of the bandwidth, assumed"
MACHINES = (
    Machine(name="Apple M4", bandwidth_gbps=120, efficiency=0.86, tflops=3.6, source=_MEASURED),
    Machine(name="Apple M1 Max", bandwidth_gbps=400, efficiency=0.57, tflops=8.0, source=_MEASURED),
    Machine(
        name="Apple M2 Ultra",
        bandwidth_gbps=800,
        efficiency=0.6,
        tflops=17.0,
        source="pp512 of a 7B F16 (llama.cpp #3084)",
    ),
    Machine(
        name="AMD Radeon 780M", bandwidth_gbps=89.6, efficiency=0.7, tflops=5.0, source=_ASSUMED
    ),
    Machine(
        name="AMD Ryzen AI Max+ 395",
        bandwidth_gbps=256,
        efficiency=0.7,
        tflops=17.8,
        source=_ASSUMED,
    ),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Each step against its streams alone; background prompt tokens a second, beside and alone."""

    solo_ms: float
    p95: float
    p99: float
    longest: float
    beside_per_s: float
    alone_per_s: float


class _Run:
    """The scheduler of one engine on one machine."""

    def __init__(self, machine: Machine, *, seed: int = 0) -> None:
        self._machine = machine
        self._rng = np.random.default_rng(seed)
        self._rids = 0
        self._now_ns = 0
        self.prompt_tokens = 0
        lanes = Settings().qos
        # As an engine's warm-up and rehearsal do before anybody comes.
        cost = CostModel()
        cost.learn_all([(n, 0, machine.shape_ms(n)) for n in (1, 2, 4, 8)])
        cost.learn_all([(0, n, machine.shape_ms(n)) for n in (4, 16, 64)])
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=32768,
                max_seqs=16,
                batch_tokens=512,
                settings=SchedulerSettings(),
                latency_cap=Settings().latency_cap,
                lanes=lanes,
                cut_share=1.0,
                cost=cost,
            )
        )

    def arrive(self, lane: str, n_prompt: int, n_new: int) -> None:
        self._rids += 1
        tokens = self._rng.integers(0, 30_000, n_prompt).astype(np.int32)
        self.scheduler.submit(
            Submission(
                rid=self._rids,
                tokens=tokens,
                n_prompt=n_prompt,
                max_new_tokens=n_new,
                lane=lane,
                app=f"app{self._rids}" if lane == INTERACTIVE else lane,
            ),
            self._now_ns,
        )

    def step(self) -> tuple[StepPlan, float]:
        plan = self.scheduler.plan(self._now_ns)
        took_ms = self._machine.step_ms(plan) * float(1 + NOISE * self._rng.random())
        self._now_ns += int(took_ms * 1e6)
        rids = [row.rid for row in plan.decode]
        rids += [piece.rid for piece in plan.prefill if piece.wants_logits]
        self.prompt_tokens += sum(piece.n_tokens for piece in plan.prefill)
        sampled = tuple(Sampled(rid=rid, token=1) for rid in rids)
        result = StepResult(outcome="done", sampled=sampled, device_ms=took_ms)
        for ended in self.scheduler.apply(plan, result, self._now_ns):
            if ended.prompt_tokens == BACKGROUND_TOKENS:
                self.arrive(BACKGROUND, BACKGROUND_TOKENS, 4)
        return plan, took_ms


def predict(machine: Machine, *, steps: int) -> Predicted:
    """Streams alone, then beside background; background alone."""
    run = _Run(machine)
    for _ in range(STREAMS):
        run.arrive(INTERACTIVE, PROMPT_TOKENS, 2 * steps + 400)
    for _ in range(200):
        run.step()
    run.arrive(BACKGROUND, BACKGROUND_TOKENS, 4)
    for _ in range(200):  # the mixture's costs are learnt
        run.step()
    run.prompt_tokens = 0
    felt = [run.step() for _ in range(steps)]
    solo_ms = np.array([machine.solo_ms(plan) for plan, _ in felt])
    ratios = np.array([took_ms for _, took_ms in felt]) / solo_ms
    beside_per_s = 1e3 * run.prompt_tokens / sum(took_ms for _, took_ms in felt)
    p95, p99 = np.percentile(ratios, [95, 99])

    free = _Run(machine)
    free.arrive(BACKGROUND, BACKGROUND_TOKENS, 4)
    free_ms = sum(free.step()[1] for _ in range(200))
    return Predicted(
        solo_ms=float(np.median(solo_ms)),
        p95=float(p95),
        p99=float(p99),
        longest=float(ratios.max()),
        beside_per_s=beside_per_s,
        alone_per_s=1e3 * free.prompt_tokens / free_ms,
    )


def run(options: argparse.Namespace, console: Console) -> None:
    """Predicts and prints (and writes) the table."""
    plain = []
    for are_free in (True, False):
        how = "rows are free" if are_free else "rows are not free"
        table = _table(f"predicted, {how}: {STREAMS} streams of an 8B Q4_K_M beside long prompts")
        for machine in MACHINES:
            found = predict(
                dataclasses.replace(machine, rows_are_free=are_free), steps=options.steps
            )
            told = {"machine": machine.name, "rows_are_free": are_free}
            plain.append(told | dataclasses.asdict(found))
            table.add_row(
                machine.name,
                f"{machine.bandwidth_gbps:g}",
                f"{found.solo_ms:.1f}",
                *(f"{ratio:.2f}x" for ratio in (found.p95, found.p99, found.longest)),
                *(f"{speed:.0f}" for speed in (found.beside_per_s, found.alone_per_s)),
            )
        console.print(table)
    console.print("each step against its streams alone; background prompts in tokens/s")
    for machine in MACHINES:
        console.print(f"{machine.name}: {machine.source}", style="dim", highlight=False)
    command.write(options, {"benchmark": "predict", "rows": plain})


def _table(title: str) -> Table:
    table = Table(title=title)
    for heading in ("machine", "GB/s", "solo ms", "p95", "p99", "longest", "beside", "alone"):
        table.add_column(heading, justify="left" if heading == "machine" else "right")
    return table


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("predict", __doc__)
    parser.add_argument("--steps", type=command.positive, default=1500)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
