"""Finds the names that a person may mean while typing a command, for completion.

Each is looked for where it is: at the daemon, on the disk, in the configuration. Whoever waits for
them has pressed a key, so the daemon gets `LOOK_S`, and what cannot be had is left out silently. A
key starts no daemon: where a service manager listens for one, nobody is asked.
Not: deciding what a name means (`umad.cli.here`, the daemon).
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from umad import nano
from umad.cli.here import catalogue, library
from umad.client import AsyncClient, ClientOptions
from umad.client.opening import places_of
from umad.configuration.sources import load
from umad.daemon.socket_file import is_owned
from umad.errors import UmadError
from umad.jobs.book import opened
from umad.models.store import store_folder
from umad.request import BACKGROUND, INTERACTIVE

LOOK_S = 0.7
_OPTIONS = ClientOptions(name="umad-completion", connect_s=LOOK_S, call_s=LOOK_S)
Rows = list[Mapping[str, Any]]


def known_names(kinds: Iterable[str], socket: str | None = None) -> list[str]:
    """The names of these `KINDS`, each once. Those with characters that a terminal obeys are left
    out: they cannot be typed.
    """
    found: dict[str, None] = {}
    for kind in kinds:
        try:
            names = KINDS[kind](socket)
        except (UmadError, OSError, ValueError):
            continue
        found |= dict.fromkeys(name for name in names if name and name.isprintable())
    return list(found)


def _loaded(socket: str | None) -> Iterable[str]:
    return [str(row.get("name")) for row in _asked(socket)[0]]


def _stored(socket: str | None) -> Iterable[str]:
    return (nano.NAME, *(model.name for model in library().models()))


def _catalogued(socket: str | None) -> Iterable[str]:
    known = catalogue()
    return (*known.entries, *known.presets)


def _requests(socket: str | None) -> Iterable[str]:
    return [str(row.get("request")) for row in _asked(socket)[1]]


def _sessions(socket: str | None) -> Iterable[str]:
    return [str(row["session"]) for row in _asked(socket)[1] if row.get("session")]


def _jobs(socket: str | None) -> Iterable[str]:
    with opened(store_folder(os.environ)) as book:
        return [job.id for job in book.jobs()]


def _lanes(socket: str | None) -> Iterable[str]:
    try:
        configured = tuple(load(environ=os.environ).settings.qos)
    except UmadError:  # `umad config check` says what is wrong
        configured = ()
    return (INTERACTIVE, BACKGROUND, *configured)


KINDS: Mapping[str, Callable[[str | None], Iterable[str]]] = {
    # Models that the daemon has.
    "loaded": _loaded,
    # Models that are on this machine.
    "stored": _stored,
    # Models that could be fetched, and presets.
    "catalogue": _catalogued,
    "requests": _requests,
    "sessions": _sessions,
    # Pulls, quantizations and loads, those that are over too.
    "jobs": _jobs,
    "lanes": _lanes,
}


def _asked(socket: str | None) -> tuple[Rows, Rows]:
    """The daemon's models and requests."""
    # The connection itself would start a daemon (`umad.daemon.activation`).
    owned = [place for place in places_of(socket) if is_owned(Path(os.path.realpath(place)))]
    return asyncio.run(_ask(owned[0])) if owned else ([], [])


async def _ask(socket: str) -> tuple[Rows, Rows]:
    client = AsyncClient(socket, options=_OPTIONS)
    try:
        async with asyncio.timeout(LOOK_S):
            models, sessions = await asyncio.gather(client.models(), client.sessions())
            return list(models), list(sessions)
    finally:
        await client.close()
