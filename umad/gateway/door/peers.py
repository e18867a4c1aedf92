"""Finds the other end of a connection: its address, and its user on this machine.

The question is asked once for a connection, when it is accepted: at that moment its holder is the
process that made it. Not: what that user may do (`umad.gateway.door.entrance`), nor the kernel's
tables (`socket_owners`). Owner: one event loop.
"""

import asyncio
import ipaddress
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from umad.gateway.door.socket_owners import Lookup, plain
from umad.peer import peer_of as unix_peer

# Name of the ASGI extension that a request finds its connection's `TcpPeer` under.
PEER = "umad.peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpPeer:
    """The other end of a connection."""

    # The user of this machine who owns the other end; None if that is not known.
    uid: int | None
    # The other end's own, in the form in which addresses are compared; empty for a Unix socket.
    address: str
    # The other end is on this machine.
    is_local: bool


class Peers:
    """Finds peers of connections.

    `lookup` reads the kernel's table of connections; None if no way to read it works.
    """

    def __init__(self, lookup: Lookup | None) -> None:
        self._lookup = lookup

    def of(self, transport: asyncio.BaseTransport) -> TcpPeer:
        """The peer of a connection that was just accepted."""
        far, near = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not isinstance(far, tuple) or not isinstance(near, tuple):
            return TcpPeer(uid=_unix_uid(transport), address="", is_local=True)
        address = plain(far[0])
        is_local = ipaddress.ip_address(address).is_loopback or address == plain(near[0])
        uid = None
        if is_local and self._lookup is not None:
            try:
                uid = self._lookup((far[0], far[1]), (near[0], near[1]))
            except (OSError, ValueError):
                uid = None
        return TcpPeer(uid=uid, address=address, is_local=is_local)


def _unix_uid(transport: asyncio.BaseTransport) -> int | None:
    try:
        return unix_peer(transport.get_extra_info("socket").fileno()).uid
    except OSError:
        return None  # it has gone already


def peer_of(scope: Scope) -> TcpPeer | None:
    """The peer of a request's connection; None if this process itself asks the application."""
    extension: dict[str, Any] = scope.get("extensions", {}).get(PEER, {})
    peer: TcpPeer | None = extension.get("peer")
    return peer
