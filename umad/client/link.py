"""Opens the connection of an `AsyncClient` at its first use, and again after a loss.

A request that finds the daemon gone waits a few seconds for it to come back
(`umad.client.returning`). Clients that ask on behalf of different people share one link. Not:
frames (`umad.client.connection`).
Belongs to the loop that first used it.
"""

import asyncio
from collections.abc import Sequence

from umad.client.connection import Connection, open_connection
from umad.client.finding import find_socket
from umad.client.options import ClientOptions
from umad.client.returning import LOOK_AGAIN_S, Return
from umad.errors import ConnectionLost, LimitExceeded, NoDaemon


class Link:
    """At most one connection to the daemon, whose socket is at one of `places`."""

    def __init__(self, places: Sequence[str], options: ClientOptions) -> None:
        self._places = places
        self._options = options
        # The last connection, open or lost.
        self.connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def connected(self) -> Connection:
        """The open connection."""
        self._settle_on(asyncio.get_running_loop())
        async with self._opening:
            if self._closed:
                raise ConnectionLost("this client was closed")
            if self.connection is None or not self.connection.is_open:
                self.connection = await self._opened(self.connection)
            return self.connection

    async def close(self) -> None:
        """Close the link for good."""
        self._closed = True
        self._settle_on(asyncio.get_running_loop())
        async with self._opening:
            connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()

    async def _opened(self, lost: Connection | None) -> Connection:
        """A new connection. lost: the one before it."""
        now_s = asyncio.get_running_loop().time
        returning = None if lost is None else Return(lost.lost_s or now_s(), self._options)
        while True:
            try:
                path = find_socket(self._places, self._options.socket_owner)
                opened = await open_connection(path, self._options)
            except (NoDaemon, ConnectionLost):
                if returning is None or not returning.is_awaited(now_s()):
                    raise
            else:
                if returning is not None:
                    returning.came(opened.server, now_s())
                return opened
            await asyncio.sleep(LOOK_AGAIN_S)
            if self._closed:
                raise ConnectionLost("this client was closed")

    def _settle_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to `loop`: the first one, or the next after that has ended (`asyncio.run` twice).

        Raises `LimitExceeded` while another loop runs.
        """
        if self._loop is loop:
            return
        if self._loop is not None:
            if not self._loop.is_closed():
                raise LimitExceeded("this client belongs to another event loop; use one for each")
            self.connection, self._opening = None, asyncio.Lock()
        self._loop = loop
