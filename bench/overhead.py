"""Measures what a single stream pays for the server around llama.cpp: first token, CPU per token.

Benchmark C. One client sends one short request after another, on a model so small that the server's
own work shows. CPU is user and system time of the server's whole process tree, and of this process,
which sends, records, and decodes every message as an app must (msgpack or JSON); all of it is
divided by the generated tokens. It includes the model's own arithmetic, the same for every
contender. So another table sets the servers' CPU beside that of bare llama.cpp
(llama-batched-bench, which samples nothing), the least any of them can need. Contenders take turns
within each repetition. Not: how many streams share a server (`bench.speed`), nor what they do to
each other (`bench.mixed`).
"""

import argparse
import asyncio
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import psutil
from rich.console import Console

from bench import bare, command, machine, models, peers, running
from bench.errors import BenchError
from bench.exchange import Exchange
from bench.latency import first_token_ms, percentile
from bench.load import Target
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import TARGETS, Room, UmadTarget
from umad.client import Client
from umad.request import INTERACTIVE

BARE = "bare llama.cpp"
_SERVER_CPU = "server CPU per token, ms"
# Ratios are taken to the last one; a server per app is llama-server where there is one app.
_CONTENDERS = ("umad", "llama-cpp-python", "llama-server")
_ROOM_TOKENS = 1024
_REQUEST_S = 120.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One contender's run of many requests; times of all of them together."""

    first_token_ms: tuple[float, ...]  # of each request
    tokens: int
    streaming_s: float  # from each first token to its stream's end
    server_cpu_s: float
    client_cpu_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every request asks for."""

    requests: int
    prompt_tokens: int
    tokens: int
    pause_s: float  # between requests, so that each comes to a server that is idle


# The rows of the table.
FIGURES: dict[str, Callable[[Run], float]] = {
    "first token p50, ms": lambda run: statistics.median(run.first_token_ms),
    "first token p95, ms": lambda run: percentile(sorted(run.first_token_ms), 95),
    _SERVER_CPU: lambda run: 1000 * run.server_cpu_s / run.tokens,
    "client CPU per token, ms": lambda run: 1000 * run.client_cpu_s / run.tokens,
    "CPU per token, ms": lambda run: 1000 * (run.server_cpu_s + run.client_cpu_s) / run.tokens,
    "tokens/s": lambda run: (run.tokens - len(run.first_token_ms)) / run.streaming_s,
}


def measure(
    targets: Sequence[Target],
    asked: Asked,
    prompts: Prompts,
    *,
    repetitions: int,
    bare_cpu_s: Callable[[], float],
    progress: Callable[[str], None],
) -> tuple[dict[str, list[Run]], list[float]]:
    """Runs by contender, and seconds of `bare_cpu_s`, one per repetition; a first round is
    thrown away."""
    runs: dict[str, list[Run]] = {target.name: [] for target in targets}
    bare_s: list[float] = []
    for repetition in range(-1, repetitions):
        for target in running.in_turn(targets, repetition + 1):
            stage = f"{repetition + 1}/{repetitions}" if repetition >= 0 else "warm-up"
            progress(f"{stage}  {target.name}")
            run = asyncio.run(_run(target, asked, prompts))
            if repetition >= 0:
                runs[target.name].append(run)
        if repetition >= 0:
            progress(f"{repetition + 1}/{repetitions}  {BARE}")
            bare_s.append(bare_cpu_s())
    return runs, bare_s


def samples_of(runs: dict[str, list[Run]]) -> dict[str, dict[str, list[float]]]:
    """Each figure of each run: row, contender, one per repetition."""
    return {
        label: {name: [figure(run) for run in each] for name, each in runs.items()}
        for label, figure in FIGURES.items()
    }


async def _run(target: Target, asked: Asked, prompts: Prompts) -> Run:
    connection = await target.connect(0)
    exchanges: list[Exchange] = []
    drawn = [prompts.draw(asked.prompt_tokens) for _ in range(asked.requests)]
    try:
        server_before_s, client_before_s = _cpu_s(target), time.process_time()
        for prompt in drawn:
            try:
                async with asyncio.timeout(_REQUEST_S):
                    exchange = await connection.send(prompt, tokens=asked.tokens, lane=INTERACTIVE)
                    await exchange.ended
            except TimeoutError as error:
                raise BenchError(f"{target.name} did not end a request in time") from error
            exchanges.append(exchange)
            connection.decode(exchange)
            await asyncio.sleep(asked.pause_s)
        client_s = time.process_time() - client_before_s
        server_s = _cpu_s(target) - server_before_s
        traces = [connection.trace(exchange) for exchange in exchanges]
    finally:
        connection.close()
    if all(len(trace.arrivals) < 2 for trace in traces):
        raise BenchError(
            f"{target.name} ended every stream at its first token; choose a --model whose text"
            " does not end there"
        )
    return Run(
        first_token_ms=tuple(first_token_ms(trace) for trace in traces),
        tokens=sum(trace.arrivals[-1].tokens for trace in traces),
        streaming_s=sum(trace.arrivals[-1].at_ns - trace.arrivals[0].at_ns for trace in traces)
        / 1e9,
        server_cpu_s=server_s,
        client_cpu_s=client_s,
    )


def _cpu_s(target: Target) -> float:
    return sum(tree_cpu_s(pid) for pid in target.pids)


def tree_cpu_s(pid: int) -> float:
    """User and system seconds so far of a process and all below it that still run."""
    top = psutil.Process(pid)
    times = [each.cpu_times() for each in (top, *top.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def copies_per_token(target: Target) -> float | None:
    """Copied logits rows of the tokens of the scorecard's window; None where that is not told."""
    if not isinstance(target, UmadTarget):
        return None
    with Client(target.socket_path) as client:
        copy_free = client.metrics()["copy_free_ratio"]
    return None if copy_free is None else 1.0 - float(copy_free)


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    built = peers.build()
    facts = machine.facts(built)
    path = models.path(options.model)
    asked = Asked(
        requests=options.requests,
        prompt_tokens=options.prompt_tokens,
        tokens=options.tokens,
        pause_s=options.pause_s,
    )
    room = Room(
        model=path,
        threads=options.threads,
        streams=1,
        stream_context_tokens=_ROOM_TOKENS + asked.prompt_tokens + asked.tokens,
        prompt_progress=False,
    )
    targets = [TARGETS[key](built, room) for key in options.contenders]
    with running.started(targets):
        with console.status("") as status:
            runs, bare_s = measure(
                targets,
                asked,
                Prompts(models.text_tokens(path), seed=0),
                repetitions=options.repetitions,
                bare_cpu_s=lambda: bare.cpu_s_per_token(
                    built.batched_bench,
                    path,
                    prompt_tokens=asked.prompt_tokens,
                    tokens=asked.tokens,
                    requests=asked.requests,
                    threads=room.threads,
                ),
                progress=status.update,
            )
        counted = {target.name: copies_per_token(target) for target in targets}
        copies = {name: [count] for name, count in counted.items() if count is not None}
    notes = (
        (
            f"one stream, {asked.requests} requests of {asked.prompt_tokens} prompt and"
            f" {asked.tokens} generated tokens, {asked.pause_s:g} s apart; {room.threads} threads;"
            f" {options.repetitions} interleaved repetitions"
        ),
        f"median (range) over repetitions; ratio to {targets[-1].name} within each repetition",
        "CPU: user and system time, the model's arithmetic included",
        *(f"{target.name}: {target.method}" for target in targets),
    )
    samples = samples_of(runs)
    floor = {BARE: [1000 * each for each in bare_s], **samples[_SERVER_CPU]}
    tables = [
        Comparison(
            kind="overhead",
            title=f"Overhead on {path.stem}",
            unit="as named",
            condition="figure",
            baseline=targets[-1].name,
            samples=samples,
            notes=notes,
        ),
        Comparison(
            kind="server-cpu",
            title="Beside the model's own arithmetic",
            unit="ms",
            condition="figure",
            baseline=BARE,
            samples={_SERVER_CPU: floor},
        ),
    ]
    if copies:
        tables.append(
            Comparison(
                kind="copies",
                title="Copies of a logits row on its way to the sampler",
                unit="a token",
                condition="figure",
                baseline=next(iter(copies)),
                samples={"copies": copies},
                notes=("as the scorecard counts them; the others do not tell",),
            )
        )
    command.publish(options, console, benchmark="overhead", facts=facts, comparisons=tables)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("overhead", __doc__, model="tiny")
    add = parser.add_argument
    add("--contenders", nargs="+", choices=TARGETS, default=_CONTENDERS, metavar="NAME")
    add("--requests", type=int, default=20, help="per contender and repetition")
    add("--prompt-tokens", type=int, default=16)
    add("--tokens", type=int, default=128, help="generated per request")
    add("--pause-s", type=float, default=0.05, help="between requests")
    add("--repetitions", type=int, default=5)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
