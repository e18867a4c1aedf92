"""Runs `umad serve`: this process becomes the daemon.

Every option of `umad.configuration.options` is a flag here.
"""

import os
from pathlib import Path
from typing import Any

import click

from umad.cli.flags import FLAGGED, GATEWAY, as_arguments, given_flags, models_text
from umad.cli.here import library
from umad.cli.parent import end_with_stdin
from umad.configuration.meanings import said_at_start
from umad.configuration.refused import check_refused
from umad.configuration.sources import LoadedSettings, load
from umad.daemon.bandwidth import Budget, machine_memory, settle_budget
from umad.daemon.server import run_daemon
from umad.engine.library.choice import use_libraries
from umad.gateway.door.check import check_door
from umad.isolated import python_module


def serve(
    models: tuple[str, ...],
    path: Path | None,
    ipc: str,
    context_shift: bool,
    until_stdin_closes: bool,
    **given: Any,
) -> int:
    """Serve MODELs (default: nano, which ships with umad) to every app of this user."""
    if context_shift:
        check_refused("context_shift", "true", "--context-shift")
    flags = given_flags(FLAGGED, given)
    if models:
        flags["model"] = models_text([*models, *given["set_model"]])
    loaded = load(environ=os.environ, flags=flags, path=path)
    if until_stdin_closes:
        end_with_stdin()
    check_door(loaded.settings.http)  # before anything is loaded
    for line in said_at_start(loaded.settings, ipc=ipc):
        click.echo(f"umad: {line}", err=True)
    if line := use_libraries(loaded.settings, os.environ).line:
        click.echo(f"umad: {line}", err=True)
    return run_daemon(
        loaded.settings,
        budget=lambda: _budget(loaded),
        library=library(loaded.settings, path),
        companions=() if loaded.settings.http.listen is None else (_gateway(path, flags),),
    )


def _gateway(path: Path | None, flags: dict[str, str]) -> tuple[str, list[str]]:
    """Name and command line of the gateway, which reads the same file and environment."""
    command = python_module("umad", "gateway", "--until-stdin-closes")
    if path is not None:
        command.append(f"--config={path}")
    return "gateway", command + as_arguments(GATEWAY, flags)


def _budget(loaded: LoadedSettings) -> Budget | None:
    settings = loaded.settings
    return settle_budget(
        settings.bmt_budget_gbps,
        machine_memory(settings.engine.threads, os.environ),
        origin=loaded.origins.get("bmt_budget_gbps", "defaults"),
    )
