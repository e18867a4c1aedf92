"""Runs ASGI applications on loopback, with real sockets, in a thread. Not a test."""

import asyncio
import logging
import socket
import threading

import uvicorn
from starlette.applications import Starlette


class LoopbackServers:
    """Some applications, each on a port of its own; they run until `stop`."""

    def __init__(self, *apps: Starlette) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in apps]
        self._servers = [
            uvicorn.Server(
                uvicorn.Config(app, log_config=None, lifespan="off", timeout_keep_alive=60)
            )
            for app in apps
        ]
        # Bodies that are cut are on purpose.
        self._log = logging.getLogger("uvicorn.error")
        self._level = self._log.level
        self._log.setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()

    def host(self, number: int) -> str:
        """Host and port of one of the applications."""
        return f"127.0.0.1:{self._sockets[number].getsockname()[1]}"

    async def _serve(self) -> None:
        await asyncio.gather(
            *(
                server.serve(sockets=[listening])
                for server, listening in zip(self._servers, self._sockets, strict=True)
            )
        )

    def stop(self) -> None:
        """End them, whatever they are doing."""
        for server in self._servers:
            server.should_exit = server.force_exit = True
        self._thread.join(timeout=20)
        for one in self._sockets:
            one.close()
        self._log.setLevel(self._level)
