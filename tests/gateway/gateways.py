"""A real daemon on nano with a real gateway before it, for tests. Not a test."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.live import START_S, LiveDaemon, live_daemon, wait_until
from umad.client import Client

# Of an answer that is looked at while it is made: a context but for a short prompt, so that it
# outlasts what a test does meanwhile, on a busy machine too. A daemon allows half of it by itself.
LONG_TOKENS = 4000
LONG_ANSWERS = ("--max-tokens", str(LONG_TOKENS))
_ADDRESS = re.compile(r"umad gateway ready address=(\S+)")
_PID = re.compile(r"gateway started pid=(\d+)")
ANSWER_S = 60.0


@dataclass(slots=True)
class LiveGateway:
    """A running gateway, its daemon, and how it is reached."""

    daemon: LiveDaemon
    address: str

    def http(self, **more: Any) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.address, timeout=ANSWER_S, **more)

    def async_http(self, **more: Any) -> httpx.AsyncClient:
        """The same for a loop."""
        return httpx.AsyncClient(base_url=self.address, timeout=ANSWER_S, **more)

    def until_idle(self) -> None:
        """Wait until no request is live, those of clients that have left included."""
        with Client(self.daemon.socket) as client:
            wait_until(lambda: not client.sessions(), what="an end of every request")

    @property
    def pid(self) -> int:
        """Process id of the gateway that runs now."""
        return int(_PID.findall(self.daemon.log)[-1])

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@contextmanager
def live_gateway(folder: Path, *arguments: str, **more: Any) -> Iterator[LiveGateway]:
    """`umad serve --http 127.0.0.1:0 ARGUMENTS`, ready to be asked."""
    with live_daemon(folder, "--http", "127.0.0.1:0", *arguments, **more) as daemon:
        wait_until(
            lambda: _ADDRESS.search(daemon.log) is not None, within_s=START_S, what="a gateway"
        )
        yield LiveGateway(daemon=daemon, address=_ADDRESS.findall(daemon.log)[-1])
