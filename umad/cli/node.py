"""Runs `umad node join`: this machine becomes a node of a team.

Not: joining itself (`umad.router.joining`). It needs no daemon.
"""

import os
import shlex
import sys
from pathlib import Path

import click

from umad.cli.printed import printable
from umad.errors import BadRequest
from umad.router.folder import default_folder, team_authority
from umad.router.invitations import token_of
from umad.router.members import NodeKind

_MOST_TOKEN_CHARS = 1000


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
