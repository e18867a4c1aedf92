"""`umad serve`: becomes the daemon. Every option of `umad.config_options` is a flag here."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from umad.cli.config import file_option
from umad.config_file import Loaded, load
from umad.config_options import SCALARS, Option
from umad.daemon.bandwidth import Budget, machine_memory, settle_budget
from umad.daemon.server import run_daemon


def _flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """One click option per option of the table; values stay text until `config_file` reads them,
    so that a wrong one is reported alike wherever it stands."""
    for option in reversed(SCALARS):
        command = click.option(
            *_spellings(option),
            _parameter(option.name),
            default=None,
            metavar=option.kind.metavar or None,
            help=f"{option.help} [env: {option.variables[0]}]",
            hidden=not option.shown,
        )(command)
    return command


def _spellings(option: Option) -> list[str]:
    if not option.kind.flag:
        return list(option.flags)
    return [f"{flag}/--no-{flag.removeprefix('--')}" for flag in option.flags]


def _parameter(name: str) -> str:
    return "set_" + name.replace(".", "_")


@click.command(epilog="Every key that `umad config show` lists is a flag too.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@file_option
@_flags
@click.option("--ipc", type=click.Choice(["uds"]), default="uds", help="How clients connect.")
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def serve(
    models: tuple[str, ...], path: Path | None, ipc: str, until_stdin_closes: bool, **given: Any
) -> int:
    """Serve MODELs (default: nano, which ships with umad) to every app of this user."""
    flags = {
        option.name: _text(given[_parameter(option.name)])
        for option in SCALARS
        if given[_parameter(option.name)] is not None
    }
    if models:
        flags["model"] = "[" + ", ".join(_quoted(one) for one in models) + "]"
    loaded = load(environ=os.environ, flags=flags, path=path)
    if until_stdin_closes:
        _end_with_stdin()
    return run_daemon(loaded.settings, budget=lambda: _budget(loaded))


def _budget(loaded: Loaded) -> Budget | None:
    settings = loaded.settings
    return settle_budget(
        settings.bmt_budget_gbps,
        machine_memory(settings.engine.threads, os.environ),
        origin=loaded.origins.get("bmt_budget_gbps", "defaults"),
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _end_with_stdin() -> None:
    """End this daemon as by SIGTERM once whoever holds its stdin is gone, killed or not."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()
