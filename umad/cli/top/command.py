"""Runs `umad top`: looks whether there is a terminal and a daemon, and then shows the screen.

Not: the screen (`umad.cli.top.screen`). Where either is missing it says so in one line, as every
command does, and draws nothing.
"""

import asyncio
import os
import signal
import sys

import click

from umad.cli.top.screen import EVERY_S, TopScreen, look
from umad.client import AsyncClient, ClientOptions
from umad.client.remote.team import TeamClient
from umad.exit_codes import DONE, FAILED
from umad.router.folder import default_folder

# The screen bounds its looks itself, and looks again for a daemon that has gone; to unload a model
# may take longer.
_OPTIONS = ClientOptions(name="umad-top", return_s=0.0)


def top(socket: str | None, router: str | None = None, every_s: float = EVERY_S) -> int:
    """Show who runs, until q. router: the folder of a team's router, "" for the usual one; None for
    a daemon. Raises `NoDaemon`; a usage error where there is no terminal.
    """
    _check_terminal()
    with asyncio.Runner() as runner:
        return runner.run(_run(socket, router, every_s))


async def _run(socket: str | None, router: str | None, every_s: float) -> int:
    if router is None:
        client = AsyncClient(socket, options=_OPTIONS)
    else:
        folder = router or str(default_folder(os.environ))
        client = TeamClient.of_folder(folder, options=_OPTIONS)
    try:
        first = await look(client)
        screen = TopScreen(client, first, every_s=every_s, plain=not _has_blocks())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            # The terminal is put back as it was before the process ends.
            loop.add_signal_handler(number, screen.exit)
        await screen.run_async(mouse=True)
    finally:
        await client.close()
    return FAILED if screen.return_code else DONE


def _check_terminal() -> None:
    # Textual draws on stderr, and reads keys from stdin.
    streams = (sys.stdin, sys.stdout, sys.__stderr__)
    if not all(stream is not None and stream.isatty() for stream in streams):
        raise click.UsageError("top needs a terminal; umad ps and umad metrics do not.")
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise click.UsageError(
            "this terminal cannot move its cursor (TERM is unset or dumb); use umad ps."
        )


def _has_blocks() -> bool:
    """Whether the terminal's encoding has the signs of a sparkline."""
    encoding = getattr(sys.__stderr__, "encoding", None) or "ascii"
    try:
        "▁█".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
