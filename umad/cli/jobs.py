"""Runs `umad jobs`: lists jobs, follows one, ends one.

The daemon is asked. Where none runs, the list on the disk says what became of the jobs of the last
one, whose processes may still work.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from umad.cli.connect import connect
from umad.cli.following import Shown, follow, stderr_console, time_words
from umad.cli.printed import printable
from umad.cli.tables import open_console, plain_table
from umad.clock import MonotonicClock
from umad.errors import NoDaemon
from umad.jobs.book import opened
from umad.jobs.runner import KILL_AFTER_S, JobRunner
from umad.models.store import store_folder

Rows = Sequence[Mapping[str, Any]]
_LOOK_S = 0.1


def jobs(socket: str | None, *, as_json: bool) -> None:
    """List the jobs, the newest first."""
    with asyncio.Runner() as runner, connect(runner, socket) as client:
        try:
            rows: Rows = runner.run(client.jobs())
        except NoDaemon:
            with opened(store_folder(os.environ)) as book:
                rows = [one.as_map() for one in book.jobs()]
            if any(row["state"] == "queued" for row in rows) and not as_json:
                click.echo("no daemon runs; jobs that wait begin with the next one", err=True)
    if as_json:
        click.echo(json.dumps([dict(row) for row in rows]))
        return
    table = plain_table()
    for heading in ("JOB", "KIND", "STATE", "DONE", "ASKED", "WHAT"):
        is_figure = heading in ("DONE", "ASKED")
        table.add_column(heading, justify="right" if is_figure else "left", overflow="fold")
    for row in rows:
        table.add_row(
            row["job"], row["kind"], _state(row), _done(row), _ago(row), printable(row["what"])
        )
    console = open_console()
    console.print(table)
    for row in rows:
        if row["state"] == "failed" and row["error"]:
            console.print(f"{row['job']} failed: {printable(str(row['error']['message']))}")


def follow_job(job: str, socket: str | None, *, as_json: bool) -> None:
    """Show a job until it is over."""
    with (
        asyncio.Runner() as runner,
        connect(runner, socket) as client,
        Shown(console=stderr_console()) as shown,
    ):
        try:
            row: Mapping[str, Any] = runner.run(client.job(job))
        except NoDaemon:
            with opened(store_folder(os.environ)) as book:
                row = book.get(job).as_map()
        made = follow(runner, client, row, shown)
    if as_json:
        click.echo(json.dumps(dict(made)))
    else:
        click.echo(f"{printable(str(made.get('name', row['what'])))} is here")


def cancel(job: str, socket: str | None) -> None:
    """End a job."""
    with asyncio.Runner() as runner, connect(runner, socket) as client:
        try:
            row: Mapping[str, Any] = runner.run(client.cancel_job(job))
        except NoDaemon:
            row = _cancelled_here(job)
    said = "was over already" if row["state"] in ("done", "failed") else "is cancelled"
    if row["cancelling"]:
        said = "is being cancelled"
    click.echo(f"job {row['job']} {said}")


def _cancelled_here(job_id: str) -> Mapping[str, Any]:
    """End a job without a daemon: its process may work on. Nothing is started."""
    runner = JobRunner(store_folder(os.environ), most_at_once=0, clock=MonotonicClock())
    try:
        job = runner.cancel(job_id)
        until_s = time.monotonic() + 2 * KILL_AFTER_S
        while not job.state.is_over and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
            runner.tick()
            job = runner.book.get(job_id)
        return job.as_map()
    finally:
        runner.close()


# -- words -----------------------------------------------------------------------------------------


def _state(row: Mapping[str, Any]) -> str:
    if row["cancelling"]:
        return "cancelling"
    return str(row["step"]) if row["state"] == "running" else str(row["state"])


def _done(row: Mapping[str, Any]) -> str:
    if not row["total"]:
        return "-"
    percent = f"{row['done'] * 100 // row['total']} %"
    left = [one["remaining_s"] for one in row["parts"] if one["done"] < one["total"]]
    if row["state"] == "running" and left and left[0] is not None:
        return f"{percent}, {time_words(left[0])}"
    return percent


def _ago(row: Mapping[str, Any]) -> str:
    if row["asked_s"] is None:
        return "-"
    age_s = max(0, round(datetime.now(UTC).timestamp()) - int(row["asked_s"]))
    return f"{time_words(age_s)} ago"
