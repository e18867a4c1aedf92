"""Runs `umad gateway`: HTTP in front of a running daemon, in a process of its own."""

import os
from pathlib import Path
from typing import Any

import click

from umad.cli.config import file_option
from umad.cli.flags import GATEWAY, given_flags, option_flags
from umad.cli.parent import end_with_stdin, until_stdin_closes
from umad.configuration.sources import load
from umad.gateway.serving import run_gateway


@click.command()
@file_option
@option_flags(GATEWAY, show_all=True)
@until_stdin_closes
def gateway(path: Path | None, until_stdin_closes: bool, **given: Any) -> int:
    """Serve the OpenAI, Anthropic, Ollama and native HTTP interfaces of the running daemon."""
    settings = load(environ=os.environ, flags=given_flags(GATEWAY, given), path=path).settings
    if until_stdin_closes:
        end_with_stdin()
    return run_gateway(settings)
