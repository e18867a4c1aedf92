"""Gives every benchmark its command line: shared options, places of results, exit codes.

    parser(...)     --model --threads --ahead --json --charts; a benchmark adds its own
    publish(...)    tables for people, one JSON document for programs, charts of it
    main(...)       runs it; 0 done, 1 could not be measured, 2 wrong usage, 130 interrupted

Not: what is measured. Owner: the process's main thread.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench import machine, precedence
from bench.errors import BenchError
from bench.machine import Machine
from bench.table import Comparison, as_json, render

STDOUT = Path("-")
_DRAWING_S = 120.0

Run = Callable[[argparse.Namespace, Console], None]


def parser(
    name: str, description: str | None, *, model: str | None = None
) -> argparse.ArgumentParser:
    """The shared options of `python -m bench NAME`; model: the default of `--model`."""
    made = argparse.ArgumentParser(
        prog=f"python -m bench {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    if model is not None:
        add("--model", default=model, help="a shape, nano, or the path of a GGUF")
    add("--threads", type=positive, default=machine.cores())
    add("--ahead", action="store_true", help="go before other work on this machine (root)")
    told = "also write samples and facts there; without FILE, and for -, to stdout"
    add("--json", type=Path, nargs="?", const=STDOUT, metavar="FILE", help=told)
    add("--charts", type=Path, metavar="DIR", help="also write the JSON and charts of it there")
    return made


def positive(text: str) -> int:
    """A count of at least one, as an argparse type."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seconds(text: str) -> float:
    """A time that is not negative, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def main(made: argparse.ArgumentParser, run: Run, arguments: Sequence[str] | None = None) -> int:
    """Parses, runs and returns the exit code; what a person can act on is one line on stderr."""
    options = made.parse_args(arguments)
    errors = Console(stderr=True, soft_wrap=True)
    # Contenders are stopped on the way out, so a polite end must be one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _check(options)
        with precedence.ahead() if options.ahead else contextlib.nullcontext():
            # Stdout belongs to the JSON where it was asked for.
            run(options, Console(stderr=options.json == STDOUT))
    except BenchError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def publish(
    options: argparse.Namespace,
    console: Console,
    *,
    benchmark: str,
    facts: Machine,
    comparisons: Sequence[Comparison],
    notes: Sequence[str] = (),
) -> None:
    """Prints the machine, the tables and how they came about; writes what was asked for."""
    if notes and comparisons:
        last = comparisons[-1]
        with_notes = dataclasses.replace(last, notes=(*last.notes, *notes))
        comparisons = [*comparisons[:-1], with_notes]
    for line in facts.lines():
        console.print(line, highlight=False, soft_wrap=True)
    for comparison in comparisons:
        console.print()
        console.print(render(comparison))
        for note in comparison.notes:
            console.print(note, style="dim", highlight=False, soft_wrap=True, markup=False)
    write(options, {"benchmark": benchmark, **as_json(facts, comparisons)})


def write(options: argparse.Namespace, document: dict[str, object]) -> None:
    """The JSON document where it was asked for, and its charts."""
    text = json.dumps(document, indent=2) + "\n"
    try:
        if options.json == STDOUT:
            sys.stdout.write(text)
        elif options.json:
            options.json.write_text(text)
        if options.charts:
            kept = options.charts / f"{document['benchmark']}.json"
            kept.write_text(text)
            _draw(kept, options.charts)
    except OSError as error:
        raise BenchError(f"{error.filename} cannot be written: {error.strerror}") from error


def _check(options: argparse.Namespace) -> None:
    """What would fail only after an hour of measuring fails now."""
    if options.charts:
        if importlib.util.find_spec("matplotlib") is None:
            raise BenchError("charts need matplotlib: pip install -e '.[bench]'")
        try:
            options.charts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BenchError(f"--charts {options.charts}: {error.strerror}") from error
    if options.json and options.json != STDOUT and not options.json.parent.is_dir():
        raise BenchError(f"--json {options.json}: there is no folder {options.json.parent}")


def _draw(document: Path, folder: Path) -> None:
    """In a process of its own: what measures needs no matplotlib."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "bench.charts"),
            *(str(document.resolve()), "--into", str(folder.resolve())),
        ],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=_DRAWING_S,
    )
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        raise BenchError(f"the charts of {document} could not be drawn: {lines[-1]}")
