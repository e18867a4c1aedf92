"""Declares the commands that editors start: their words and help.

Not: their work (`umad.cli.editors`).
"""

import click

from umad.cli.commands import socket_option
from umad.cli.completion import names_of

model_option = click.option(
    "--model",
    metavar="MODEL",
    help="Model to ask, where the editor's settings name none.",
    shell_complete=names_of("loaded", "stored"),
)


@click.command()
@model_option
@socket_option
def lsp(model: str | None, socket: str | None) -> int:
    """Serve inline completions to an editor over stdin and stdout (LSP).

    Neovim, Helix and Emacs start it; docs/editors.md says how.
    """
    from umad.cli.editors import lsp as work

    return work(socket, model)


@click.command()
@model_option
@click.option(
    "--lane",
    metavar="LANE",
    help="interactive, background, or a configured lane.",
    shell_complete=names_of("lanes"),
)
@socket_option
def acp(model: str | None, lane: str | None, socket: str | None) -> None:
    """Be an agent of an editor over stdin and stdout (Agent Client Protocol).

    Zed and others start it; docs/editors.md says how.
    """
    from umad.cli.editors import acp as work

    work(socket, model, lane)


EDITOR_COMMANDS: tuple[click.Command, ...] = (lsp, acp)
