"""Runs `umad pull`: fetches models in the foreground, with a bar for each file.

`umad run` offers the same, once, for a model that is not here.

What is said goes to stderr: a bar on a terminal, a line now and then elsewhere. Not: the fetching
(`umad.models.fetching`).
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from umad import nano
from umad.cli.here import catalogue
from umad.cli.printed import printable
from umad.cli.tables import byte_size, parameter_count
from umad.errors import BadRequest
from umad.models.catalogue import Catalogue
from umad.models.fetching import FetchLimits, FetchPlan, FetchProgress, fetch
from umad.models.found import FoundModel
from umad.models.reference import ModelReference, parse

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
# Between two lines of one file where nobody watches a bar: a log of a large model stays short.
_LINE_PERCENT = 10
# A licence or a template is there before its bar could be read.
_LARGE_BYTES = 10**6


def pull(
    models: Sequence[str],
    config: Path | None,
    *,
    limit: str | None,
    parts: int,
    keep_free: str | None,
    as_json: bool,
) -> None:
    """Fetch every model, one after the other."""
    # All of them are looked at before the first byte of one is fetched.
    references = [parse(text) for text in models]
    known = catalogue(config)
    limits = FetchLimits(
        parts=parts,
        bytes_per_s=None if limit is None else _size(limit, "--limit"),
        **({} if keep_free is None else {"keep_free_bytes": _size(keep_free, "--keep-free")}),
    )
    for reference in references:
        model = _fetch(reference, known, limits)
        if as_json:
            click.echo(json.dumps(_row(model)))  # a line for each, as soon as it is here
        else:
            _say(model, reference)


def offer(word: str) -> bool:
    """Ask a person whether to fetch a model that is not here, and do so; whether it is here now.

    Nobody is asked where nobody could answer, or where the word names nothing that can be fetched.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        reference = parse(word)
    except BadRequest:
        return False
    known = catalogue()
    named = (known.meant, known.preset, known.get)
    can_be_known = any(look(reference.name) is not None for look in named)
    if reference.kind == "file" or (reference.kind == "catalogue" and not can_be_known):
        return False
    _fetch(reference, known, FetchLimits(), asks=True)
    return True


def _fetch(
    reference: ModelReference, known: Catalogue, limits: FetchLimits, *, asks: bool = False
) -> FoundModel:
    # The hub's client warns of what an error or a bar says here too.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        # Without emoji: of `ollama:smile: 2 GB` a part would become a picture.
        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        with _Shown(console=console, asks=asks) as shown:
            return fetch(
                reference,
                on_plan=shown.plan,
                on_progress=shown.progress,
                limits=limits,
                catalogue=known,
                taken=(nano.NAME,),
            )
    except KeyboardInterrupt:
        click.echo(f"stopped: umad pull {printable(str(reference))} goes on from there", err=True)
        raise


def _say(model: FoundModel, reference: ModelReference) -> None:
    known = (
        byte_size(model.size_bytes),
        model.quantization,
        parameter_count(model.n_params) + " parameters" if model.n_params else "",
    )
    click.echo(f"{printable(model.name)} is here: {', '.join(filter(None, known))}")
    if model.problem:
        click.echo(f"llama.cpp cannot read it: {printable(model.problem)}", err=True)
    else:
        # By the name it was asked for, where that is the shorter one.
        name = min(model.name, str(reference), key=len) if reference.kind == "catalogue" else ""
        click.echo(f"chat with it: umad run {printable(name or model.name)}")


def _row(model: FoundModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": model.source,
        "files": [str(path) for path in model.files.parts],
        "projector": None if model.files.projector is None else str(model.files.projector),
        "size_bytes": model.size_bytes,
        "quantization": model.quantization or None,
        "n_params": model.n_params,
        "problem": model.problem or None,
    }


def _size(text: str, flag: str) -> int:
    """Bytes of `20M`, `1.5GB`, `500k/s`, `1048576`."""
    plain = text.strip().upper().removesuffix("/S").removesuffix("B").removesuffix("I")
    number = plain.rstrip("KMGT")
    unit = plain[len(number) :]
    try:
        n_bytes = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise BadRequest(f"{flag}: {text!r} is no size; write it as 20M or 1.5GB") from None
    if n_bytes < 0 or (n_bytes == 0 and flag == "--limit"):
        raise BadRequest(f"{flag}: {text!r} is too small")
    return n_bytes


@dataclass(slots=True, kw_only=True)
class _Shown:
    """The bars and lines that a person sees of one fetch."""

    console: Console
    # Whether the person is asked before the first byte.
    asks: bool
    _bars: Progress | None = None
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    # The last tenth of each file that a line was printed for.
    _told: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def plan(self, plan: FetchPlan) -> None:
        """Says what comes, and asks where it is to. Raises `click.Abort` for a no."""
        if plan.note:
            self.console.print(printable(plan.note), soft_wrap=True)
        if not plan.missing_bytes:
            return
        what = f"{printable(plan.source)}: {byte_size(plan.missing_bytes)} to fetch"
        self.console.print(what, soft_wrap=True)
        if self.asks:
            click.confirm(
                "It is not on this machine. Fetch it?", default=True, abort=True, err=True
            )
        if not self.console.is_terminal:
            return
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=self.console,
            transient=True,
        )
        large = [one for one in plan.files if one[1] >= _LARGE_BYTES]
        for name, size_bytes in large or plan.files:
            words = byte_size(size_bytes)
            self._tasks[name] = self._bars.add_task(_short(name), total=size_bytes, words=words)
        self._bars.start()

    def progress(self, told: FetchProgress) -> None:
        """Moves a file's bar, or prints a line."""
        if self._bars is not None:
            task = self._tasks.get(told.file)
            if task is not None:
                self._bars.update(task, completed=told.done_bytes, words=_words(told))
            return
        tenth = told.done_bytes * 100 // max(told.total_bytes, 1) // _LINE_PERCENT
        # The first reading has no speed yet, and says where an earlier run had stopped.
        if tenth > self._told.get(told.file, 0):
            self._told[told.file] = tenth
            percent = tenth * _LINE_PERCENT
            line = f"{printable(told.file)}: {percent} % of {_words(told)}"
            self.console.print(line, soft_wrap=True)


def _short(name: str) -> str:
    """A file's name without its folder, cut in the middle where it would leave a bar no room."""
    last = printable(name.rpartition("/")[2])
    return last if len(last) <= 44 else f"{last[:18]}…{last[-25:]}"


def _words(told: FetchProgress) -> str:
    words = [byte_size(told.total_bytes)]
    if told.bytes_per_s and told.done_bytes < told.total_bytes:
        words.append(f"{byte_size(round(told.bytes_per_s))}/s")
        if told.remaining_s is not None:
            words.append(f"{_time(told.remaining_s)} left")
    return ", ".join(words)


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
