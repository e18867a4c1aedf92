"""Measures the types that people's files have: weights packed and plain, beside llama-server.

For each model and type there are three servers: umad with the weights in the file's order
(`--no-repack`), umad with them packed for this processor's own kernels (`--repack`), and
llama-server with its defaults, which packs unasked. Which of its two umad would take unasked
(`repack: auto`) is marked, and that row is held against llama-server's. A server runs alone, so
that pages of the file count for it alone. It is started, answers a round that is thrown away, then
some that count, tells its memory, and ends; then comes the next one. So all of them take turns, and
each repetition begins with another one.

    load        from the start of the program to its first token, s; the file is in the page cache
    1 row       between two tokens of one stream, ms
    8 rows      between two tokens of eight streams side by side, ms
    prompt      to the first token behind a prompt of --prompt-tokens, ms
    PSS         of the process that has the model, MiB, each shared page split among its users
    anonymous   its private memory that no file has, MiB: cells, buffers, packed weights

The same models in other types are made on first use (`bench.requantized`). Not: single kernels, nor
any server's overhead (`bench.speed`).
"""

import argparse
import dataclasses
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench import (
    command,
    machine,
    models,
    peers,
    precedence,
    real_weights,
    requantized,
    running,
    shapes,
)
from bench.arrivals import decode_tokens_per_s
from bench.errors import BenchError
from bench.kernel_servers import (
    SHORT_TOKENS,
    STREAMS,
    Asked,
    PeerServer,
    Server,
    UmadServer,
    memory_of,
)
from bench.prompts import Prompts
from bench.table import Comparison, Spread, as_json

TYPES = ("q4_k_m", "q4_0", "q8_0", "iq4_xs", "mxfp4", "f16")
# Generated in Q8_0, and what is real.
SHAPES = {"tiny": "tiny", "0.5b": "qwen2-0.5b", "1.5b": "qwen2-1.5b", "8b": "qwen3-8b"}
GEMMA = "gemma"
# Files of MXFP4 have experts. They keep all else in Q8_0.
EXPERTS = {"tiny": "tiny-gpt-oss", "0.5b": "gpt-oss-0.6b"}
PLAIN, PACKED, THEIRS = "plain", "packed", PeerServer.name
# What a table shows, in its order: the key in samples, the heading, the digits.
MEASURES = {
    "load_s": "load, s",
    "row_ms": "1 row, ms",
    "rows_ms": f"{STREAMS} rows, ms",
    "prompt_ms": "prompt, ms",
    "pss_mib": "PSS, MiB",
    "anonymous_mib": "anonymous, MiB",
}
# `umad.engine.llamacpp.repack_choice` and `umad.engine.llamacpp.loading` say so.
_PACKS, _LOADED = re.compile(r"\brepack=on\b"), re.compile(r"\bloaded model=")
_MIB = 2**20
_TABLE_WIDTH = 128

# measure, contender: one for each repetition and round
Samples = dict[str, dict[str, list[float]]]


def measure(
    servers: Sequence[Server],
    asked: Asked,
    prompts: Prompts,
    *,
    memory: Callable[[int], tuple[int, int]],
    progress: Callable[[str], None],
) -> Samples:
    """Every server's samples. memory: (PSS, anonymous) of a process, in bytes."""
    samples: Samples = {measure: {one.name: [] for one in servers} for measure in MEASURES}
    for repetition in range(asked.repetitions):
        for server in running.in_turn(servers, repetition):
            progress(f"{repetition + 1}/{asked.repetitions}  {server.name}")

            def note(measure: str, value: float, name: str = server.name) -> None:
                samples[measure][name].append(value)

            began_s = time.perf_counter()
            try:
                server.start()
                precedence.include_children()
                server.generate([prompts.draw(3)], 1)
                note("load_s", time.perf_counter() - began_s)
                for number in range(-1, asked.rounds):
                    for key, value in _round(server, asked, prompts).items():
                        if number >= 0:
                            note(key, value)
                pss, anonymous = memory(server.pid())
                note("pss_mib", pss / _MIB)
                note("anonymous_mib", anonymous / _MIB)
            finally:
                server.stop()
    return samples


def _round(server: Server, asked: Asked, prompts: Prompts) -> dict[str, float]:
    long = prompts.draw(asked.prompt_tokens)
    sent_ns = time.perf_counter_ns()
    first_ns = server.generate([long], 1)[0][0].at_ns
    took = {"prompt_ms": (first_ns - sent_ns) / 1e6}
    for key, streams in (("row_ms", 1), ("rows_ms", STREAMS)):
        drawn = [prompts.draw(SHORT_TOKENS) for _ in range(streams)]
        speed = decode_tokens_per_s(server.generate(drawn, asked.tokens))
        took[key] = 1000 * streams / speed
    return took


def chosen(log: str) -> str:
    """Which order umad took, by the log of a daemon that has loaded one model."""
    if not _LOADED.search(log):
        raise BenchError("the daemon's log does not say that a model was loaded")
    return PACKED if _PACKS.search(log) else PLAIN


def _taken_unasked(model: Path, asked: Asked) -> str:
    server = UmadServer(model, asked, name="auto")
    with running.started([server]):
        return chosen(server.daemon.log_path.read_text())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One model of one type."""

    label: str
    choice: str  # umad's
    samples: Samples

    def given_up(self, measure: str) -> Spread:
        """umad's choice as a multiple of llama-server's, repetition by repetition."""
        ours, theirs = (self.samples[measure][name] for name in (self.choice, THEIRS))
        return Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])


def table(measured: Sequence[Measured]) -> Table:
    """All models: median, and the range below it."""
    title = "Kernels by type of weights"
    made = Table(title=title, title_justify="left", show_lines=True, width=_TABLE_WIDTH)
    for column in ("model", "weights"):
        made.add_column(column, no_wrap=True)
    for heading in MEASURES.values():
        made.add_column(heading, justify="right", no_wrap=True)
    for one in measured:
        for name in (PLAIN, PACKED, THEIRS):
            spreads = [Spread.of(one.samples[measure][name]) for measure in MEASURES]
            mark = " *" if name == one.choice else ""
            made.add_row(one.label, name + mark, *(_cell(each, "") for each in spreads))
        ratios = [one.given_up(measure) for measure in MEASURES]
        made.add_row("", f"* ÷ {THEIRS}", *(_cell(each, "x") for each in ratios), style="bold")
    return made


def _cell(spread: Spread, unit: str) -> str:
    digits = 2 if unit or spread.median < 10 else 1 if spread.median < 1000 else 0
    median, low, high = (f"{n:.{digits}f}" for n in (spread.median, spread.low, spread.high))
    return f"{median}{unit}\n{low}-{high}"


def comparisons(measured: Sequence[Measured]) -> list[Comparison]:
    """The same for programs and charts: a comparison for each measure."""
    return [
        Comparison(
            kind=f"kernels-{key.replace('_', '-')}",
            title=heading.partition(",")[0],
            unit=heading.rpartition(" ")[2],
            condition="model",
            baseline=THEIRS,
            samples={one.label: one.samples[key] for one in measured},
            notes=tuple(f"{one.label}: umad takes {one.choice} unasked" for one in measured),
        )
        for key, heading in MEASURES.items()
    ]


def model_of(size: str, kind: str, *, threads: int) -> Path | None:
    """The file, written on first use; None where nobody has such files."""
    if kind == "mxfp4":
        return models.path(EXPERTS[size]) if size in EXPERTS else None
    if size == GEMMA:
        source, has = real_weights.gemma(), "q4_k_m"
    else:
        source, has = shapes.model(SHAPES[size]), "q8_0"
    return source if kind == has else requantized.variant(source, kind, threads=threads)


def fits(model: Path, available_bytes: int) -> bool:
    """Whether packed weights and the file they come from have room together."""
    return 2 * model.stat().st_size < available_bytes


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    if not psutil.LINUX:
        raise BenchError("only Linux tells the proportional set size")
    built = peers.build()
    facts = machine.facts(built)
    asked = Asked(
        threads=options.threads,
        prompt_tokens=options.prompt_tokens,
        tokens=options.tokens,
        rounds=options.rounds,
        repetitions=options.repetitions,
    )
    measured, left_out = [], []
    with console.status("") as status:
        for size in options.sizes:
            for kind in options.types:
                label = f"{size} {kind.upper()}"
                status.update(f"{label}  its file")
                model = model_of(size, kind, threads=options.threads)
                if model is None or not fits(model, psutil.virtual_memory().available):
                    why = "nobody has such files" if model is None else "it has no room here"
                    left_out.append(f"{label} is left out: {why}")
                    continue
                measured.append(_measured(built, model, asked, label, status.update))
    if not measured:
        raise BenchError("; ".join(left_out))
    _publish(options, console, facts, asked, measured, left_out)


def _measured(
    built: peers.Peers, model: Path, asked: Asked, label: str, progress: Callable[[str], None]
) -> Measured:
    servers: list[Server] = [
        UmadServer(model, asked, name=PLAIN, flags=("--no-repack",)),
        UmadServer(model, asked, name=PACKED, flags=("--repack",)),
        PeerServer(built, model, asked),
    ]
    progress(f"{label}  what umad takes")
    return Measured(
        label=label,
        choice=_taken_unasked(model, asked),
        samples=measure(
            servers,
            asked,
            Prompts(models.text_tokens(model), seed=0),
            memory=memory_of,
            progress=lambda text: progress(f"{label}  {text}"),
        ),
    )


def _publish(
    options: argparse.Namespace,
    console: Console,
    facts: machine.Machine,
    asked: Asked,
    measured: Sequence[Measured],
    left_out: Sequence[str],
) -> None:
    for line in facts.lines():
        console.print(line, highlight=False, soft_wrap=True)
    # In a narrow terminal, or none, lines run on: cells that are cut off say nothing.
    console.print(table(measured), soft_wrap=True)
    notes = (
        "* umad's own choice (repack: auto)",
        (
            f"prompts of {asked.prompt_tokens} tokens; streams of {SHORT_TOKENS} and {asked.tokens}"
            f" generated tokens; {asked.threads} threads; {asked.repetitions} repetitions, each"
            f" server started anew and asked {asked.rounds} times; median (range)"
        ),
        *left_out,
    )
    for note in notes:
        console.print(note, style="dim", highlight=False, soft_wrap=True, markup=False)
    choices: Mapping[str, str] = {one.label: one.choice for one in measured}
    document = {"benchmark": "kernels", **as_json(facts, comparisons(measured)), "choices": choices}
    command.write(options, document)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("kernels", __doc__)
    add, count = parser.add_argument, command.positive
    add("--sizes", nargs="+", choices=[*SHAPES, GEMMA], default=["0.5b", GEMMA], metavar="SIZE")
    add("--types", nargs="+", choices=TYPES, default=TYPES, metavar="TYPE")
    add("--prompt-tokens", type=count, default=512)
    add("--tokens", type=count, default=48, help="generated per stream")
    add("--rounds", type=count, default=2, help="that count, of each start")
    add("--repetitions", type=count, default=3, help="starts of each server")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
