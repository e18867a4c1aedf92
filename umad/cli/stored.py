"""Runs `umad ls`, `rm`, `cp` and `verify`: the models of this machine.

These commands look at the disk themselves and need no daemon; `rm` asks a running one whether it
has the model loaded.
"""

import asyncio
import contextlib
import json
import os
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
from umad.daemon.model_use import adapter_refusal, is_at_rest, refusal, state_of
from umad.errors import NoDaemon, Refused, UnknownModel
from umad.exit_codes import DONE, FAILED
from umad.jobs.readers import refuse_read
from umad.model_names import KnownModel, resolve
from umad.models.copying import check_new_name, copy
from umad.models.facts import FileFacts
from umad.models.files import stem_of
from umad.models.found import FoundModel, described
from umad.models.library import Library
from umad.models.presets import SavedPresets
from umad.models.removal import going, remove
from umad.models.store import Store
from umad.models.verifying import Verified, verify
from umad.service import Service

Rows = Sequence[Mapping[str, Any]]

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
    """Remove models that umad keeps, and presets that were saved."""
    here = library()
    store = _store(here)
    saved = SavedPresets(store.folder)
    presets = [name for name in dict.fromkeys(names) if name in saved.current()]
    # Two names of one model, or one name twice, are one.
    others = (name for name in names if name not in presets)
    models = list({(one := found(here, name)).name: one for name in others}.values())
    loaded = _loaded(socket) if models else ((), ())
    at_rest = [name for model in models for name in _refuse_used(model, store, loaded)]
    for name in presets:
        saved.remove(name)
        click.echo(f"{printable(name)} is removed; it was a preset")
    for name in dict.fromkeys(at_rest):
        _forget(name, socket)
    for model in models:
        removed = remove(model, store)
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


def _forget(name: str, socket: str | None) -> None:
    """Have the daemon forget a model that has no process. It may have done so by itself."""
    with contextlib.suppress(NoDaemon, UnknownModel):
        call(socket, lambda client: client.unload(name))


def _refuse_used(model: FoundModel, store: Store, loaded: tuple[Rows, Rows]) -> Sequence[str]:
    """The models that the daemon is to forget with this one. Raises `Refused` where it has a file
    open that would go, or a request uses the model as an adapter.
    """
    rows, requests = loaded
    files = going(model, store)
    refuse_read(model.name, files, store.folder)
    users = [
        str(one["app"])
        for one in requests
        if any(os.path.realpath(path) in files for path in one.get("adapter_paths") or ())
    ]
    if users:
        raise adapter_refusal(model.name, users)
    own = {os.path.realpath(path) for path in model.files.all}
    at_rest = []
    for row in rows:
        path, name = os.path.realpath(row.get("path") or ""), str(row["name"])
        if path not in files and not (name == model.name and path in own):
            continue
        state = state_of(row)
        apps = [str(one["app"]) for one in requests if one["model"] == name]
        if not is_at_rest(state, is_wanted=bool(apps)):
            by = f" by the daemon (pid {row['pid']})" if row.get("pid") else " by the daemon"
            raise refusal(model.name, engine=name, state=state, apps=apps, by=by)
        at_rest.append(name)
    return at_rest


def cp(name: str, new: str) -> None:
    """Give a model another name; nothing is copied."""
    here = library()
    model = found(here, name)
    taken = (nano.NAME, *(one.name for one in here.models()), *here.catalogue.presets)
    check_new_name(new, taken, field="new")
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
