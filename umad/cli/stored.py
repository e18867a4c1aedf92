"""Runs `umad ls`, `rm`, `cp` and `verify`: the models of this machine.

These commands look at the disk themselves and need no daemon; `rm` asks a running one whether it
has the model loaded.
"""

import asyncio
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from umad import nano
from umad.cli.connect import call
from umad.cli.here import found, library, shipped_model
from umad.cli.printed import printable
from umad.cli.tables import byte_size, open_console, parameter_count, plain_table
from umad.errors import NoDaemon, Refused, UnknownModel
from umad.exit_codes import DONE, FAILED
from umad.model_names import KnownModel, resolve
from umad.models.copying import check_new_name, copy
from umad.models.facts import FileFacts
from umad.models.files import stem_of
from umad.models.found import FoundModel, described
from umad.models.library import Library
from umad.models.removal import remove
from umad.models.store import Store
from umad.models.verifying import Verified, verify
from umad.service import Service

Rows = Sequence[Mapping[str, Any]]

_MOST_APPS = 5
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


# -- ls --------------------------------------------------------------------------------------------


def ls(*, as_json: bool) -> None:
    """List the models of this machine."""
    here = library()
    known = [described(shipped_model()), *here.described()]
    shown = [model for model, _ in known]
    uses = {} if here.store is None else here.store.index.last_uses()
    if as_json:
        click.echo(json.dumps([row_of(one, uses) for one in shown]))
        return
    table = plain_table()
    for heading in ("MODEL", "SIZE", "QUANT", "PARAMS", "USED", "PLACE"):
        is_figure = heading in ("SIZE", "PARAMS", "USED")
        table.add_column(heading, justify="right" if is_figure else "left", overflow="fold")
    rows = under_their_models(known)
    for one, beneath in rows:
        table.add_row(
            f"  +{printable(one.name)}" if beneath else printable(one.name),
            byte_size(one.size_bytes),
            one.quantization or "-",
            parameter_count(one.n_params),
            ago(uses.get(one.name)),
            one.place,
        )
    console = open_console()
    console.print(table)
    for one, beneath in rows:
        if one.kind == "adapter" and not beneath:
            console.print(
                f"{printable(one.name)} is an adapter, and the model it was made for is not here"
            )
        elif one.kind != "adapter" and one.problem:
            console.print(f"{printable(one.name)} cannot be served: {printable(one.problem)}")


def under_their_models(
    known: Sequence[tuple[FoundModel, FileFacts | None]],
) -> Sequence[tuple[FoundModel, bool]]:
    """Every model, each followed by the adapters that were made for it; then the other adapters.

    Beside each stands whether it is an adapter under its model. An adapter that does not say for
    which model it was made stands under every one of its architecture.
    """
    adapters = [(one, facts) for one, facts in known if facts and facts.kind == "adapter"]
    rows: list[tuple[FoundModel, bool]] = []
    placed: set[str] = set()
    for model, facts in known:
        if facts is not None and facts.kind == "adapter":
            continue
        rows.append((model, False))
        for adapter, about in adapters:
            if facts is not None and _is_for(about, model, facts):
                rows.append((adapter, True))
                placed.add(adapter.name)
    return rows + [(one, False) for one, _ in adapters if one.name not in placed]


def _is_for(adapter: FileFacts, model: FoundModel, facts: FileFacts) -> bool:
    if facts.kind != "model" or facts.architecture != adapter.architecture:
        return False
    if not adapter.base:
        return True
    names = {one for one in (facts.title, stem_of(model.files.main)) if one}
    known = [KnownModel(name=one, n_params=model.n_params) for one in sorted(names)]
    try:
        return resolve(adapter.base, known, whole=True) is not None
    except UnknownModel:  # both names fit
        return True


def row_of(model: FoundModel, uses: Mapping[str, int]) -> Mapping[str, Any]:
    return {
        "name": model.name,
        "place": model.place,
        "source": model.source or None,
        "size_bytes": model.size_bytes,
        "quantization": model.quantization or None,
        "n_params": model.n_params,
        "kind": model.kind,
        "last_used_s": uses.get(model.name),
        "path": str(model.files.main),
        "files": [str(path) for path in model.files.all],
        "problem": model.problem or None,
    }


def ago(at_s: int | None) -> str:
    if at_s is None:
        return "-"
    age_s = max(0, round(datetime.now(UTC).timestamp()) - at_s)
    for unit_s, word in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if age_s >= unit_s:
            return f"{age_s // unit_s} {word} ago"
    return "now"


# -- rm, cp ----------------------------------------------------------------------------------------


def rm(names: Sequence[str], socket: str | None) -> None:
    """Remove models that umad keeps."""
    here = library()
    # Two names of one model, or one name twice, are one.
    models = list({(one := found(here, name)).name: one for name in names}.values())
    loaded = _loaded(socket)
    for model in models:
        _refuse_used(model, loaded)
    for model in models:
        removed = remove(model, _store(here))
        click.echo(f"{printable(model.name)} is removed, {byte_size(removed.freed_bytes)} freed")


def _loaded(socket: str | None) -> tuple[Rows, Rows]:
    """The models and requests of the daemon; none where no daemon runs."""
    try:
        return call(socket, _look)
    except NoDaemon:
        return (), ()


async def _look(client: Service) -> tuple[Rows, Rows]:
    models, requests = await asyncio.gather(client.models(), client.sessions())
    return models, requests


def _refuse_used(model: FoundModel, loaded: tuple[Rows, Rows]) -> None:
    """Raise `Refused` where the daemon has a file of the model open."""
    rows, requests = loaded
    files = {os.path.realpath(path) for path in model.files.all}
    for row in rows:
        if row.get("path") is None or os.path.realpath(row["path"]) not in files:
            continue
        apps = list(dict.fromkeys(one["app"] for one in requests if one["model"] == row["name"]))
        more = f" and {len(apps) - _MOST_APPS} more" if len(apps) > _MOST_APPS else ""
        used = f", and used by {', '.join(apps[:_MOST_APPS])}{more}" if apps else ""
        raise Refused(
            f"{model.name} is loaded by the daemon (pid {row.get('pid')}){used}; "
            f"unload it first: umad unload {shlex.quote(str(row['name']))}",
            field="model",
        )


def cp(name: str, new: str) -> None:
    """Give a model another name; nothing is copied."""
    here = library()
    model = found(here, name)
    check_new_name(new, (nano.NAME, *(one.name for one in here.models())), field="new")
    copy(model, new, _store(here))
    click.echo(f"{printable(new)} is {printable(model.name)}")


def _store(here: Library) -> Store:
    if here.store is None:
        raise Refused("there is no store")  # the command's library has one
    return here.store


# -- verify ----------------------------------------------------------------------------------------


def verify_models(names: Sequence[str], *, as_json: bool) -> int:
    """Look at every byte of models whose checksums are known, and at the shape of others."""
    here = library()
    models = [found(here, name) for name in names] or [shipped_model(), *here.models()]
    rows: list[dict[str, Any]] = []
    with _progress(sum(one.size_bytes for one in models), is_shown=not as_json) as progress:
        task = progress.add_task("", total=sum(one.size_bytes for one in models))
        for model in models:
            progress.update(task, description=printable(model.name))
            store = here.store
            stored = None if store is None else store.listed_as(model.name, model.files)
            digests = {} if stored is None else stored.digests
            looked = verify(
                model.files, digests, on_bytes=lambda n_bytes: progress.advance(task, n_bytes)
            )
            rows.extend(_verified_row(model, one) for one in looked)
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            click.echo(_verified_line(row))
    return FAILED if any(row["problem"] for row in rows) else DONE


def _progress(total_bytes: int, *, is_shown: bool) -> Progress:
    console = open_console()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=False),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (is_shown and console.is_terminal and total_bytes),
    )


def _verified_row(model: FoundModel, one: Verified) -> dict[str, Any]:
    return {
        "name": model.name,
        "file": str(one.path),
        "by": one.by,
        "problem": one.problem or None,
    }


def _verified_line(row: Mapping[str, Any]) -> str:
    how = "every byte" if row["by"] == "bytes" else "header and length; no checksum is known"
    what = f"DAMAGED: {row['problem']}" if row["problem"] else f"good ({how})"
    return printable(f"{row['name']}  {row['file']}  {what}")
