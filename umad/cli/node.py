"""Runs `umad node join`: this machine becomes a node of a team; and `umad node ls --lan`.

Not: joining itself (`umad.router.joining`), nor looking (`umad.router.lan`). It needs no daemon.
"""

import asyncio
import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click

from umad.cli.printed import printable
from umad.cli.tables import open_console, plain_table
from umad.errors import BadRequest
from umad.exit_codes import DONE, FAILED
from umad.router.folder import default_folder, team_authority
from umad.router.invitations import token_of
from umad.router.lan import look_around
from umad.router.members import NodeKind

_MOST_TOKEN_CHARS = 1000
# Of a fingerprint: enough to compare by eye.
_SHOWN_CHARS = 16


def ls(lan: bool, within_s: float, interface: str | None, as_json: bool) -> int:
    """Show what is announced in the local network."""
    chosen = () if interface is None else (interface,)
    found = asyncio.run(look_around(within_s, interfaces=chosen))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
        return DONE if found else FAILED
    table = plain_table()
    for title in ("ROUTER", "JOIN AT", "AUTHORITY", "VERSION"):
        table.add_column(title)
    for one in found:
        at = f"[{one.host}]:{one.port}" if ":" in one.host else f"{one.host}:{one.port}"
        cells = (one.name, at, one.authority[:_SHOWN_CHARS], one.version)
        table.add_row(*map(printable, cells))
    open_console().print(table)
    return DONE if found else FAILED


def join(
    address: str, token: str, host: str | None, port: int, kind: str, out: Path | None
) -> None:
    """Get a certificate, and say what to run."""
    team_authority()  # says what to install
    from umad.router.joining import join_team  # noqa: PLC0415

    _, colon, digits = address.rpartition(":")
    if not colon or not digits.isdecimal():
        raise BadRequest(f"{address!r} is no address: write HOST:PORT", field="address")
    shown = token_of(sys.stdin.readline(_MOST_TOKEN_CHARS) if token == "-" else token)
    folder = default_folder(os.environ).parent / "node" if out is None else out.expanduser()
    joined = join_team(address, shown, folder.absolute(), host=host, port=port, kind=NodeKind(kind))
    click.echo(f"this machine is {joined.name}, node {joined.number} of the team")
    click.echo(f"its certificates are in {printable(str(folder))}")
    if kind == NodeKind.UMAD.value:
        command = f"umad serve --http 0.0.0.0:{port} --gateway-team {shlex.quote(str(folder))}"
        click.echo(f"next: {printable(command)}")
