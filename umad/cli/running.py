"""Runs `umad ps`, `cancel`, `priority` and `forget`: shows and changes what runs on the daemon."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from umad.cli.connect import call
from umad.cli.printed import printable
from umad.cli.tables import byte_size, number, open_console, plain_table
from umad.errors import ModelLoadFailed
from umad.service import Service

ListedRows = Sequence[Mapping[str, Any]]

# (key of the daemon's answer, heading)
_MODEL_COLUMNS = (
    ("name", "MODEL"),
    ("state", "STATE"),
    ("backend", "BACKEND"),
    ("devices", "DEVICES"),
    ("ctx", "CTX"),
    ("n_cells", "CELLS"),
    ("live", "LIVE"),
    ("waiting", "WAITING"),
    ("restarts", "RESTARTS"),
    ("pid", "PID"),
)
_REQUEST_COLUMNS = (
    ("request", "REQUEST"),
    ("app", "APP"),
    ("pid", "PID"),
    ("session", "SESSION"),
    ("model", "MODEL"),
    ("lane", "LANE"),
    ("lane_by", "CHOSEN BY"),
    ("state", "STATE"),
    ("waits_for", "WAITS FOR"),
    ("prompt_tokens", "PROMPT"),
    ("generated", "TOKENS"),
    ("age_ms", "AGE ms"),
)


def ps(socket: str | None, *, as_json: bool) -> None:
    """Show loaded models, and the requests and sessions on them."""
    models, sessions = call(socket, _look)
    models = [{**model, **_residency(model)} for model in models]
    if as_json:
        rows = {"models": models, "sessions": sessions}
        click.echo(json.dumps({name: [dict(row) for row in some] for name, some in rows.items()}))
        return
    console = open_console()
    console.print(_table(_MODEL_COLUMNS, models))
    if sessions:
        console.print(_table(_REQUEST_COLUMNS, [_with_adapters(row) for row in sessions]))
    else:
        console.print("nothing runs")
    for model in models:
        for change in model.get("prompt_changes") or ():
            app, token = printable(change["app"]), change["token"]
            console.print(f"{app}: prompt changes at token {token} each turn ({model['name']})")
        if model.get("suspended_for"):
            console.print(
                f"{model['name']} is suspended, its next request loads it: "
                f"{printable(model['suspended_for'])}"
            )
        if model.get("waits_for"):
            console.print(f"{model['name']} waits for room: {printable(model['waits_for'])}")
        if model.get("load_share") is not None:
            console.print(f"{model['name']}: {model['load_share']:.0%} of its file is read")
        if model.get("gave_up"):
            console.print(f"{model['name']} gave up {printable(model['gave_up'])}")
        if model.get("media_read"):
            console.print(f"{model['name']}: {_media_words(model['media_read'])}")
        if model.get("resident_bytes") is not None:
            here, every = byte_size(model["resident_bytes"]), byte_size(model["weights_bytes"])
            console.print(
                f"{model['name']} reads experts from its file as they are used: "
                f"{here} of {every} are in memory"
            )


def _media_words(read: Mapping[str, Any]) -> str:
    each = "" if read["encode_ms"] is None else f", {number(read['encode_ms'])} ms each"
    return f"{read['encoded']} images or sounds encoded{each}; {read['reused']} were at hand"


def _residency(model: Mapping[str, Any]) -> Mapping[str, int]:
    """The bytes of the weights that are in memory, of a model whose experts stay in the file;
    nothing for another. The daemon does not look: counting a large file's pages takes a while.
    """
    path = model.get("path")
    if not model.get("paged_bytes") or not path:
        return {}
    from umad.engine.residency import resident_weights  # noqa: PLC0415  (it imports numpy)

    try:
        found = resident_weights(Path(path))
    except ModelLoadFailed:  # its file was removed or replaced meanwhile
        return {}
    return {} if found is None else {"resident_bytes": found[0], "weights_bytes": found[1]}


def _with_adapters(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request's row, with its model as a program would name it."""
    return {**row, "model": "+".join([str(row["model"]), *(row.get("adapters") or ())])}


async def _look(client: Service) -> tuple[ListedRows, ListedRows]:
    models, sessions = await asyncio.gather(client.models(), client.sessions())
    return models, sessions


def _table(columns: Sequence[tuple[str, str]], rows: ListedRows) -> Table:
    table = plain_table()
    for key, heading in columns:
        numeric = any(isinstance(row.get(key), int | float) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key, _ in columns))
    return table


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return printable(", ".join(str(one) for one in value)) or "-"
    return str(value) if isinstance(value, int) else number(value)


def cancel(request: str, socket: str | None) -> None:
    """End REQUEST, as `umad ps` names it."""
    call(socket, lambda client: client.cancel(request))
    click.echo(f"{request} is cancelled")


def forget(session: str | None, everything: bool, socket: str | None) -> None:
    """Remove what is kept of SESSION from memory and disk.

    A request that runs in it goes on, and leaves nothing when it ends.
    """
    if (session is not None) == everything:
        raise click.UsageError("name a session, or give --all.")
    gone = call(socket, lambda client: client.forget(session, all=everything))
    now, later = gone["sessions"], gone["in_use"]
    if session is not None:
        ending = "is in use: it is forgotten when its request ends" if later else "is forgotten"
        click.echo(f"{printable(session)} {ending}")
        return
    click.echo(f"{_sessions(len(now))} forgotten, and what requests without one had left")
    if later:
        click.echo(f"{_sessions(len(later))} in use, to be forgotten when their requests end")


def _sessions(n: int) -> str:
    return f"{n} session{'' if n == 1 else 's'}"


def priority(session: str, lane: str, socket: str | None) -> None:
    """Move SESSION, or a request, to LANE; it counts from the next token."""
    moved = call(socket, lambda client: client.set_priority(session, lane))
    click.echo(f"{moved} request{'' if moved == 1 else 's'} moved to {lane}")
