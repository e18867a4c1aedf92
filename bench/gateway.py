"""Measures what HTTP costs: each token's delay behind the socket, CPU per token, a crowd.

Three measurements run on one daemon with its gateway, in turns within each repetition:

    pairs   one chat over the socket and the same over HTTP, at once: they decode in the same
            steps, so each token's arrival over HTTP is compared with its step's over the socket,
            on one clock; the one that is sent first alternates
    lone    one stream after another: over the socket, over HTTP, and llama-server's; time between
            tokens, and CPU of each server's whole process tree less that of bare llama.cpp
            (llama-batched-bench), which is the cost of decoding for every contender
    crowd   many streams at once over HTTP; each can say one token only, and no two the same one,
            so any word that is lost or in the wrong stream is found

All connections are Unix sockets. Not: what apps do to each other (`bench.mixed`).
"""

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench import bare, command, machine, models, peers, precedence, running
from bench.errors import BenchError
from bench.exchange import Connection, Exchange
from bench.gateway_crowd import Gateway, bounded, crowd
from bench.gateway_requests import later_us
from bench.latency import Trace, percentile
from bench.overhead import tree_cpu_s
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import Room, ServerTarget, UmadTarget
from umad.request import INTERACTIVE

SOCKET, HTTP, SERVER = "umad, its socket", "umad, HTTP", "llama-server"
GATEWAY = "the gateway alone"
_PROMPT_TOKENS = 16
_CONTEXT_TOKENS = 16_384


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """requests: of each kind and repetition. streams, words: of the crowd."""

    requests: int
    tokens: int
    streams: int
    words: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to have a stream. pids: of its servers; all they run is below them."""

    name: str
    pids: tuple[int, ...]
    connect: Callable[[], Awaitable[Connection]]


async def pairs(gateway: Gateway, asked: Asked, prompts: Prompts) -> dict[str, float]:
    """Microseconds by which tokens come later over HTTP."""
    later: list[float] = []
    for turn in range(asked.requests):
        socket, http = await gateway.over_socket(), await gateway.over_http()
        prompt = prompts.draw(_PROMPT_TOKENS)
        sent: dict[Connection, Exchange] = {}
        try:
            async with bounded("a pair"):
                for one in (socket, http) if turn % 2 else (http, socket):
                    sent[one] = await one.send(prompt, tokens=asked.tokens, lane=INTERACTIVE)
                await asyncio.gather(*(exchange.ended for exchange in sent.values()))
            later += later_us(socket.steps(sent[socket]), http.texts(sent[http]))
        finally:
            socket.close()
            http.close()
    if not later:
        raise BenchError("the streams of no pair ran together; give more --tokens")
    later.sort()
    return {"p50": statistics.median(later), "p95": percentile(later, 95)}


async def lone(contender: Contender, asked: Asked, prompts: Prompts) -> tuple[list[Trace], float]:
    """Streams one after another, and the servers' CPU seconds a token."""
    connection = await contender.connect()
    exchanges = []
    try:
        before_s = sum(map(tree_cpu_s, contender.pids))
        for _ in range(asked.requests):
            prompt = prompts.draw(_PROMPT_TOKENS)
            async with bounded(contender.name):
                exchange = await connection.send(prompt, tokens=asked.tokens, lane=INTERACTIVE)
                await exchange.ended
            exchanges.append(exchange)
        used_s = sum(map(tree_cpu_s, contender.pids)) - before_s
        traces = [connection.trace(exchange) for exchange in exchanges]
    finally:
        connection.close()
    return traces, used_s / (asked.requests * asked.tokens)


def between_ms(traces: Sequence[Trace]) -> list[float]:
    """Time between tokens, ascending."""
    return sorted(
        (later.at_ns - before.at_ns) / 1e6
        for trace in traces
        for before, later in itertools.pairwise(trace.arrivals)
    )


class Notes:
    """Samples by row and contender, one per repetition; what was said while warming up goes."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, contender: str, value: float) -> None:
        """One repetition's."""
        self.samples.setdefault(row, {}).setdefault(contender, []).append(value)


def measure(
    gateway: Gateway,
    peer: ServerTarget,
    asked: Asked,
    prompts: Prompts,
    *,
    repetitions: int,
    bare_cpu_s: Callable[[], float],
    progress: Callable[[str], None],
) -> tuple[Notes, Notes, Notes]:
    """Of pairs, of lone streams and of the gateway's CPU; a first round is thrown away."""
    contenders = [
        Contender(name=SOCKET, pids=gateway.pids, connect=gateway.over_socket),
        Contender(name=HTTP, pids=gateway.pids, connect=gateway.over_http),
        Contender(name=SERVER, pids=peer.pids, connect=lambda: peer.connect(0)),
    ]
    later, alone, own = Notes(), Notes(), Notes()
    for repetition in range(-1, repetitions):
        if repetition == 0:
            later, alone, own = Notes(), Notes(), Notes()
        stage = f"{repetition + 1}/{repetitions}" if repetition >= 0 else "warm-up"
        progress(f"{stage}  pairs")
        for row, value in asyncio.run(pairs(gateway, asked, prompts)).items():
            later.add(row, HTTP, value)
        progress(f"{stage}  bare llama.cpp")
        bare_s = bare_cpu_s()
        for contender in running.in_turn(contenders, repetition + 1):
            progress(f"{stage}  {contender.name}")
            before_s = gateway.cpu_s()
            traces, cpu_s = asyncio.run(lone(contender, asked, prompts))
            if contender.name == HTTP:
                own_s = (gateway.cpu_s() - before_s) / (asked.requests * asked.tokens)
                own.add("one stream: CPU per token, ms", GATEWAY, 1000 * own_s)
            waits = between_ms(traces)
            alone.add("between tokens p50, ms", contender.name, statistics.median(waits))
            alone.add("between tokens p95, ms", contender.name, percentile(waits, 95))
            alone.add("CPU per token, ms", contender.name, 1000 * cpu_s)
            alone.add("less bare llama.cpp's, ms", contender.name, 1000 * (cpu_s - bare_s))
        progress(f"{stage}  crowd of {asked.streams}")
        tokens_per_s, crowd_s = asyncio.run(
            crowd(gateway, prompts, streams=asked.streams, words=asked.words)
        )
        own.add(f"{asked.streams} streams: CPU per token, ms", GATEWAY, 1000 * crowd_s)
        own.add(f"{asked.streams} streams: tokens/s of all", GATEWAY, tokens_per_s)
    return later, alone, own


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables."""
    built = peers.build()
    facts = machine.facts(built)
    path = models.path(options.model)
    asked = Asked(
        requests=options.requests,
        tokens=options.tokens,
        streams=options.streams,
        words=options.words,
    )
    with contextlib.ExitStack() as stack:
        http_path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umad-"))) / "http"
        room = Room(
            model=path,
            threads=options.threads,
            streams=1,
            stream_context_tokens=_CONTEXT_TOKENS,
            prompt_progress=False,
            umad_arguments=("--http", f"unix:{http_path}"),
        )
        daemon, peer = UmadTarget(built, room), ServerTarget(built, room)
        stack.enter_context(running.started((daemon, peer)))
        gateway = Gateway(daemon, http_path)
        gateway.wait()
        # The gateway is a process that has come later.
        precedence.include_children()
        with console.status("") as status:
            tables = measure(
                gateway,
                peer,
                asked,
                Prompts(models.text_tokens(path), seed=0),
                repetitions=options.repetitions,
                bare_cpu_s=lambda: bare.cpu_s_per_token(
                    built.batched_bench,
                    path,
                    prompt_tokens=_PROMPT_TOKENS,
                    tokens=asked.tokens,
                    requests=asked.requests,
                    threads=room.threads,
                ),
                progress=status.update,
            )
    command.publish(
        options,
        console,
        benchmark="gateway",
        facts=facts,
        comparisons=_comparisons(path.stem, asked, options.repetitions, room.threads, tables),
    )


def _comparisons(
    model: str, asked: Asked, repetitions: int, threads: int, tables: tuple[Notes, Notes, Notes]
) -> list[Comparison]:
    later, alone, own = tables
    return [
        Comparison(
            kind="later",
            title=f"How much later a token comes over HTTP than over the socket, {model}",
            unit="microseconds",
            condition="figure",
            baseline=HTTP,
            samples=later.samples,
            notes=("of two streams that decode in the same steps, who is sent first alternating",),
        ),
        Comparison(
            kind="lone",
            title="One stream at a time",
            unit="as named",
            condition="figure",
            baseline=SERVER,
            samples=alone.samples,
            notes=(
                "CPU: of the server's whole process tree; umad's: daemon, engine and gateway",
                "bare llama.cpp: llama-batched-bench, which only decodes, in the same repetition",
                f"{SERVER}: {ServerTarget.method}",
            ),
        ),
        Comparison(
            kind="gateway-cpu",
            title="The gateway's own process",
            unit="as named",
            condition="figure",
            baseline=GATEWAY,
            samples=own.samples,
            notes=(
                f"{asked.streams} streams at once, {asked.words} tokens each: none lost or astray",
                f"{asked.requests} requests of {asked.tokens} tokens else; {threads} threads",
                f"median (range) of {repetitions} repetitions, ratio within each",
            ),
        ),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("gateway", __doc__, model="tiny")
    add = parser.add_argument
    add("--requests", type=command.positive, default=6, help="of a kind and repetition")
    add("--tokens", type=command.positive, default=256, help="generated per request")
    add("--streams", type=command.positive, default=200, help="of the crowd")
    add("--words", type=command.positive, default=24, help="tokens of each of its streams")
    add("--repetitions", type=command.positive, default=5)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
