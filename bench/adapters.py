"""Measures what two apps get that use one model under two LoRA adapters, and what a change costs.

Two interactive streams decode side by side on one engine. Under one adapter both are in every step.
Under two they take turns, since a context has one set of adapters at a time, and each change of it
costs time (decision 37). The figures are the tokens a second of both together, the waits between
two tokens of a stream, and the cost of a change as the engine has learnt it. Fails with exit code 1
where one of the two apps gets less than `LEAST_SHARE` of what the other one gets, or a stream waits
longer than one stay of the other set with a change and two steps around it.

The adapters have random weights (`bench.random_adapters`), two of rank 8 unless told otherwise.
Not: answers of adapters (`tests/e2e/test_adapters.py`).
"""

import argparse
import asyncio
import dataclasses
import itertools
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from rich.console import Console

from bench import cache, command, machine, models, random_adapters, running
from bench.arrivals import Arrival, decode_tokens_per_s
from bench.errors import BenchError
from bench.latency import percentile
from bench.prompts import Prompts
from bench.table import Comparison
from bench.umad_daemon import DaemonSettings, UmadDaemon, greedy
from umad.client import AsyncClient
from umad.models.files import stem_of
from umad.request import GenerateRequest
from umad.service import Failed, Tokens

ONE, TWO = "one adapter", "two adapters"
LEAST_SHARE = 0.8
# As the scheduler has it (`umad.scheduler.steps.adapter_turns`): the longest turn of a set.
MOST_STAY_MS = 200.0
_APPS = ("app-a", "app-b")
_CONTEXT_TOKENS = 1024
_STREAM_S = 300.0
_NS_PER_MS = 1e6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What two streams got side by side. Only the time in which both decode counts."""

    tokens_per_s: float
    # Tokens of the app that got fewer, of one that of the other's.
    share: float
    waits_ms: Sequence[float]
    # Tokens of one stream between two of the other.
    stays: Sequence[int]


def beside(streams: Sequence[Sequence[Arrival]]) -> Beside:
    """The figures of two streams. Raises `BenchError` where they were not side by side."""
    opens_ns = max(stream[0].at_ns for stream in streams)
    closes_ns = min(stream[-1].at_ns for stream in streams)
    times = [
        [one.at_ns for one in stream if opens_ns <= one.at_ns <= closes_ns] for stream in streams
    ]
    counts = [len(each) for each in times]
    waits_ms = [
        (later - before) / _NS_PER_MS
        for each in times
        for before, later in itertools.pairwise(each)
    ]
    in_order = sorted((at_ns, number) for number, each in enumerate(times) for at_ns in each)
    stays = [len(list(group)) for _, group in itertools.groupby(in_order, key=lambda one: one[1])]
    return Beside(
        tokens_per_s=decode_tokens_per_s(streams),
        share=min(counts) / max(counts),
        waits_ms=sorted(waits_ms),
        # The first and the last one may have been cut by the window.
        stays=stays[1:-1],
    )


def complaints(found: Sequence[Beside], *, step_ms: float, switch_ms: float) -> list[str]:
    """What is wrong with streams under two adapters; nothing where each keeps its turn."""
    said = []
    share = min(one.share for one in found)
    if share < LEAST_SHARE:
        said.append(f"one app got {share:.2f} of the tokens of the other")
    longest_ms = statistics.median([one.waits_ms[-1] for one in found])
    most_ms = MOST_STAY_MS + 2 * (switch_ms + 2 * step_ms)
    if longest_ms > most_ms:
        said.append(f"a stream waited {longest_ms:.0f} ms; a turn lasts {most_ms:.0f} at most")
    return said


async def _stream(client: AsyncClient, request: GenerateRequest) -> list[Arrival]:
    arrivals: list[Arrival] = []
    so_far = 0
    async with asyncio.timeout(_STREAM_S), aclosing(client.events(request)) as events:
        async for event in events:
            if isinstance(event, Tokens):
                so_far += len(event.ids)
                arrivals.append(Arrival(at_ns=time.perf_counter_ns(), tokens=so_far))
            elif isinstance(event, Failed):
                raise BenchError(f"umad refused: {event.message}")
    return arrivals


async def _both(
    socket: Path, names: Sequence[str], prompts: Sequence[Sequence[int]], tokens: int
) -> Beside:
    async with AsyncClient(socket) as first, AsyncClient(socket) as second:
        requests = [
            dataclasses.replace(greedy(prompt, tokens), model=name, lane="interactive", app=app)
            for name, prompt, app in zip(names, prompts, _APPS, strict=True)
        ]
        streams = await asyncio.gather(*map(_stream, (first, second), requests))
    return beside(streams)


async def _learnt_ms(socket: Path) -> float:
    async with AsyncClient(socket) as client:
        (row,) = await client.models()
        return float(row["adapter_switch_ms"] or 0.0)


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures, prints (and writes) the tables, and judges."""
    path = models.path(options.model)
    folder = cache.folder("adapters")
    with cache.exclusive("models"):
        names = [
            f"{stem_of(path)}+{stem_of(one)}"
            for one in random_adapters.both(path, folder, rank=options.rank)
        ]
    daemon = UmadDaemon(
        DaemonSettings(
            model=path,
            streams=4,
            stream_context_tokens=_CONTEXT_TOKENS,
            threads=options.threads,
            log_name="adapters",
            extra=("--model-folder", str(folder)),
            apart=True,
        )
    )
    prompts = Prompts(models.text_tokens(path), seed=0)
    asked = {ONE: (names[0], names[0]), TWO: tuple(names)}
    found: dict[str, list[Beside]] = {ONE: [], TWO: []}
    with running.started([daemon]), console.status("") as status:
        for repetition in range(-1, options.repetitions):  # the first one warms up
            order = [*asked][:: 1 if repetition % 2 else -1]
            for name in order:
                status.update(f"{max(0, repetition + 1)}/{options.repetitions}  {name}")
                drawn = [prompts.draw(options.prompt_tokens) for _ in _APPS]
                one = asyncio.run(_both(daemon.socket_path, asked[name], drawn, options.tokens))
                if repetition >= 0:
                    found[name].append(one)
        switch_ms = asyncio.run(_learnt_ms(daemon.socket_path))
    step_ms = statistics.median([percentile(one.waits_ms, 50) for one in found[ONE]])
    stays = [stay for one in found[TWO] for stay in one.stays]
    notes = (
        f"a change of adapters takes {switch_ms:.2f} ms, as the engine has learnt",
        f"a turn under two adapters: {statistics.median(stays):.0f} tokens, the median",
        f"the app with fewer tokens got {min(one.share for one in found[TWO]):.2f} of the other's",
        f"rank {options.rank}; {options.tokens} tokens a stream, {options.threads} threads",
    )
    command.publish(
        options,
        console,
        benchmark="adapters",
        facts=machine.facts(None),
        comparisons=_comparisons(path.stem, found),
        notes=notes,
    )
    if said := complaints(found[TWO], step_ms=step_ms, switch_ms=switch_ms):
        raise BenchError("; ".join(said))


def _comparisons(model: str, found: Mapping[str, Sequence[Beside]]) -> list[Comparison]:
    speeds = {name: [one.tokens_per_s for one in each] for name, each in found.items()}
    waits = {
        f"p{rank}": {
            name: [percentile(one.waits_ms, rank) for one in each] for name, each in found.items()
        }
        for rank in (50, 95, 99)
    }
    return [
        Comparison(
            kind="adapters-speed",
            title=f"{model}: two streams side by side",
            unit="tokens/s",
            condition="of",
            baseline=ONE,
            samples={"both": speeds},
        ),
        Comparison(
            kind="adapters-waits",
            title=f"{model}: between two tokens of a stream",
            unit="ms",
            condition="percentile",
            baseline=ONE,
            samples=waits,
        ),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("adapters", __doc__, model="nano")
    add, count = parser.add_argument, command.positive
    add("--rank", type=count, default=random_adapters.RANK)
    add("--tokens", type=count, default=256, help="of each stream")
    add("--prompt-tokens", type=count, default=64)
    add("--repetitions", type=count, default=5)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
