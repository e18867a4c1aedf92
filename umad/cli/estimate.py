"""Runs `umad estimate MODEL`: the memory of a model, part by part, without loading it.

It needs no daemon. Where one runs, what its models take is taken into account, as it would be at a
load.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from umad.adapters import split_name
from umad.cli.connect import call
from umad.cli.here import library
from umad.cli.printed import printable
from umad.cli.tables import open_console, plain_table
from umad.config import KvType, Settings
from umad.configuration.sources import load
from umad.daemon.drafts import DraftFiles
from umad.daemon.names import ModelFile, ModelNames, find_model_file, is_scheme
from umad.engine.estimates import Estimating
from umad.engine.launch import EngineOptions
from umad.engine.library.choice import use_libraries
from umad.errors import ModelLoadFailed, UmadError, UnknownModel
from umad.estimate import MemoryEstimate, bytes_words, engine_bytes
from umad.exit_codes import DONE, FAILED
from umad.models.adapters import memory_bytes


def estimate(
    model: str,
    ctx_size: int | None,
    max_seqs: int | None,
    kv_type: KvType | None,
    projector: Path | None,
    path: Path | None,
    socket: str | None,
    as_json: bool,
) -> int:
    """Show the memory that MODEL would take, part by part, and how many tokens would fit."""
    settings = load(environ=os.environ, path=path).settings
    use_libraries(settings, os.environ)
    file, adapters = _files(model, settings, path)
    asked: dict[str, Any] = {"ctx_size": ctx_size, "max_seqs": max_seqs, "kv_type": kv_type}
    given = {name: value for name, value in asked.items() if value is not None}
    adapters_bytes = memory_bytes(adapters)
    names = ModelNames(settings.models, library=library(settings, path))
    found = estimated(
        file,
        settings,
        given=given,
        socket=socket,
        projector=projector,
        drafts=DraftFiles(settings, names),
    )
    found = replace(found, adapters_bytes=adapters_bytes)
    if as_json:
        click.echo(json.dumps(found.as_map()))
    else:
        _print(file.name, found)
    return DONE if found.fits else FAILED


def estimated(
    file: ModelFile,
    settings: Settings,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
    socket: str | None = None,
    projector: Path | None = None,
    drafts: DraftFiles | None = None,
) -> MemoryEstimate:
    """The memory of a model beside those that a daemon has loaded. Raises `ModelLoadFailed`.

    given: options of the engine that are otherwise than `settings` have them. drafts: finds the
    files that may be the model's draft.
    """
    options = EngineOptions.of(
        settings,
        name=file.name,
        path=str(file.path),
        projector=file.projector,
        drafts=() if drafts is None else drafts.of(file),
    )
    options = replace(
        options,
        engine=replace(options.engine, **given),
        taken_bytes=_taken_bytes(socket, besides=file.name),
    )
    return Estimating(options, projector=projector and projector.absolute()).wait()


def _files(model: str, settings: Settings, path: Path | None) -> tuple[ModelFile, tuple[Path, ...]]:
    """The file of a model, and those of the adapters that are named with it. Raises `UnknownModel`,
    which names near ones, or `ModelLoadFailed`.
    """
    here = library(settings, path)
    names = ModelNames(settings.models, settings.model_folders, library=here)
    try:
        return _servable(_file(model, names)), ()
    except (UnknownModel, ModelLoadFailed):
        base, adapters = split_name(model)
        if not adapters:
            raise
        file = _servable(_file(base, names))
        return file, tuple(_file(one.name, names).path for one in adapters)


def _file(model: str, names: ModelNames) -> ModelFile:
    """The file of a path, or of any name that the daemon would load."""
    found = names.find(model)
    if found is not None:
        return found
    try:
        return find_model_file(model)
    except (UnknownModel, ModelLoadFailed) as error:
        if isinstance(error, UnknownModel) or is_scheme(model):
            raise names.unknown(model) from None
        raise


def _servable(file: ModelFile) -> ModelFile:
    if file.problem:
        raise ModelLoadFailed(f"{file.name} cannot be loaded: {file.problem}", field="model")
    return file


def _taken_bytes(socket: str | None, *, besides: str) -> int:
    """The bytes that the models of a running daemon take; 0 where none runs."""
    try:
        rows = call(socket, lambda client: client.models())
    except UmadError:
        return 0
    # A model without a process keeps its facts, and holds nothing.
    held = [row for row in rows if row.get("name") != besides and row.get("pid") is not None]
    return sum(engine_bytes(row) for row in held)


def _print(name: str, found: MemoryEstimate) -> None:
    click.echo(f"{printable(name)}: {found.fitting}")
    table = plain_table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for part in found.parts:
        table.add_row(part.name, bytes_words(part.n_bytes), part.words)
    table.add_row("total", bytes_words(found.total_bytes), _machine_words(found))
    for row in _besides(found):
        table.add_row(*row)
    open_console().print(table)
    if found.refused:
        click.echo(f"umad: it would be refused: {printable(found.refused)}", err=True)


def _machine_words(found: MemoryEstimate) -> str:
    taken = f", other models {bytes_words(found.taken_bytes)}" if found.taken_bytes else ""
    return f"this machine has {bytes_words(found.machine_bytes)}{taken}"


def _besides(found: MemoryEstimate) -> list[tuple[str, str, str]]:
    """Rows that are not part of the total."""
    rows = []
    if found.park_bytes:
        rows.append(("parking", bytes_words(found.park_bytes), "at most, for texts at rest"))
    if found.paged_bytes:
        rows.append(("in the file", bytes_words(found.paged_bytes), "experts, read as used"))
    if found.resident_bytes is not None:
        rows.append(
            (
                "in memory now",
                bytes_words(found.resident_bytes),
                "of the weights, by whoever read them",
            )
        )
    rows.append(("most", f"{found.most_tokens:,}", f"tokens, with {found.n_streams} streams"))
    return rows
