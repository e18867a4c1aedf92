"""Measures decode speed deep in a long context, for every type of the KV cache.

Benchmark B. At such depths a token reads more of the KV cache than of a small model's weights. So
the cache's type decides what a token moves: weights + cells read and written + logits, as umad
accounts for it (sum of BMT). For each type umad and llama-server load it, compute one long prompt
per depth, and then take turns in decoding behind it. The prompt stays in the prefix cache of both,
so a repetition costs only a decode. A type without an exact match in llama.cpp runs as the nearest
one there is, on both sides, and the notes say which. Speed is the number of tokens between a
stream's first and last message, per second. Not: how fast long prompts are computed beside others
(`bench.mixed`).
"""

import argparse
import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console

from bench import command, machine, models, peers, running
from bench.arrivals import decode_tokens_per_s
from bench.errors import BenchError
from bench.exchange import Connection
from bench.latency import first_token_ms
from bench.load import Target
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import Room, ServerTarget, UmadTarget
from umad.client import Client
from umad.request import INTERACTIVE

# umad's names, and what llama-server calls the type that umad's engine keeps for each.
KV_TYPES = {"f16": "f16", "q8": "q8_0", "q6": "q5_1", "q4": "q4_0"}
_LOGIT_BYTES = 4
_PAD_TOKENS = 256  # llama.cpp rounds a context up to it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the engine says of its model. kv_type: the one really kept."""

    weight_bytes: int
    kv_cell_bytes: int
    vocabulary_tokens: int
    kv_type: str

    def mb_per_token(self, depth_tokens: int) -> float:
        """Moved by one token of a single stream that far in: every cell read, one written."""
        cells = self.kv_cell_bytes * (depth_tokens + 1)
        return (self.weight_bytes + cells + _LOGIT_BYTES * self.vocabulary_tokens) / 1e6


@dataclasses.dataclass(slots=True, kw_only=True)
class Measured:
    """Everything by (KV type, depth). prefill_s: of the whole prompt, once."""

    speeds: dict[tuple[str, int], dict[str, list[float]]]
    prefill_s: dict[tuple[str, int], dict[str, list[float]]]
    traffic: dict[str, Traffic]


def measure(
    start: Callable[[str], contextlib.AbstractContextManager[Sequence[Target]]],
    *,
    traffic: Callable[[Target], Traffic],
    kv_types: Sequence[str],
    depths: Sequence[int],
    prompts: Prompts,
    tokens: int,
    repetitions: int,
    timeout_s: float,
    progress: Callable[[str], None],
) -> Measured:
    """Blocks until all types were measured; `start` runs a type's targets, umad first."""
    measured = Measured(speeds={}, prefill_s={}, traffic={})
    for kv_type in kv_types:
        progress(f"{kv_type}  loading")
        with start(kv_type) as targets:
            measured.traffic[kv_type] = traffic(targets[0])
            for depth in depths:
                at = (kv_type, depth)
                measured.speeds[at] = {target.name: [] for target in targets}
                measured.prefill_s[at] = {}
                prompt = prompts.draw(depth - tokens)
                for target in targets:
                    progress(f"{kv_type}  {depth} tokens  {target.name}  prompt")
                    first_s, _ = asyncio.run(_one(target, prompt, tokens, timeout_s))
                    measured.prefill_s[at][target.name] = [first_s]
                for repetition in range(repetitions):
                    for target in running.in_turn(targets, repetition):
                        progress(
                            f"{kv_type}  {depth} tokens  {target.name}"
                            f"  {repetition + 1}/{repetitions}"
                        )
                        _, speed = asyncio.run(_one(target, prompt, tokens, timeout_s))
                        measured.speeds[at][target.name].append(speed)
    return measured


async def _one(
    target: Target, prompt: Sequence[int], tokens: int, timeout_s: float
) -> tuple[float, float]:
    """(seconds to the first token, tokens per second after it) of one stream."""
    connection: Connection = await target.connect(0)
    try:
        async with asyncio.timeout(timeout_s):
            exchange = await connection.send(prompt, tokens=tokens, lane=INTERACTIVE)
            await exchange.ended
        trace = connection.trace(exchange)
    except TimeoutError as error:
        raise BenchError(
            f"{target.name} was not done with {len(prompt)} tokens after {timeout_s:.0f} s;"
            " give more --timeout-s, or smaller --depths"
        ) from error
    finally:
        connection.close()
    return first_token_ms(trace) / 1000, decode_tokens_per_s([trace.arrivals])


def comparisons(measured: Measured, *, title: str, names: Sequence[str]) -> list[Comparison]:
    """Speed by type and depth, the same against f16 (or the first type), and the bytes."""
    kv_types = list(measured.traffic)
    depths = list(dict.fromkeys(depth for _, depth in measured.speeds))
    gain = {
        f"{name} at {depth}": {
            kv_type: measured.speeds[kv_type, depth][name] for kv_type in kv_types
        }
        for name in names
        for depth in depths
    }
    moved = {
        str(depth): {
            kv_type: [measured.traffic[kv_type].mb_per_token(depth)] for kv_type in kv_types
        }
        for depth in depths
    }

    def by_contender(
        samples: dict[tuple[str, int], dict[str, list[float]]],
    ) -> dict[str, dict[str, list[float]]]:
        return {f"{kv_type} at {depth}": each for (kv_type, depth), each in samples.items()}

    def table(
        kind: str,
        what: str,
        unit: str,
        baseline: str,
        samples: dict[str, dict[str, list[float]]],
    ) -> Comparison:
        return Comparison(
            kind=kind,
            title=f"{title}: {what}",
            unit=unit,
            condition="KV",
            baseline=baseline,
            samples=samples,
        )

    speeds, prefill = by_contender(measured.speeds), by_contender(measured.prefill_s)
    return [
        table("speed", "decode speed", "tokens/s", names[-1], speeds),
        table("type", "what a smaller type gains", "tokens/s", kv_types[0], gain),
        table("bmt", "bytes a token moves", "MB", kv_types[0], moved),
        table("prefill", "the whole prompt, once", "s", names[-1], prefill),
    ]


@contextlib.contextmanager
def _started(built: peers.Peers, room: Room, kv_type: str) -> Iterator[Sequence[Target]]:
    theirs = KV_TYPES[kv_type]
    typed = dataclasses.replace(
        room,
        umad_arguments=("--kv-type", kv_type),
        server_arguments=(
            *("--cache-type-k", theirs, "--cache-type-v", theirs, "--flash-attn", "on"),
        ),
    )
    targets: list[Target] = [UmadTarget(built, typed), ServerTarget(built, typed)]
    with running.started(targets):
        yield targets


def _traffic(target: Target) -> Traffic:
    """Asked of the daemon; llama-server moves what it moves for the same model and type."""
    if not isinstance(target, UmadTarget):
        raise BenchError(f"{target.name} does not tell what a token moves")
    with Client(target.socket_path) as client:
        facts = client.models()[0]
    return Traffic(
        weight_bytes=int(facts["active_weight_bytes"]),
        kv_cell_bytes=int(facts["kv_cell_bytes"]),
        vocabulary_tokens=int(facts["n_vocab"]),
        kv_type=str(facts["kv_type"]),
    )


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables."""
    if options.tokens < 2:
        raise BenchError("--tokens: a speed needs two tokens")
    if min(options.depths) <= options.tokens:
        raise BenchError(f"--depths: {min(options.depths)} leaves no room for a prompt")
    built = peers.build()
    facts = machine.facts(built)
    path = models.path(options.model)
    # Of llama-server's one slot; it keeps to what the model was trained for.
    room = Room(
        model=path,
        threads=options.threads,
        streams=1,
        stream_context_tokens=-(-max(options.depths) // _PAD_TOKENS) * _PAD_TOKENS,
        prompt_progress=False,
        cache_prompt=True,
    )
    with console.status("") as status:
        measured = measure(
            lambda kv_type: _started(built, room, kv_type),
            traffic=_traffic,
            kv_types=options.kv_types,
            depths=options.depths,
            prompts=Prompts(models.text_tokens(path), seed=0),
            tokens=options.tokens,
            repetitions=options.repetitions,
            timeout_s=options.timeout_s,
            progress=status.update,
        )
    kept = ", ".join(f"{asked} as {each.kv_type}" for asked, each in measured.traffic.items())
    notes = (
        (
            f"one stream, {options.tokens} tokens generated up to each depth; {room.threads}"
            f" threads; {options.repetitions} interleaved repetitions; KV kept: {kept}"
        ),
        "median (range) over repetitions; ratios are taken within each repetition",
    )
    names = [UmadTarget.name, ServerTarget.name]
    command.publish(
        options,
        console,
        benchmark="longctx",
        facts=facts,
        comparisons=comparisons(measured, title=path.stem, names=names),
        notes=notes,
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("longctx", __doc__, model="tiny")
    add = parser.add_argument
    depths = [16_384, 32_768]
    add("--depths", nargs="+", type=command.positive, default=depths, metavar="TOKENS")
    add("--kv-types", nargs="+", choices=KV_TYPES, default=list(KV_TYPES), metavar="TYPE")
    add("--tokens", type=command.positive, default=48, help="generated at each depth")
    add("--repetitions", type=command.positive, default=5)
    add("--timeout-s", type=command.seconds, default=600.0, help="of a request")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
