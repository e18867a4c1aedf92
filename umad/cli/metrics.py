"""Runs `umad metrics`: prints the scorecard for a person, as JSON, or as CSV."""

import datetime
import json
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from umad.cli.connect import call
from umad.cli.printed import printable
from umad.cli.tables import number, open_console, plain_table
from umad.metrics.csv_rows import csv_header, csv_row

# Times are milliseconds; the columns fit a terminal of 80.
_SHARED = (
    ("requests", "REQS"),
    ("tokens", "TOKENS"),
    ("tokens_per_s", "tok/s"),
    ("p50_ms", "p50"),
    ("p95_ms", "p95"),
    ("p99_ms", "p99"),
    ("max_ms", "LONGEST"),
    ("p95_over_solo", "p95/SOLO"),
    ("guard_held", "HELD"),
    ("ttft_p50_ms", "TTFT"),
)


def metrics(socket: str | None, *, as_json: bool, as_csv: bool) -> None:
    """Show what every app felt over the last seconds."""
    if as_json and as_csv:
        raise click.UsageError("choose one of --json and --csv.")
    snapshot = call(socket, lambda client: client.metrics())
    if as_json:
        click.echo(json.dumps(dict(snapshot)))
    elif as_csv:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        click.echo(csv_header() + csv_row(snapshot, at=now), nl=False)
    else:
        print_scorecard(open_console(), snapshot)


def print_scorecard(console: Console, snapshot: Mapping[str, Any]) -> None:
    """The scorecard of all models together, then lanes and apps."""
    facts = plain_table(show_header=False)
    facts.add_column()
    facts.add_column(justify="right")
    nested = ("lanes", "apps", "models", "queue_depth", "slowed_by", "longest_gaps_ms")
    for name, value in snapshot.items():
        if name not in nested:
            facts.add_row(name, number(value))
    for lane, waiting in snapshot["queue_depth"].items():
        facts.add_row(f"queue_depth {lane}", number(waiting))
    for cause, gaps in snapshot.get("slowed_by", {}).items():
        if gaps:
            facts.add_row(f"slowed_by {cause}", number(gaps))
    console.print(facts)
    for group in ("lanes", "apps"):
        rows: Mapping[str, Mapping[str, Any]] = snapshot[group]
        if rows:
            console.print()
            console.print(_shared_table(group, rows))


def _shared_table(group: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    table = plain_table()
    table.add_column(group.upper())
    for _, heading in _SHARED:
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        table.add_row(printable(name), *(number(row[key]) for key, _ in _SHARED))
    return table
