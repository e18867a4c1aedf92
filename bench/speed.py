"""Measures the decode speed of umad, llama-server and bare llama.cpp, side by side on one model.

Every contender reports the same figure: tokens per second of all streams together while all of
them decode, prompts excluded. For bare llama.cpp it is llama-batched-bench's own S_TG. For the
others it is tokens as they reach a client over a Unix socket, in the window in which every stream
decodes (`bench.arrivals`). Contenders take turns within each repetition, and the order turns too,
so that the machine's other work falls on all of them alike. Not: latency.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from bench import busy, command, machine, models, peers, precedence, running
from bench.contenders import CONTENDERS, Contender, Workload
from bench.table import Comparison

# Ordinary tokens of the Qwen2 vocabulary; what follows are control tokens and padding.
_TEXT_TOKENS = 151_643
DEFAULT_CONTENDERS = ("bare", "llama-server", "umad")


def measure(
    contenders: Sequence[Contender],
    *,
    streams: Sequence[int],
    repetitions: int,
    prompt_tokens: int,
    progress: Callable[[str], None],
) -> dict[str, dict[str, list[float]]]:
    """Samples by number of streams and contender's name, one per repetition.

    The first run of each contender at each number of streams is thrown away: it faults pages in
    and wakes threads. Every run gets prompts of its own, so no prefix cache is of use.
    """
    samples: dict[str, dict[str, list[float]]] = {
        str(count): {contender.name: [] for contender in contenders} for count in streams
    }
    generator = random.Random(0)
    for repetition in range(-1, repetitions):
        for count in streams:
            prompts = [
                generator.choices(range(_TEXT_TOKENS), k=prompt_tokens) for _ in range(count)
            ]
            for contender in running.in_turn(contenders, repetition + 1):
                speed = contender.run(prompts)
                if repetition >= 0:
                    samples[str(count)][contender.name].append(speed)
                stage = f"{repetition + 1}/{repetitions}" if repetition >= 0 else "warm-up"
                progress(f"{stage}  {count} streams  {contender.name}  {speed:.1f} tokens/s")
    return samples


def compare(options: argparse.Namespace, console: Console) -> None:
    """Measures every asked-for model and prints (and writes) the tables."""
    built = peers.build()
    machine_facts = machine.facts(built)
    comparisons = []
    for name in options.model:
        path = models.path(name)
        workload = Workload(
            model=path,
            threads=options.threads,
            prompt_tokens=options.prompt_tokens,
            tokens=options.tokens,
            max_streams=max(options.streams),
            stream_context_tokens=options.context_tokens,
        )
        contenders = [CONTENDERS[key](built, workload) for key in options.contenders]
        with running.started(contenders), busy.programs(options.busy):
            precedence.include_children()
            with console.status("") as status:
                samples = measure(
                    contenders,
                    streams=options.streams,
                    repetitions=options.repetitions,
                    prompt_tokens=workload.prompt_tokens,
                    progress=status.update,
                )
        settings = (
            f"{workload.prompt_tokens} prompt and {workload.tokens} generated tokens a stream,"
            f" {workload.threads} threads, {options.repetitions} interleaved repetitions;"
            f" median (range), ratio to {contenders[0].name} within each repetition"
        )
        beside = f" beside {options.busy} busy programs" if options.busy else ""
        comparisons.append(
            Comparison(
                kind=f"speed{'-busy' if options.busy else ''}-{path.stem}",
                title=f"Decode speed of {path.stem}{beside}",
                unit="tokens/s",
                condition="streams",
                baseline=contenders[0].name,
                samples=samples,
                notes=(settings, *(f"{each.name}: {each.method}" for each in contenders)),
            )
        )
    command.publish(
        options, console, benchmark="speed", facts=machine_facts, comparisons=comparisons
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("speed", __doc__)
    add = parser.add_argument
    add("--model", nargs="+", default=["qwen2-0.5b", "tiny"], help="shapes or paths of GGUFs")
    add("--contenders", nargs="+", choices=CONTENDERS, default=DEFAULT_CONTENDERS, metavar="NAME")
    add("--streams", nargs="+", type=int, default=[1, 4, 8])
    add("--tokens", type=int, default=128, help="generated per stream")
    add("--prompt-tokens", type=int, default=32)
    add("--context-tokens", type=int, default=1024, help="room for each stream")
    add("--busy", type=int, default=0, help="programs that compute for ever beside all of them")
    add("--repetitions", type=int, default=5)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), compare, arguments)


if __name__ == "__main__":
    sys.exit(main())
