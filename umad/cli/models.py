"""Runs `umad load` and `umad unload`: starts and ends the engines of models."""

import json

import click

from umad.cli.connect import call
from umad.cli.printed import printable


def load(model: str, socket: str | None, *, as_json: bool) -> None:
    """Load MODEL and wait until it answers."""
    facts = call(socket, lambda client: client.load(model))
    if as_json:
        click.echo(json.dumps(dict(facts)))
    else:
        click.echo(f"{printable(str(facts.get('name', model)))} is loaded")


def unload(model: str, socket: str | None) -> None:
    """End MODEL's engine; requests that run on it fail."""
    call(socket, lambda client: client.unload(model))
    click.echo(f"{printable(model)} is unloaded")
