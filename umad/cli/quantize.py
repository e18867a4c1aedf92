"""Runs `umad quantize SOURCE [TARGET]`: a smaller copy of a model's file."""

import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from umad.cli.printed import printable
from umad.configuration.sources import load
from umad.engine.library.choice import use_libraries
from umad.engine.quantizer import Quantization
from umad.estimate import bytes_words
from umad.quantization import (
    Quantized,
    QuantizeKind,
    QuantizeProgress,
    QuantizeWish,
    SizeTold,
    without_type,
)

_PART = re.compile(r"-00001-of-\d{5}$")


def quantize(
    source: Path,
    target: Path | None,
    wish: QuantizeWish,
    dry_run: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Write a smaller copy of the F16, BF16 or F32 model SOURCE to TARGET."""
    use_libraries(load(environ=os.environ).settings, os.environ)
    if target is None or dry_run:
        told = Quantization(source, source, wish, again=again).size()
        if dry_run:
            click.echo(json.dumps(asdict(told)) if as_json else told.words())
            return
        target, wish = target_of(source, told.kind), told.kind
    work = Quantization(source.absolute(), target.absolute(), wish, again=again)
    with _bar() as bar:
        task = bar.add_task("quantizing", total=None)

        def on_size(told: SizeTold) -> None:
            bar.console.print(told.words())

        def on_progress(progress: QuantizeProgress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)
            if progress.done == progress.total:
                bar.update(task, description="checking")

        done = work.run(on_size=on_size, on_progress=on_progress)
    click.echo(json.dumps(_as_map(done)) if as_json else _words(done))


def target_of(source: Path, kind: QuantizeKind) -> Path:
    """The name of a result beside its source: the source's, with its type changed."""
    stem = without_type(_PART.sub("", source.stem))
    return source.with_name(f"{stem}-{kind}.gguf")


def _bar() -> Progress:
    """A bar on stderr, so that stdout has the answer only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total} tensors"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False),
        disable=not sys.stderr.isatty(),
    )


def _words(done: Quantized) -> str:
    checked = "it only embeds, so only loading was tried"
    if done.check is not None:
        checked = f"perplexity of a short text {done.check.ratio:.3f} times the source's"
    return f"{printable(done.path)}: {bytes_words(done.n_bytes)}, {checked}"


def _as_map(done: Quantized) -> dict[str, object]:
    return {**asdict(done), "ratio": None if done.check is None else done.check.ratio}
