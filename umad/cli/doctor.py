"""Runs `umad doctor` and `umad report`: prints findings, or writes them into a file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click

from umad.cli.printed import printable
from umad.doctor.examination import examine, exit_code
from umad.doctor.finding import Finding, State
from umad.doctor.report import write_report
from umad.doctor.surroundings import surroundings
from umad.version import __version__

_COLOURS = {State.GOOD: "green", State.NOTE: "yellow", State.WRONG: "red"}


def doctor(path: Path | None, socket: str | None, *, as_json: bool) -> int:
    """Look at everything; return 1 where something has to be mended."""
    found = examine(surroundings(os.environ, path=path, socket=socket))
    code = exit_code(found)
    if as_json:
        rows = [one.as_map() for one in found]
        click.echo(json.dumps({"umad": __version__, "healthy": not code, "findings": rows}))
        return code
    _show(found)
    return code


def _show(found: Sequence[Finding]) -> None:
    checks = max(len(one.check) for one in found)
    for one in found:
        # Colours only where a terminal shows them: click takes them out of a pipe.
        state = click.style(f"{one.state.value:<5}", fg=_COLOURS[one.state])
        click.echo(f"{state}  {one.check:<{checks}}  {printable(one.words)}")
        if one.mend:
            click.echo(f"{'':<5}  {'':<{checks}}  mend: {printable(one.mend)}")
    n_wrong = sum(one.state is State.WRONG for one in found)
    n_notes = sum(one.state is State.NOTE for one in found)
    things = "nothing" if not n_wrong else "1 thing" if n_wrong == 1 else f"{n_wrong} things"
    click.echo(f"{things} to mend, {n_notes} note{'' if n_notes == 1 else 's'}")


def report(file: Path, path: Path | None, socket: str | None) -> None:
    """Write a report to `file`."""
    around = surroundings(os.environ, path=path, socket=socket)
    found = examine(around)
    write_report(file, around, found)
    click.echo(
        f"{printable(str(file))} has {len(found)} findings, no prompts, keys, names or paths; "
        "read it before you send it"
    )
