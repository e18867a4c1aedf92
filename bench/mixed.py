"""Measures what interactive clients feel while another client's long prompts are computed.

Benchmark A. There are four conditions, on one running server each: interactive clients alone; the
same beside a client that sends long prompts again and again; those prompts alone; and one
interactive request that arrives in the middle of a long prefill with no other client there, against
its like on an idle server. Contenders take turns. The runs alone and beside follow each other and
change order, so that drift of the machine falls on both. Ratios are taken within a repetition.
`bench.latency` defines the waits, `bench.load` what clients do. Not: decode speed (`bench.speed`).
"""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from bench import command, machine, models, peers, running
from bench import load as loading
from bench.latency import Felt, felt, left_idle, prompt_tokens_per_s
from bench.load import Load, Target
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import DEFAULT_TARGETS, TARGETS, Room, UmadTarget, targets_of

ALONE, BESIDE, NOBODY_ELSE = "alone", "beside background", "background alone"
IDLE, BUSY = "idle", "mid-prefill"
_LEAST_IDLE = 0.01  # of a window; what background got in less says nothing of who gets idle time
_LEFT, _TAKEN = "time without a client, %", "background's of it, %"
PARTS = ("load", "background", "arrivals")
_ROOM_STEP = 1024  # a stream's context is a multiple of this
_LABELS = {
    "p50_ms": "wait p50, ms",
    "p95_ms": "wait p95, ms",
    "p99_ms": "wait p99, ms",
    "longest_ms": "longest wait, ms",
    "first_token_p50_ms": "first token p50, ms",
    "first_token_p95_ms": "first token p95, ms",
    "tokens_per_s": "interactive tokens/s",
}


@dataclasses.dataclass(slots=True)
class Measured:
    """Samples of all contenders, one per repetition (arrivals: one per arrival)."""

    felt: dict[str, dict[str, list[Felt]]]  # contender, condition
    background: dict[str, dict[str, list[float]]]  # condition, contender: prompt tokens/s
    idle: dict[str, list[float]]  # contender: share of the time beside background without a client
    arrivals: dict[str, dict[str, list[float]]]  # contender, idle or mid-prefill: ms


def measure(
    targets: Sequence[Target],
    load: Load,
    prompts: Prompts,
    *,
    seconds: float,
    repetitions: int,
    arrivals: int,
    parts: Sequence[str],
    progress: Callable[[str], None],
) -> Measured:
    """Runs all conditions; blocks for about all windows together and what settling takes."""
    names = [target.name for target in targets]
    measured = Measured(
        felt={name: {ALONE: [], BESIDE: []} for name in names},
        background={row: {name: [] for name in names} for row in (BESIDE, NOBODY_ELSE)},
        idle={name: [] for name in names},
        arrivals={name: {IDLE: [], BUSY: []} for name in names},
    )
    prefill_s = {}
    for target in targets:
        progress(f"warm-up  {target.name}")
        prefill_s[target.name] = loading.warm_up(target, load, prompts)
    for repetition in range(repetitions):
        for target in running.in_turn(targets, repetition):
            stage = f"{repetition + 1}/{repetitions}  {target.name}"
            if "load" in parts:
                order = (ALONE, BESIDE) if repetition % 2 == 0 else (BESIDE, ALONE)
                for condition in order:
                    progress(f"{stage}  {condition}")
                    _add_window(measured, target, load, prompts, condition, seconds)
            if "background" in parts:
                progress(f"{stage}  {NOBODY_ELSE}")
                seen = loading.background_alone(target, load, prompts, seconds=seconds)
                speed = prompt_tokens_per_s(
                    seen.background, opened_ns=seen.opened_ns, closed_ns=seen.closed_ns
                )
                measured.background[NOBODY_ELSE][target.name].append(speed)
            for index in range(arrivals if "arrivals" in parts else 0):
                progress(f"{stage}  arrival {index + 1}/{arrivals}")
                idle_ms, busy_ms = loading.arrival_ms(
                    target, load, prompts, prefill_s=prefill_s[target.name]
                )
                measured.arrivals[target.name][IDLE].append(idle_ms)
                measured.arrivals[target.name][BUSY].append(busy_ms)
    return measured


def comparisons(measured: Measured, *, title: str, names: Sequence[str]) -> list[Comparison]:
    """Tables: each contender against itself alone, then contenders against each other."""
    tables = []

    def add(
        kind: str,
        what: str,
        unit: str,
        condition: str,
        base: str,
        samples: dict[str, dict[str, list[float]]],
    ) -> None:
        filled = {row: each for row, each in samples.items() if all(each.values())}
        if filled:
            tables.append(
                Comparison(
                    kind=kind,
                    title=f"{title}: {what}",
                    unit=unit,
                    condition=condition,
                    baseline=base,
                    samples=filled,
                )
            )

    for name in names:
        add(
            f"cost-{name.replace(' ', '-')}",
            f"{name}, against itself alone",
            "ms and tokens/s",
            "figure",
            ALONE,
            _rows(measured.felt[name]),
        )
    for condition in (ALONE, BESIDE):
        columns = {name: measured.felt[name][condition] for name in names}
        kind = f"interactive-{condition.partition(' ')[0]}"
        what = f"interactive {condition}"
        add(kind, what, "ms and tokens/s", "figure", names[-1], _rows(columns))
    background = measured.background
    add("background", "background prompts", "tokens/s", "condition", names[-1], background)
    add("left", "what clients leave idle", "%", "figure", names[-1], _left(measured))
    add("arrivals", "first token of one arrival", "ms", "contender", IDLE, measured.arrivals)
    return tables


def guard_line(measured: Measured, name: str) -> str:
    """What the guard promises, in a line: the largest ratio of the 95th percentiles, and the
    longest wait beside background in steps. A step is the median wait alone. "" where nothing of
    `name` was measured."""
    pairs = list(zip(*measured.felt.get(name, {}).values(), strict=True))
    if not pairs:
        return ""
    p95 = max(beside.p95_ms / alone.p95_ms for alone, beside in pairs)
    longest = max(beside.longest_ms / alone.p50_ms for alone, beside in pairs)
    return f"{name}: p95 at most {p95:.2f} of alone, longest wait {longest:.1f} steps"


def _add_window(
    measured: Measured,
    target: Target,
    load: Load,
    prompts: Prompts,
    condition: str,
    seconds: float,
) -> None:
    seen = loading.window(target, load, prompts, seconds=seconds, background=condition == BESIDE)
    times = {"opened_ns": seen.opened_ns, "closed_ns": seen.closed_ns}
    measured.felt[target.name][condition].append(felt(seen.interactive, **times))
    if condition == BESIDE:
        speed = prompt_tokens_per_s(seen.background, **times)
        measured.background[BESIDE][target.name].append(speed)
        measured.idle[target.name].append(left_idle(seen.interactive, **times))


def _left(measured: Measured) -> dict[str, dict[str, list[float]]]:
    """Per cent of the time that no client had a request under way, and of that time what the
    background's tokens beside them would have taken alone."""
    left: dict[str, dict[str, list[float]]] = {_LEFT: {}, _TAKEN: {}}
    for name, shares in measured.idle.items():
        beside, alone = (measured.background[row][name] for row in (BESIDE, NOBODY_ELSE))
        left[_LEFT][name] = [100 * share for share in shares]
        left[_TAKEN][name] = [
            100 * some / (share * all_of_it)
            for some, all_of_it, share in zip(beside, alone, shares, strict=False)
            if share >= _LEAST_IDLE and all_of_it
        ]
    return left


def _rows(columns: dict[str, list[Felt]]) -> dict[str, dict[str, list[float]]]:
    return {
        label: {
            column: [getattr(figures, field) for figures in felts]
            for column, felts in columns.items()
        }
        for field, label in _LABELS.items()
    }


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables."""
    alone = set(options.contenders) == {UmadTarget.name}
    built = peers.built() if alone else peers.build()
    facts = machine.facts(built)
    path = models.path(options.model)
    load = Load(
        clients=options.clients,
        prompt_tokens=options.prompt_tokens,
        tokens=options.tokens,
        think_s=options.think_s,
        background_prompt_tokens=options.background_prompt_tokens,
        background_tokens=options.background_tokens,
    )
    longest = max(
        load.background_prompt_tokens + load.background_tokens, load.prompt_tokens + load.tokens
    )
    room = Room(
        model=path,
        threads=options.threads,
        streams=load.clients + 1,
        stream_context_tokens=(longest // _ROOM_STEP + 1) * _ROOM_STEP,
        umad_arguments=tuple(shlex.split(options.umad)),
    )
    targets = targets_of(options.contenders, built, room)
    with running.started(targets), console.status("") as status:
        measured = measure(
            targets,
            load,
            Prompts(models.text_tokens(path), seed=0),
            seconds=options.seconds,
            repetitions=options.repetitions,
            arrivals=options.arrivals,
            parts=options.parts,
            progress=status.update,
        )
    notes = (
        (
            f"{load.clients} interactive clients: {load.prompt_tokens} prompt and {load.tokens}"
            f" generated tokens, {load.think_s:g} s think time; background:"
            f" {load.background_prompt_tokens} and {load.background_tokens} again and again;"
            f" {room.threads} threads; windows of {options.seconds:g} s,"
            f" {options.repetitions} interleaved repetitions"
        ),
        (
            "a wait is the time between two messages with text, one wait however many tokens came;"
            " a stalled wait that the window's end cut off counts at the length it had"
        ),
        "median (range) over repetitions; ratios are taken within each repetition",
        *(line for target in targets if (line := guard_line(measured, target.name))),
        *(f"{target.name}: {target.method}" for target in targets),
    )
    tables = comparisons(measured, title=path.stem, names=[target.name for target in targets])
    command.publish(
        options, console, benchmark="mixed", facts=facts, comparisons=tables, notes=notes
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("mixed", __doc__, model="qwen2-0.5b")
    add = parser.add_argument
    add("--contenders", nargs="+", choices=TARGETS, default=DEFAULT_TARGETS, metavar="NAME")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what is measured")
    add("--seconds", type=float, default=20.0, help="of each window")
    add("--repetitions", type=int, default=3)
    add("--think-s", type=float, default=0.5)
    add("--clients", type=int, default=3, help="interactive ones")
    add("--prompt-tokens", type=int, default=60)
    add("--tokens", type=int, default=48, help="generated for an interactive prompt")
    add("--background-prompt-tokens", type=int, default=2700)
    add("--background-tokens", type=int, default=4)
    add("--arrivals", type=int, default=3, help="per repetition, each idle and mid-prefill")
    add("--umad", default="", metavar="OPTIONS", help="added to `umad serve`, in one argument")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
