"""Runs a daemon's gateway, and a crowd of streams through it, each with words of its own.

Not: what one stream feels (`bench.gateway`). Owner: the process that measures.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from bench.errors import BenchError
from bench.gateway_requests import HttpChat, OneWord, SocketChat
from bench.overhead import tree_cpu_s
from bench.prompts import Prompts
from bench.targets import UmadTarget
from umad.client import Client
from umad.request import INTERACTIVE

_REQUEST_S = 120.0
_START_S = 60.0
# Ordinary tokens of every vocabulary here: a crowd's stream number N can say this one + N only.
_FIRST_WORD = 300


class Gateway:
    """The gateway of a daemon that `UmadTarget` runs."""

    def __init__(self, daemon: UmadTarget, http_path: Path) -> None:
        self.socket_path = daemon.socket_path
        self.http_path = http_path
        self._daemon = daemon

    @property
    def pids(self) -> tuple[int, ...]:
        """The daemon's; its gateway and its engine are children of it."""
        return self._daemon.pids

    def wait(self) -> None:
        """Until it listens; the daemon does before it."""
        deadline_s = time.perf_counter() + _START_S
        while not self.http_path.exists():
            if time.perf_counter() > deadline_s:
                raise BenchError(f"no gateway listens after {_START_S:.0f} s; see the daemon's log")
            time.sleep(0.05)

    def cpu_s(self) -> float:
        """The gateway's own CPU seconds so far."""
        for child in psutil.Process(self.pids[0]).children(recursive=True):
            if "gateway" in child.cmdline():
                return tree_cpu_s(child.pid)
        raise BenchError("the daemon runs no gateway; its log says why")

    async def over_socket(self) -> SocketChat:
        """A connection past the gateway."""
        connection = await SocketChat.open(self.socket_path)
        assert isinstance(connection, SocketChat)
        return connection

    async def over_http(self) -> HttpChat:
        """A connection through it."""
        return HttpChat(self.http_path)


async def crowd(
    gateway: Gateway, prompts: Prompts, *, streams: int, words: int
) -> tuple[float, float]:
    """Tokens per second of all, and the gateway's CPU seconds a token.

    Raises BenchError where a stream's text is not its own, whole.
    """
    every = [OneWord(gateway.http_path, _FIRST_WORD + at) for at in range(streams)]
    before_s, began_s = gateway.cpu_s(), time.perf_counter()
    try:
        async with bounded("a crowd"):
            sent = [
                await one.send(prompts.draw(2), tokens=words, lane=INTERACTIVE) for one in every
            ]
            await asyncio.gather(*(exchange.ended for exchange in sent))
        took_s, used_s = time.perf_counter() - began_s, gateway.cpu_s() - before_s
        texts = [one.text(exchange) for one, exchange in zip(every, sent, strict=True)]
    finally:
        for one in every:
            one.close()
    with Client(gateway.socket_path) as client:
        for at, text in enumerate(texts):
            if text != client.detokenize((_FIRST_WORD + at,) * words):
                raise BenchError(f"stream {at} of {streams} got {text[:80]!r}")
    n_tokens = streams * words
    return n_tokens / took_s, used_s / n_tokens


@contextlib.asynccontextmanager
async def bounded(what: str) -> AsyncIterator[None]:
    """Raises BenchError where it takes too long."""
    try:
        async with asyncio.timeout(_REQUEST_S):
            yield
    except TimeoutError as error:
        raise BenchError(f"{what} did not end in time") from error
