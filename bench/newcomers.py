"""Measures how long a first token takes beside running streams, and what that costs those streams.

Clients send short prompts, read the answers and think. Nobody else is there, so all that a stream
waits for is another client's prompt. Whoever reads a prompt sooner makes the running streams wait
longer: that is a curve, and every setting of the scheduler is a point on it. The settings and
llama-server take turns on running servers, so one run has the whole curve. Two more parts measure
short prompts that come all at once: on servers that have served before, and on servers that were
just started. Not: background work (`bench.mixed`).
"""

import argparse
import asyncio
import contextlib
import dataclasses
import statistics
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from bench import command, machine, models, newcomers_simulated, peers, running
from bench import load as loading
from bench.errors import BenchError
from bench.latency import Felt, felt, first_token_ms
from bench.load import Load, Target
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import Room, ServerTarget, UmadTarget
from umad.config import SchedulerSettings
from umad.request import INTERACTIVE

PARTS = ("thinking", "bursts", "first-burst")
DEFAULT = "default"
_LONGEST_S = 120.0  # of a burst
_CONTEXT_TOKENS = 1024
_THINK_SPREAD = 0.5
ROWS = {
    "first_token_p50_ms": "first token p50, ms",
    "first_token_p95_ms": "first token p95, ms",
    "p50_ms": "wait p50, ms",
    "p95_ms": "wait p95, ms",
    "p99_ms": "wait p99, ms",
    "longest_ms": "longest wait, ms",
    "tokens_per_s": "tokens/s",
}


@dataclasses.dataclass(slots=True)
class Measured:
    """Samples by contender, one of each repetition. bursts: by the number of prompts, too."""

    felt: dict[str, list[Felt]]
    bursts: dict[int, dict[str, list[float]]]
    first: dict[int, dict[str, list[float]]]


def targets_of(settings: Sequence[str], built: peers.Peers, room: Room) -> list[Target]:
    """A umad for each setting, and llama-server last. settings: values of the option
    `newcomer_ms`, or `DEFAULT`."""
    made: list[Target] = []
    for value in settings:
        options = () if value == DEFAULT else ("--scheduler-newcomer-ms", value)
        target = UmadTarget(
            built,
            dataclasses.replace(room, umad_arguments=(*room.umad_arguments, *options)),
        )
        target.name = _name(value)
        made.append(target)
    return [*made, ServerTarget(built, room)]


def _name(value: str) -> str:
    return "umad" if value == DEFAULT else f"umad, {value}"


def burst_ms(target: Target, prompts: Prompts, *, n: int, tokens: int) -> float:
    """The median first token of `n` prompts that are sent at once, each of `tokens` tokens."""
    return asyncio.run(_burst_ms(target, prompts, n=n, tokens=tokens))


async def _burst_ms(target: Target, prompts: Prompts, *, n: int, tokens: int) -> float:
    async with contextlib.AsyncExitStack() as stack:
        connections = [await target.connect(client) for client in range(n)]
        for connection in connections:
            stack.callback(connection.close)
        try:
            async with asyncio.timeout(_LONGEST_S):
                sent = [
                    await connection.send(prompts.draw(tokens), tokens=8, lane=INTERACTIVE)
                    for connection in connections
                ]
                for exchange in sent:
                    await exchange.ended
        except TimeoutError as error:
            raise BenchError(f"{target.name}: no answer within {_LONGEST_S:.0f} s") from error
        traces = [
            connection.trace(exchange)
            for connection, exchange in zip(connections, sent, strict=True)
        ]
    return statistics.median([first_token_ms(trace) for trace in traces])


def measure(
    targets: Sequence[Target],
    load: Load,
    prompts: Prompts,
    *,
    seconds: float,
    repetitions: int,
    bursts: Sequence[int],
    parts: Sequence[str],
    progress: Callable[[str], None],
) -> Measured:
    """Measures the asked parts. `targets` have not been started. Blocks for all windows together,
    and for the starts of servers."""
    names = [target.name for target in targets]
    measured = Measured(
        felt={name: [] for name in names},
        bursts={n: {name: [] for name in names} for n in bursts},
        first={n: {name: [] for name in names} for n in bursts},
    )
    if "first-burst" in parts:
        for repetition in range(repetitions):
            for target in running.in_turn(targets, repetition):
                for n in bursts:
                    progress(f"{repetition + 1}/{repetitions}  {target.name}  first burst of {n}")
                    with running.started([target]):
                        found = burst_ms(target, prompts, n=n, tokens=load.prompt_tokens)
                    measured.first[n][target.name].append(found)
    if not {"thinking", "bursts"} & set(parts):
        return measured
    with running.started(targets):
        for target in targets:
            progress(f"warm-up  {target.name}")
            for n in (1, load.clients):
                burst_ms(target, prompts, n=n, tokens=load.prompt_tokens)
        for repetition in range(repetitions):
            for target in running.in_turn(targets, repetition):
                stage = f"{repetition + 1}/{repetitions}  {target.name}"
                if "thinking" in parts:
                    progress(f"{stage}  clients that think")
                    seen = loading.window(target, load, prompts, seconds=seconds, background=False)
                    times = {"opened_ns": seen.opened_ns, "closed_ns": seen.closed_ns}
                    measured.felt[target.name].append(felt(seen.interactive, **times))
            for n in bursts if "bursts" in parts else ():
                for target in running.in_turn(targets, repetition + n):
                    progress(f"{repetition + 1}/{repetitions}  {target.name}  burst of {n}")
                    found = burst_ms(target, prompts, n=n, tokens=load.prompt_tokens)
                    measured.bursts[n][target.name].append(found)
    return measured


def comparisons(measured: Measured, *, title: str, base: str) -> list[Comparison]:
    """A table for each part that was measured; ratios are to `base`."""
    thinking = {
        label: {
            name: [getattr(figures, field) for figures in felts]
            for name, felts in measured.felt.items()
        }
        for field, label in ROWS.items()
    }
    parts = (
        ("thinking", "clients that think", "figure", "ms and tokens/s", thinking),
        ("bursts", "first tokens of a burst, median", "prompts", "ms", _rows(measured.bursts)),
        ("first", "first burst after a load, median", "prompts", "ms", _rows(measured.first)),
    )
    return [
        Comparison(
            kind=kind,
            title=f"{title}: {what}",
            unit=unit,
            condition=condition,
            baseline=base,
            samples=samples,
        )
        for kind, what, condition, unit, samples in parts
        if samples and all(all(each.values()) for each in samples.values())
    ]


def _rows(found: dict[int, dict[str, list[float]]]) -> dict[str, dict[str, list[float]]]:
    return {str(n): samples for n, samples in found.items()}


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables."""
    load = Load(
        clients=options.clients,
        prompt_tokens=options.prompt_tokens,
        tokens=options.tokens,
        think_s=options.think_s,
        background_prompt_tokens=0,
        background_tokens=0,
        think_spread=_THINK_SPREAD,
    )
    if options.simulated:
        _simulate(options, load, console)
        return
    built = peers.build()
    path = models.path(options.model)
    room = Room(
        model=path,
        threads=options.threads,
        streams=max(options.clients, *options.bursts),
        stream_context_tokens=_CONTEXT_TOKENS,
    )
    targets = targets_of(options.settings, built, room)
    with console.status("") as status:
        measured = measure(
            targets,
            load,
            Prompts(models.text_tokens(path), seed=0),
            seconds=options.seconds,
            repetitions=options.repetitions,
            bursts=options.bursts,
            parts=options.parts,
            progress=status.update,
        )
    notes = (
        (
            f"{load.clients} clients: {load.prompt_tokens} prompt and {load.tokens} generated"
            f" tokens, {load.think_s:g} s think time, give or take a half;"
            f" {room.threads} threads; windows of"
            f" {options.seconds:g} s, {options.repetitions} interleaved repetitions"
        ),
        "median (range) over repetitions; ratios are taken within each repetition",
        *(f"{target.name}: {target.method}" for target in targets),
    )
    tables = comparisons(measured, title=path.stem, base=targets[-1].name)
    command.publish(
        options,
        console,
        benchmark="newcomers",
        facts=machine.facts(built),
        comparisons=tables,
        notes=notes,
    )


def _simulate(options: argparse.Namespace, load: Load, console: Console) -> None:
    settings = {
        _name(value): SchedulerSettings()
        if value == DEFAULT
        else SchedulerSettings(newcomer_ms=float(value))
        for value in options.settings
    }
    found = newcomers_simulated.curve(
        load, settings, seconds=options.seconds, seeds=range(options.repetitions)
    )
    measured = Measured(felt=found, bursts={}, first={})
    command.publish(
        options,
        console,
        benchmark="newcomers",
        facts=machine.facts(None),
        comparisons=comparisons(measured, title="simulated", base="llama-server"),
        notes=("median (range) over seeds of a simulation, nothing was measured",),
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("newcomers", __doc__, model="qwen2-0.5b")
    add = parser.add_argument
    add(
        "--settings",
        nargs="+",
        default=(DEFAULT,),
        metavar="N",
        help=f"values of newcomer_ms, each a point of the curve; {DEFAULT} for umad's own",
    )
    add("--simulated", action="store_true", help="on a device of published figures, no servers")
    add("--parts", nargs="+", choices=PARTS, default=PARTS[:2], help="what is measured")
    add("--seconds", type=float, default=20.0, help="of each window")
    add("--repetitions", type=command.positive, default=3)
    add("--clients", type=command.positive, default=3)
    add("--think-s", type=command.seconds, default=0.5)
    add("--prompt-tokens", type=command.positive, default=60)
    add("--tokens", type=command.positive, default=48, help="generated for each prompt")
    add("--bursts", type=command.positive, nargs="+", default=(2, 4, 8), help="prompts at once")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
