"""Declares `umad service` and its commands: their words, options and help. Not: their work.

A command imports its work when it runs, as all do (`umad.cli.commands`).
"""

from pathlib import Path

import click

from umad.cli.commands import file_option, json_option
from umad.cli.exits import NearestGroup

system_option = click.option(
    "--system",
    "for_system",
    is_flag=True,
    help="macOS: as a LaunchDaemon, which needs no login; with sudo.",
)


@click.group(cls=NearestGroup)
def service() -> None:
    """Keep umad running: from each login on, and again after a crash.

    On macOS launchd does that, on Linux the user's own systemd, which starts the daemon at the
    first connection.
    """


@service.command()
@click.option("--http", metavar="ADDR", help="Serve HTTP there, too, such as 127.0.0.1:8080.")
@file_option
@click.option("--dry-run", is_flag=True, help="Print what would be written, and end.")
@system_option
def install(http: str | None, path: Path | None, dry_run: bool, for_system: bool) -> None:
    """Install the service, or bring it to this version, and start it.

    What is installed already and has not changed is left as it is, and so are options that are not
    given again. A daemon that runs in the service is restarted once where something changed; its
    answers end first.
    """
    from umad.cli.service import install as work

    work(http, path, dry_run=dry_run, for_system=for_system)


@service.command()
@system_option
def uninstall(for_system: bool) -> None:
    """End the daemon of the service and remove the service. Models and settings stay."""
    from umad.cli.service import uninstall as work

    work(for_system=for_system)


@service.command()
@system_option
def start(for_system: bool) -> None:
    """Start the service; returns before its models are loaded."""
    from umad.cli.service import start as work

    work(for_system=for_system)


@service.command()
@system_option
def stop(for_system: bool) -> None:
    """Let running answers end, then end the daemon, until the next start or login."""
    from umad.cli.service import stop as work

    work(for_system=for_system)


@service.command()
@system_option
@json_option
def status(for_system: bool, as_json: bool) -> int:
    """Show whether the service runs.

    Exit code 0 where it runs or waits for a connection, 1 where it failed, 3 where it does not run.
    """
    from umad.cli.service import status as work

    return work(for_system=for_system, as_json=as_json)


@service.command()
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 1_000_000),
    default=100,
    show_default=True,
    help="Show so many of the last lines.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with lines as they come.")
@system_option
def logs(lines: int, follow: bool, for_system: bool) -> None:
    """Show the daemon's log."""
    from umad.cli.service import logs as work

    work(lines, follow=follow, for_system=for_system)
