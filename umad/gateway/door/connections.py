"""Connections before and between requests: how long, how large, how many.

uvicorn waits for ever for a request's head and holds as much of one as is sent. So here a head has
a time and a size, a connection that idles has a time, and there are so many connections at most:
when one more comes, the one that has idled longest makes room for it, and where all are at work
the new one is told to come back (503).

Who shuts down his sending side after a request (`nc -N`) looks like who has gone. As with Go's
server an answer that is short is still given; a generation ends, since nobody may be there to read
it. Not: bodies (`umad.gateway.dispatch`), which have the gateway's own answers. One event loop.
"""

import asyncio
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from umad.gateway.endpoint import FLOW

# Agents send cookies, tokens and beta flags, a few kilobytes; nginx takes 32 KiB, h11 64.
HEAD_BYTES = 64 * 2**10
_ASKS = b"\r\nupgrade"
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)
_PLAIN = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"


@dataclass(slots=True, kw_only=True)
class Connections:
    """All of one gateway. limit: at once. head_s: for a request's head, from the connection's
    beginning or the head's first byte. idle_s: between requests.

    is_work: whether an answer is a generation, by path.
    """

    limit: int
    head_s: float
    idle_s: float
    is_work: Callable[[str], bool]
    live: set["DoorProtocol"] = field(default_factory=set)
    # Ordered by when they began to idle.
    idle: dict["DoorProtocol", None] = field(default_factory=dict)

    def protocol(self) -> Callable[..., "DoorProtocol"]:
        """What uvicorn makes a connection with."""
        return functools.partial(DoorProtocol, connections=self)

    def room(self) -> bool:
        """Whether one more may come; the longest idle goes for it."""
        if len(self.live) >= self.limit and self.idle:
            oldest = next(iter(self.idle))
            oldest.leave()
        return len(self.live) < self.limit


class DoorProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, connections: Connections, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._all = connections
        self._head_timer: asyncio.TimerHandle | None = None
        # Of the head that is being read; None while none is.
        self._head_bytes: int | None = None
        self._refused = False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._all.room():
            self._refuse(b"503 Service Unavailable", b"too many connections", b"retry-after: 1\r\n")
            return
        self._all.live.add(self)
        self._rest()
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    @override
    def eof_received(self) -> bool | None:  # type: ignore[override]
        cycle = self.cycle
        is_whole = cycle is not None and not cycle.more_body and not cycle.response_complete
        if self._head_bytes is not None or not is_whole or self._all.is_work(cycle.scope["path"]):
            return None  # the transport closes, and whoever watches hears that the client has gone
        cycle.keep_alive = False
        return True

    @override
    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._all.idle.pop(self, None)
        if self._head_bytes is None and self._is_between():
            data = _without_upgrade(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(
                    b"431 Request Header Fields Too Large",
                    b"a request's head has at most %d bytes" % HEAD_BYTES,
                )
        elif self._head_timer is None and self._is_between():
            # Bytes that begin no request: empty lines, or the body of one that was refused.
            self._await_head()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {FLOW: {"flow": self.flow}}
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()

    @override
    def on_headers_complete(self) -> None:
        self._head_bytes = None
        self._stop_timer()
        super().on_headers_complete()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:  # nothing waits behind this answer
            self._rest()

    def leave(self) -> None:
        """Close, for somebody else's sake: nothing is under way here."""
        self._forget()
        self.transport.close()

    def _is_between(self) -> bool:
        """No request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def _rest(self) -> None:
        self._all.idle[self] = None

    def _forget(self) -> None:
        self._all.live.discard(self)
        self._all.idle.pop(self, None)
        self._stop_timer()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._all.head_s, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes is None:
            self.transport.close()  # it never began to ask
        else:
            self._refuse(
                b"408 Request Timeout",
                b"the request's head did not arrive within %g s" % self._all.head_s,
            )

    def _refuse(self, status: bytes, text: bytes, more: bytes = b"") -> None:
        """No dialect is known yet: plain text."""
        self._refused = True
        self._forget()
        if not self.transport.is_closing():
            length = b"content-length: %d\r\n" % len(text)
            self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + _PLAIN + length + more)
            self.transport.write(b"\r\n" + text)
            self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """The beginning of a request, asking for no other protocol. A server may ignore that it is
    asked (RFC 9110, 7.8), but the parser takes what follows for the other protocol, and Java's
    HttpClient asks for HTTP/2 with every first request, its body behind it."""
    if _ASKS not in data.lower():
        return data
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-not-upgraded:", head) + end + rest
