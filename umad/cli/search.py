"""Runs `umad search`: models of the catalogue, then GGUF repositories of the hub."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from umad.cli.here import catalogue
from umad.cli.printed import printable
from umad.cli.tables import number, open_console, parameter_count, plain_table
from umad.models.catalogue import CatalogueEntry
from umad.models.hub_search import HubRepository, search_hub


def search(words: Sequence[str], *, limit: int, as_json: bool) -> None:
    """Find models for some words."""
    text = " ".join(words)
    known = catalogue().search(text)
    if as_json:
        found = search_hub(text, limit=limit)
        rows = {"catalogue": [asdict(one) for one in known], "hub": [asdict(one) for one in found]}
        click.echo(json.dumps(rows))
        return
    # What umad knows by itself is there without a network too.
    if known:
        _print_known(known)
    found = search_hub(text, limit=limit)
    if known and found:
        click.echo()
    if found:
        _print_found(found)
    elif not known:
        click.echo(f"nothing is found for {printable(text)!r}", err=True)


def _print_known(entries: Sequence[CatalogueEntry]) -> None:
    table = plain_table()
    for heading in ("MODEL", "PARAMS", "CONTEXT", "LICENCE", "CAN", "FOR"):
        table.add_column(heading, justify="right" if heading in ("PARAMS", "CONTEXT") else "left")
    for one in entries:
        table.add_row(
            one.name,
            one.parameters,
            number(one.context_tokens),
            one.licence,
            ", ".join(one.does),
            printable(one.purpose),
        )
    open_console().print(table)


def _print_found(rows: Sequence[HubRepository]) -> None:
    table = plain_table()
    for heading in ("REPOSITORY", "PARAMS", "CONTEXT", "LICENCE", "DOWNLOADS", "LIKES"):
        is_left = heading in ("REPOSITORY", "LICENCE")
        table.add_column(heading, justify="left" if is_left else "right")
    for one in rows:
        table.add_row(
            printable(f"hf:{one.name}") + (" (asks for consent)" if one.is_gated else ""),
            parameter_count(one.n_params),
            number(one.context_tokens),
            printable(one.licence) or "-",
            number(one.downloads),
            number(one.likes),
        )
    open_console().print(table)
