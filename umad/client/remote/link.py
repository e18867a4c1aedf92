"""Makes the connection of a client of a router. There is nothing to open before a request.

Belongs to the loop that first used it.
"""

import asyncio

from umad.client.options import ClientOptions
from umad.client.remote.address import RemoteAddress
from umad.client.remote.connection import RemoteConnection
from umad.errors import ConnectionLost, LimitExceeded


class RemoteLink:
    """All requests of one client, or of clients that share it."""

    def __init__(self, address: RemoteAddress, options: ClientOptions) -> None:
        self._address = address
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.connection: RemoteConnection | None = None

    async def connected(self) -> RemoteConnection:
        """Where requests are sent. Raises `LimitExceeded` on another loop than the first."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ConnectionLost("this client was closed")
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise LimitExceeded("this client belongs to another event loop; use one for each")
            self._loop, self.connection = loop, None
        if self.connection is None:
            self.connection = RemoteConnection(self._address, self._options, loop)
        return self.connection

    async def close(self) -> None:
        """Close it for good."""
        self._closed = True
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()
