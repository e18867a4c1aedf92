"""Measures four apps at once: their throughput together, and the memory that serving them takes.

Every app asks again as soon as it is answered. One umad, one llama-server or one llama-cpp-python
(a request at a time) serves them all. The last contender is every app with a server of its own:
four llama-servers, four times the threads, four times the model. Memory is the proportional set
size of a contender's process tree while its apps are at work: a page that several processes map
counts once. Contenders take turns, one at work at a time, all of them loaded. Not: what apps do to
each other's latency (`bench.mixed`).
"""

import argparse
import contextlib
import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import psutil
from rich.console import Console

from bench import command, machine, models, peers, running
from bench import load as loading
from bench.latency import felt
from bench.load import Load, Target
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import TARGETS, Room

_MIB = 2**20
_CONTENDERS = ("umad", "llama-cpp-python", "llama-server", "server-per-app")
_WARM_UP_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One contender's window. pss_bytes: None where the system does not tell."""

    tokens_per_s: float
    first_token_p50_ms: float
    pss_bytes: int | None


def measure(
    targets: Sequence[Target],
    load: Load,
    prompts: Prompts,
    *,
    seconds: float,
    repetitions: int,
    progress: Callable[[str], None],
) -> dict[str, list[Run]]:
    """Runs by contender, one per repetition; blocks for all windows together."""
    runs: dict[str, list[Run]] = {target.name: [] for target in targets}
    for target in targets:
        progress(f"warm-up  {target.name}")
        loading.window(target, load, prompts, seconds=_WARM_UP_S, background=False)
    for repetition in range(repetitions):
        for target in running.in_turn(targets, repetition):
            progress(f"{repetition + 1}/{repetitions}  {target.name}")
            with _weighed(target, seconds) as pss_bytes:
                seen = loading.window(target, load, prompts, seconds=seconds, background=False)
            times = {"opened_ns": seen.opened_ns, "closed_ns": seen.closed_ns}
            figures = felt(seen.interactive, **times)
            runs[target.name].append(
                Run(
                    tokens_per_s=figures.tokens_per_s,
                    first_token_p50_ms=figures.first_token_p50_ms,
                    pss_bytes=pss_bytes[0] if pss_bytes else None,
                )
            )
    return runs


def tree_pss_bytes(pids: Sequence[int]) -> int | None:
    """Proportional set size of these processes and all below them; None where unknown."""
    if not psutil.LINUX:
        return None
    total = 0
    for pid in pids:
        top = psutil.Process(pid)
        for each in (top, *top.children(recursive=True)):
            # A helper that has just ended holds nothing.
            with contextlib.suppress(psutil.NoSuchProcess):
                total += int(each.memory_full_info().pss)
    return total


@contextlib.contextmanager
def _weighed(target: Target, seconds: float) -> Iterator[list[int]]:
    """Weighs the target in the middle of what runs inside; empty where that is not told."""
    found: list[int] = []

    def weigh() -> None:
        pss_bytes = tree_pss_bytes(target.pids)
        if pss_bytes is not None:
            found.append(pss_bytes)

    # The loop measures times, so it is another thread that reads /proc.
    timer = threading.Timer(seconds / 2, weigh)
    timer.start()
    try:
        yield found
    finally:
        timer.cancel()
        timer.join()


def comparisons(
    runs: dict[str, list[Run]], *, title: str, model_bytes: int, baseline: str
) -> list[Comparison]:
    """One table: what the apps got, and what it took."""
    figures: dict[str, Callable[[Run], float | None]] = {
        "tokens/s of all apps": lambda run: run.tokens_per_s,
        "first token p50, ms": lambda run: run.first_token_p50_ms,
        "memory, MiB": lambda run: None if run.pss_bytes is None else run.pss_bytes / _MIB,
        "memory, times the model": lambda run: (
            None if run.pss_bytes is None else run.pss_bytes / model_bytes
        ),
    }
    samples: dict[str, dict[str, list[float]]] = {}
    for label, figure in figures.items():
        found = {name: [figure(run) for run in each] for name, each in runs.items()}
        known = {
            name: [value for value in each if value is not None] for name, each in found.items()
        }
        if all(known.values()):
            samples[label] = known
    return [
        Comparison(
            kind="apps",
            title=title,
            unit="as named",
            condition="figure",
            baseline=baseline,
            samples=samples,
        )
    ]


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    built = peers.build()
    facts = machine.facts(built)
    path = models.path(options.model)
    load = Load(
        clients=options.apps,
        prompt_tokens=options.prompt_tokens,
        tokens=options.tokens,
        think_s=0.0,
        background_prompt_tokens=1,
        background_tokens=1,
    )
    room = Room(
        model=path,
        threads=options.threads,
        streams=options.apps,
        stream_context_tokens=options.context_tokens,
        prompt_progress=False,
    )
    targets = [TARGETS[key](built, room) for key in options.contenders]
    with running.started(targets), console.status("") as status:
        runs = measure(
            targets,
            load,
            Prompts(models.text_tokens(path), seed=0),
            seconds=options.seconds,
            repetitions=options.repetitions,
            progress=status.update,
        )
    notes = (
        (
            f"{load.clients} apps, {load.prompt_tokens} prompt and {load.tokens} generated tokens"
            f" again and again; {room.stream_context_tokens} tokens of context an app;"
            f" {room.threads} threads a server; windows of {options.seconds:g} s,"
            f" {options.repetitions} interleaved repetitions"
        ),
        "median (range) over repetitions; ratios are taken within each repetition",
        "memory: proportional set size of the process tree, while the apps are at work",
        *(f"{target.name}: {target.method}" for target in targets),
    )
    tables = comparisons(
        runs,
        title=f"{load.clients} apps on {path.stem}",
        model_bytes=path.stat().st_size,
        baseline=targets[-1].name,
    )
    command.publish(
        options, console, benchmark="four-apps", facts=facts, comparisons=tables, notes=notes
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("four-apps", __doc__, model="qwen2-0.5b")
    add = parser.add_argument
    add("--contenders", nargs="+", choices=TARGETS, default=_CONTENDERS, metavar="NAME")
    add("--apps", type=command.positive, default=4)
    add("--prompt-tokens", type=command.positive, default=16)
    add("--tokens", type=command.positive, default=128, help="generated for a prompt")
    add("--context-tokens", type=command.positive, default=1024, help="room for each app")
    add("--seconds", type=command.seconds, default=20.0, help="of each window")
    add("--repetitions", type=command.positive, default=5)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
