"""Runs `umad load` and `umad unload`: starts and ends the engines of models."""

import json
from collections.abc import Mapping
from typing import Any

import click

from umad.cli.connect import call
from umad.cli.printed import printable
from umad.estimate import fitting_words


def load(model: str, socket: str | None, *, as_json: bool) -> None:
    """Load MODEL and wait until it answers."""
    facts = call(socket, lambda client: client.load(model))
    if as_json:
        click.echo(json.dumps(dict(facts)))
    else:
        click.echo(f"{printable(str(facts.get('name', model)))} is loaded{_fitting(facts)}")


def _fitting(facts: Mapping[str, Any]) -> str:
    """The part of the model's longest text that has room, where it generates."""
    n_cells = facts.get("n_cells")
    if not n_cells:
        return ""
    # Where training bounds a text, that is with its positions scaled as they are.
    bound = "text_tokens" if facts.get("text_bound") == "training" else "n_ctx_train"
    trained = facts.get(bound) or 0
    return f": {fitting_words(n_cells, trained)}"


def unload(model: str, socket: str | None) -> None:
    """End MODEL's engine; requests that run on it fail."""
    call(socket, lambda client: client.unload(model))
    click.echo(f"{printable(model)} is unloaded")
