"""Measures whether a budget on memory traffic holds, and what interactive clients feel of it.

There are four windows on one model: background generation without a budget; then, with a budget,
the same background, interactive clients alone, and both together. The budget is half of what the
machine can do: half of the probed bandwidth, or of the rate of the first window where that is
lower, because a budget that nothing reaches shows nothing. GB/s are the scorecard's: the bytes a
step has to touch (weights once per micro-batch, KV, logits), not a counter in the memory
controller. Beside them stands a figure that a client can compute by itself for one stream alone:
tokens per second times the weights' bytes. `bench.latency` defines the waits.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench import command, models, precedence
from bench import load as loading
from bench.errors import BenchError
from bench.latency import Felt, felt
from bench.load import Load
from bench.prompts import Prompts
from bench.targets import Room, UmadTarget
from umad.client import Client
from umad.daemon.bandwidth import machine_memory

# The scorecard's window: what was before must be out of it.
WINDOW_S = 30.0
UNHELD, HELD, ALONE, BESIDE = "background, no budget", "background", "interactive", "both"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One window. client_gbps: of one background stream alone, as its client sees it."""

    condition: str
    budget_gbps: float | None
    gbps: float
    client_gbps: float | None
    felt: Felt | None

    @property
    def of_budget(self) -> float | None:
        """Measured over allowed."""
        return None if self.budget_gbps is None else self.gbps / self.budget_gbps


class Budgeted(UmadTarget):
    """umad with or without a budget."""

    def __init__(self, model: Path, threads: int, budget_gbps: float | None) -> None:
        budget = () if budget_gbps is None else ("--bmt-budget", f"{budget_gbps}GBps")
        room = Room(
            model=model,
            threads=threads,
            streams=8,
            stream_context_tokens=1024,
            umad_arguments=budget,
        )
        super().__init__(None, room)

    def gbps(self) -> float:
        """Over the scorecard's window."""
        with Client(self.socket_path) as client:
            return float(client.metrics()["bmt_gbps"])

    def weight_bytes(self) -> int:
        """What a token touches."""
        with Client(self.socket_path) as client:
            return int(client.models()[0]["active_weight_bytes"])


def measure(
    model: Path,
    load: Load,
    *,
    threads: int,
    share: float,
    probed_gbps: float,
    seconds: float,
    progress: Callable[[str], None],
) -> list[Row]:
    """All four windows; blocks for about four times `seconds`."""
    rows = [_windows(model, threads, None, load, seconds, (UNHELD,), progress)[0]]
    budget_gbps = round(share * min(probed_gbps, rows[0].gbps), 2)
    conditions = (HELD, ALONE, BESIDE)
    return rows + _windows(model, threads, budget_gbps, load, seconds, conditions, progress)


def _windows(
    model: Path,
    threads: int,
    budget_gbps: float | None,
    load: Load,
    seconds: float,
    conditions: tuple[str, ...],
    progress: Callable[[str], None],
) -> list[Row]:
    target = Budgeted(model, threads, budget_gbps)
    prompts = Prompts(models.text_tokens(model), seed=0)
    rows = []
    try:
        target.start()
        precedence.include_children()
        for condition in conditions:
            progress(condition)
            interactive = condition in (ALONE, BESIDE)
            asked = load if interactive else dataclasses.replace(load, clients=0)
            rows.append(_window(target, asked, prompts, condition, budget_gbps, seconds))
    finally:
        target.stop()
    return rows


def _window(
    target: Budgeted,
    load: Load,
    prompts: Prompts,
    condition: str,
    budget_gbps: float | None,
    seconds: float,
) -> Row:
    seen = loading.window(target, load, prompts, seconds=seconds, background=condition != ALONE)
    gbps = target.gbps()
    client_gbps = None
    if not load.clients:
        tokens = sum(trace.arrivals[-1].tokens for trace in seen.background if trace.arrivals)
        span_s = (seen.closed_ns - seen.opened_ns) / 1e9
        client_gbps = tokens / span_s * target.weight_bytes() / 1e9
    return Row(
        condition=condition,
        budget_gbps=budget_gbps,
        gbps=gbps,
        client_gbps=client_gbps,
        felt=felt(seen.interactive, opened_ns=seen.opened_ns, closed_ns=seen.closed_ns)
        if load.clients
        else None,
    )


def table(rows: list[Row]) -> Table:
    """To print."""
    title = "memory traffic in GB/s, and what interactive clients wait for a token in ms"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("", "budget", "moved", "of it", "client's", "p50", "p95", "p99"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        seen = row.felt
        waits = ["-"] * 3
        if seen is not None:
            waits = [f"{one:.1f}" for one in (seen.p50_ms, seen.p95_ms, seen.p99_ms)]
        drawn.add_row(
            row.condition,
            _plain(row.budget_gbps),
            _plain(row.gbps),
            _plain(row.of_budget, 3),
            _plain(row.client_gbps),
            *waits,
        )
    return drawn


def _plain(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    path = models.path(options.model)
    probed_gbps = machine_memory(options.threads, os.environ).known()
    if probed_gbps is None:
        raise BenchError("this machine's bandwidth cannot be probed")
    load = Load(
        clients=options.clients,
        prompt_tokens=16,
        tokens=options.tokens,
        think_s=options.think_s,
        background_prompt_tokens=16,
        background_tokens=900,
    )
    with console.status("") as status:
        rows = measure(
            path,
            load,
            threads=options.threads,
            share=options.share,
            probed_gbps=probed_gbps,
            seconds=max(options.seconds, WINDOW_S + 1),
            progress=status.update,
        )
    console.print(f"{path.stem}: read bandwidth as probed {probed_gbps:.1f} GB/s", highlight=False)
    console.print(table(rows))
    facts = {"benchmark": "budget", "model": path.stem, "probed_gbps": probed_gbps}
    plain = [dataclasses.asdict(row) | {"of_budget": row.of_budget} for row in rows]
    command.write(options, {**facts, "rows": plain})


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("budget", __doc__, model="qwen2-0.5b")
    add = parser.add_argument
    add("--share", type=float, default=0.5, help="of what the machine can do")
    add("--seconds", type=float, default=60.0, help="of each window, at least the scorecard's")
    add("--clients", type=int, default=1, help="interactive ones")
    add("--tokens", type=int, default=48, help="generated for an interactive prompt")
    add("--think-s", type=float, default=3.0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
