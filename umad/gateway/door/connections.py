"""Limits connections before and between requests: their time, their size, their number.

uvicorn waits for ever for a request's head, and holds as many of its bytes as are sent. So here a
head has a limit of time and size, an idle connection has a limit of time, and the number of
connections has a limit. When one more comes, a connection that does no work is closed for it: one
without a request yet, with half a request, with an answer that its client does not read, or
without a request since the last one. Of these the oldest goes that belongs to the caller with most
connections (`umad.crowd`); a caller is a key, or an address before it has shown a key. Where all
connections are at work, the new one is told to come back (503).

A client that shuts down its sending side after a request (`nc -N`) looks like one that has left. As
with Go's server it still gets a short answer. Its generation ends, since perhaps nobody reads it.
Not: the meaning of the bytes (`door.reading`), nor bodies (`umad.gateway.dispatch`), which get the
gateway's own answers. Owner: one event loop.
"""

import asyncio
import functools
from collections.abc import Callable, Hashable
from typing import Any

from typing_extensions import override

from umad.crowd import Crowd
from umad.gateway.door.peers import PEER, Peers, TcpPeer
from umad.gateway.door.reading import RequestReader

# How long an answer may stay unread. It holds a connection, and a place if it is a generation. The
# daemon waits as long for a client that does not read.
UNREAD_S = 300.0


class Connections:
    """All connections of one gateway.

    `limit` is their number at once. `head_s` limits the time for a request's head, from the
    connection's beginning or from the head's first byte. `idle_s` limits the time between requests.
    `is_work` tells from a path whether its answer is a generation. `peers` tells a connection's
    owner, where owners matter.
    """

    def __init__(
        self,
        *,
        limit: int,
        head_s: float,
        idle_s: float,
        is_work: Callable[[str], bool],
        peers: Peers | None = None,
    ) -> None:
        self.head_s = head_s
        self.idle_s = idle_s
        self.is_work = is_work
        self.peers = peers
        self.crowd: Crowd[DoorProtocol] = Crowd(limit, own_give_way=True)

    def protocol(self) -> Callable[..., "DoorProtocol"]:
        """The factory with which uvicorn makes a connection."""
        return functools.partial(DoorProtocol, connections=self)

    def room(self, owner: Hashable) -> bool:
        """Make room for one more connection of `owner`, and return whether there is room."""
        if self.crowd.is_full:
            leaving = self.crowd.who_gives_way(owner)
            if leaving is not None:
                leaving.leave()
        return not self.crowd.is_full


class DoorProtocol(RequestReader):
    """One connection."""

    def __init__(self, *arguments: Any, connections: Connections, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._all = connections
        self._crowd = connections.crowd
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._peer: TcpPeer | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Those that have yet to show a key are a crowd of their own.
        newcomer = ("new", self._address)
        if not self._all.room(newcomer):
            self.end_with(b"503 Service Unavailable", b"too many connections", retry=True)
            return
        self._crowd.enter(self, newcomer)
        if self._all.peers is not None:
            self._peer = self._all.peers.of(transport)
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def known_as(self, key: str) -> None:
        """A caller that may come in has sent a request here. `key` is the key's name, "-" for
        none.
        """
        self._crowd.belongs(self, (key, self._address if key == "-" else ""))

    @override
    def eof_received(self) -> bool | None:  # type: ignore[override]
        cycle = self.cycle
        is_whole = cycle is not None and not cycle.more_body and not cycle.response_complete
        if self.head_is_open or not is_whole or self._all.is_work(cycle.scope["path"]):
            return None  # the transport closes, and the watcher hears that the client has left
        cycle.keep_alive = False
        return True

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.is_over and self._head_timer is None and self.is_between:
            # Bytes that begin no request: empty lines, or the body of one that was refused.
            self._await_head()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.is_between:
            self._crowd.rest(self)  # anew: it is the youngest that has not asked yet
        self.scope.setdefault("extensions", {})[PEER] = {"peer": self._peer}
        if self._head_timer is None:
            self._await_head()

    @override
    def on_headers_complete(self) -> None:
        self._stop_head_timer()
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self.is_between and not self.cycle.more_body:
            self._crowd.work(self)

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:  # nothing waits behind this answer
            self._crowd.rest(self)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._crowd.rest(self)
        self._unread_timer = self.loop.call_later(UNREAD_S, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_unread_timer()
        if not self.is_between:
            self._crowd.work(self)

    def leave(self) -> None:
        """Close this connection to make room: it has no request under way, or its answer is not
        read.
        """
        if self.flow.write_paused:
            self._forget()
            self.transport.abort()
        elif self.is_between and not self.head_is_open:
            # A client that sends at this moment expects that an idle connection may end so.
            self._forget()
            self.transport.close()
        else:
            self.end_with(
                b"503 Service Unavailable",
                b"too many connections: this one had waited longest for the rest of its request",
                retry=True,
            )

    @override
    def ending(self) -> None:
        self._forget()

    @property
    def _address(self) -> str:
        """Address of the other end; "" on a Unix socket."""
        return self.client[0] if self.client else ""

    def _forget(self) -> None:
        self._crowd.leave(self)
        self._stop_head_timer()
        self._stop_unread_timer()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._all.head_s, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.head_is_open:
            if self.is_between:
                self.transport.close()  # no request has begun
        else:
            self.end_with(
                b"408 Request Timeout",
                b"the request's head did not arrive within %g s" % self._all.head_s,
            )
