"""Makes a client of the running daemon for a command.

Not: the client itself (`umad.client`), nor starting a daemon. One connection per command.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from umad.cli.wakeup import woken_by_signals
from umad.client import AsyncClient, ClientOptions
from umad.service import Service

T = TypeVar("T")
# A command that has lost the daemon says so at once.
_OPTIONS = ClientOptions(name="umad-cli", return_s=0.0)


@contextmanager
def connect(runner: asyncio.Runner, socket: str | None) -> Iterator[Service]:
    """A client on the runner's loop, closed at the end. It connects at its first call, which
    raises `NoDaemon` where nothing listens."""
    client = AsyncClient(socket, options=_OPTIONS)
    with woken_by_signals(runner.get_loop()):
        try:
            yield client
        finally:
            runner.run(client.close())


def call(socket: str | None, ask: Callable[[Service], Coroutine[Any, Any, T]]) -> T:
    """The answer to the one question of a command."""
    with asyncio.Runner() as runner, connect(runner, socket) as client:
        return runner.run(ask(client))
