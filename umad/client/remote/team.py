"""Provides `TeamClient`: a whole team as one daemon, for programs on the machine of its router.

Requests go through HAProxy, by a socket that only the router's user may open. What concerns no
single machine (the scorecard, the models, who works on what) is what the router heard of all nodes
last, which it writes into a file: the answer is some seconds old.
Not: the router (`umad.router`), nor what it adds up. Owner: the loop of the client.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from umad.asker import FACTS_FOR_USERS, MACHINE_USER
from umad.client.asynchronous import AsyncClient
from umad.client.options import ClientOptions
from umad.client.rows import MetricsRow, ModelRow, RequestRow
from umad.errors import NoDaemon, Refused
from umad.private_file import read_named
from umad.team_files import FRONT_SOCKET, TEAM_FILE

_MOST_FILE_BYTES = 64 << 20


class TeamClient(AsyncClient):
    """A client of the team whose router has this folder."""

    _folder: Path

    @classmethod
    def of_folder(cls, folder: str, *, options: ClientOptions | None = None) -> Self:
        """Raises `BadConfig` for a path that no socket can have."""
        path = Path(folder).expanduser().absolute()
        client = cls.of_team(f"unix:{path / FRONT_SOCKET}", options=options)
        client._folder = path
        return client

    @override
    async def models(self, *, stored: bool = False) -> list[ModelRow]:
        """Every model of every node, once, with the names of the nodes that have it."""
        rows = await self._told("models")
        if not self._is_admin:
            rows = [
                {name: row[name] for name in FACTS_FOR_USERS if name in row}
                for row in rows
                if isinstance(row, Mapping)
            ]
        return [ModelRow.of(row) for row in rows]

    @override
    async def sessions(self) -> list[RequestRow]:
        """The live requests of all nodes. Whose they are is not known here, so a user gets none."""
        if not self._is_admin:
            return []
        return [RequestRow.of(row) for row in await self._told("requests")]

    @override
    async def metrics(self) -> MetricsRow:
        """One scorecard of all nodes, and in `nodes` the figures of each."""
        if not self._is_admin:
            raise Refused("only an admin may see the scorecard")
        return MetricsRow.of(await self._told("scorecard"))

    @property
    def _is_admin(self) -> bool:
        return (self._asker or MACHINE_USER).is_admin

    async def _told(self, part: str) -> Any:
        path = self._folder / TEAM_FILE
        try:
            data = await asyncio.to_thread(read_named, path, _MOST_FILE_BYTES)
            told = json.loads(data)
        except FileNotFoundError:
            raise NoDaemon(f"{path} is not there; run the router: umad router run") from None
        except (OSError, ValueError) as error:
            raise NoDaemon(f"{path} cannot be read: {error}") from error
        value = told.get(part) if isinstance(told, Mapping) else None
        if not isinstance(value, Mapping | Sequence):
            raise NoDaemon(f"{path} has no {part}; it is of another version: umad router run")
        return value
