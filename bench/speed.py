"""Decode speed of umad, llama-server and bare llama.cpp, side by side on one model.

Every contender reports the same figure: tokens per second of all streams together while all of
them decode, prompts excluded. Bare: llama-batched-bench's own S_TG. The others: tokens as they
reach a client over a Unix socket, in the window in which every stream decodes
(`bench.arrivals`). Contenders take turns within each repetition, and the order turns too, so
that what else the machine does falls on all of them alike. Latency is not measured here.
"""

import argparse
import contextlib
import json
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench import machine, peers, precedence, shapes
from bench.contenders import CONTENDERS, Contender, Workload
from bench.errors import BenchError
from bench.table import Comparison, as_json, render

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
        turn = (repetition + 1) % len(contenders)
        for count in streams:
            prompts = [
                generator.choices(range(_TEXT_TOKENS), k=prompt_tokens) for _ in range(count)
            ]
            for contender in [*contenders[turn:], *contenders[:turn]]:
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
        path = Path(name) if name.endswith(".gguf") else shapes.model(name)
        workload = Workload(
            model=path,
            threads=options.threads,
            prompt_tokens=options.prompt_tokens,
            tokens=options.tokens,
            max_streams=max(options.streams),
            stream_context_tokens=options.context_tokens,
        )
        contenders = [CONTENDERS[key](built, workload) for key in options.contenders]
        with contextlib.ExitStack() as stack:
            for contender in contenders:
                stack.callback(contender.stop)
            for contender in contenders:
                contender.start()
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
        comparisons.append(
            Comparison(
                title=f"Decode speed of {path.stem}",
                unit="tokens/s",
                condition="streams",
                baseline=contenders[0].name,
                samples=samples,
                notes=(settings, *(f"{each.name}: {each.method}" for each in contenders)),
            )
        )
    for line in machine_facts.lines():
        console.print(line, highlight=False, soft_wrap=True)
    for comparison in comparisons:
        console.print()
        console.print(render(comparison))
        for note in comparison.notes:
            console.print(note, style="dim", highlight=False, soft_wrap=True)
    if options.json:
        options.json.write_text(json.dumps(as_json(machine_facts, comparisons), indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    add = parser.add_argument
    add("--model", nargs="+", default=["qwen2-0.5b", "tiny"], help="shapes or paths of GGUFs")
    add("--contenders", nargs="+", choices=CONTENDERS, default=DEFAULT_CONTENDERS, metavar="NAME")
    add("--streams", nargs="+", type=int, default=[1, 4, 8])
    add("--tokens", type=int, default=128, help="generated per stream")
    add("--prompt-tokens", type=int, default=32)
    add("--context-tokens", type=int, default=1024, help="room for each stream")
    add("--repetitions", type=int, default=5)
    add("--threads", type=int, default=machine.cores())
    add("--ahead", action="store_true", help="go before other work on this machine (root)")
    add("--json", type=Path, default=None, help="also write samples and facts to this file")
    return parser


def main() -> int:
    """Command line: compare, print a table for each model."""
    options = _parser().parse_args()
    errors = Console(stderr=True, soft_wrap=True)
    # Contenders are stopped on the way out, so a polite end must be one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with precedence.ahead() if options.ahead else contextlib.nullcontext():
            compare(options, Console())
    except BenchError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
