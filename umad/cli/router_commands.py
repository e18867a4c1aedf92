"""Declares `umad router` and its commands: their words, options and help. Not: their work.

A command imports its work when it runs, as all do (`umad.cli.commands`).
"""

from pathlib import Path
from typing import Any

import click

from umad.cli.commands import json_option
from umad.cli.exits import NearestGroup

folder_option = click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the router.  [default: router, beside umad.yaml]",
)


@click.group(cls=NearestGroup)
def router() -> None:
    """Make several machines one address. HAProxy carries the requests; umad says where to.

    A conversation stays where its cache is, and a new one goes where there is room. Begin with
    `umad router init`.
    """


@router.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="For clients.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    help="Certificate and key that clients see (PEM). Needed where other machines reach it.",
)
@click.option("--join", metavar="HOST:PORT", help="Where machines join with a token.")
@folder_option
def init(**given: Any) -> None:
    """Make the router's folder, with a certificate authority of the team's own."""
    from umad.cli.router import init as work

    work(**given)


@router.command()
@click.argument("name")
@folder_option
def invite(**given: Any) -> None:
    """Print a token with which one machine joins as NAME, once, within an hour.

    That machine runs `umad node join HOST:PORT --token TOKEN`. A router has to run, with `--join`
    given to `umad router init` (join in router.yaml). A member that joins again keeps its sessions.
    """
    from umad.cli.router import invite as work

    work(**given)


@router.command()
@click.argument("name")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True)
@folder_option
def certify(**given: Any) -> None:
    """Write the certificate and the key of node NAME into DIR, to be carried to that machine.

    There, umad serves the router alone with `umad serve --http HOST:PORT --gateway-team DIR`. vLLM,
    SGLang and llama-server take cert.pem, key.pem and ca.pem by options of their own.
    """
    from umad.cli.router import certify as work

    work(**given)


@router.command()
@click.argument("name")
@click.argument("address", metavar="HOST:PORT")
@click.option(
    "--kind",
    type=click.Choice(("umad", "vllm", "sglang", "llama-server")),
    default="umad",
    show_default=True,
    help="What serves there.",
)
@click.option(
    "--size", type=float, default=1.0, show_default=True, help="Of the largest machine, 0 to 1."
)
@click.option("--key-file", metavar="FILE", help="Key with which the router asks it.")
@folder_option
def add(**given: Any) -> None:
    """Take a node into the team. A router that runs sends it sessions once it has answered."""
    from umad.cli.router import add as work

    work(**given)


@router.command()
@click.argument("name")
@folder_option
def remove(**given: Any) -> None:
    """Take a node out of the team. What runs there ends first; its sessions go to others."""
    from umad.cli.router import remove as work

    work(**given)


@router.command()
@click.argument("name")
@folder_option
def drain(**given: Any) -> None:
    """Send a node no new sessions. Those that it has stay."""
    from umad.cli.router import drain as work

    work(**given, wanted=True)


@router.command()
@click.argument("name")
@folder_option
def ready(**given: Any) -> None:
    """Send a node new sessions again."""
    from umad.cli.router import drain as work

    work(**given, wanted=False)


@router.command()
@folder_option
def run(**given: Any) -> int:
    """Start HAProxy, unless it runs, and keep it right until this ends. HAProxy then goes on."""
    from umad.cli.router import run as work

    return work(**given)


@router.command()
@click.option("--now", "at_once", is_flag=True, help="Cut what runs.")
@folder_option
def stop(**given: Any) -> int:
    """End HAProxy: it takes nobody new, and what runs ends. End `umad router run` first.

    Exit code 3 where none runs.
    """
    from umad.cli.router import stop as work

    return work(**given)


@router.command()
@folder_option
@json_option
def ls(**given: Any) -> int:
    """Show the nodes: how they are, what room they have, and what is wrong.

    Exit code 3 where no router runs; what is shown is what was known last.
    """
    from umad.cli.router import ls as work

    return work(**given)


@router.command()
@click.argument("session")
@click.option("--model", default=None, help="The model that its requests name.  [default: none]")
@click.option(
    "--api-key-file", metavar="FILE", help="Key that its requests carry.  [default: none]"
)
@folder_option
def why(**given: Any) -> int:
    """Say on which node SESSION is, and why. Exit code 1 where it is not known.

    SESSION is what requests name in X-Umad-Session or in the field session. Their model and their
    API key are part of what a session is.
    """
    from umad.cli.router import why as work

    return work(**given)


@click.group(cls=NearestGroup)
def node() -> None:
    """Make this machine a node of a team."""


@node.command("ls")
@click.option("--lan", is_flag=True, required=True, help="Look at the local network.")
@click.option(
    "--for",
    "within_s",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 60),
    default=2.0,
    show_default=True,
    help="How long to look.",
)
@click.option("--interface", metavar="ADDRESS", help="Look there alone.  [default: everywhere]")
@json_option
def ls_lan(**given: Any) -> int:
    """Show the routers that announce themselves in the local network. It needs `umad[lan]`.

    Anybody can announce anything there: a token says which router to join. Exit code 1 where none
    is found.
    """
    from umad.cli.node import ls as work

    return work(**given)


@node.command("join")
@click.argument("address", metavar="HOST:PORT")
@click.option("--token", required=True, help="As `umad router invite` prints it; - reads it.")
@click.option("--host", help="Where the router reaches this machine.  [default: as it sees it now]")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8443,
    show_default=True,
    help="Port at which this machine serves.",
)
@click.option(
    "--kind",
    type=click.Choice(("umad", "vllm", "sglang", "llama-server")),
    default="umad",
    show_default=True,
    help="What serves here.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for the certificates.  [default: node, beside umad.yaml]",
)
def join(**given: Any) -> None:
    """Get a certificate of the team whose router is at HOST:PORT, and become its member.

    The key is made here and stays here. What to run then is printed.
    """
    from umad.cli.node import join as work

    work(**given)
