"""One client request for tokens: whom its news go to, and what is left of it.

A request with n > 1 has n completions; each is an entry of its engine's journal. Values and
counts only; `umad.daemon.completions` acts on them. Owner: the daemon's event loop.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from umad.asker import Asker
from umad.daemon.engine import Engine
from umad.daemon.identity import Identity
from umad.daemon.journal import JournalEntry
from umad.protocol.messages import RequestId


class Recipient(Protocol):
    """A connection, as far as the work done for it needs to know it. Nothing here blocks."""

    @property
    def identity(self) -> Identity:
        """Who is at the other end."""
        ...

    @property
    def client(self) -> str:
        """What it calls itself, for display."""
        ...

    @property
    def generations(self) -> "dict[RequestId, LiveGeneration]":
        """Its live requests for tokens, by the client's id."""
        ...

    @property
    def paused(self) -> bool:
        """Its client reads too slowly: what it asked for must rest."""
        ...

    def send(self, body: bytes) -> None:
        """Hand a frame to the transport at once; nothing is held."""
        ...

    def queue(self, body: bytes) -> bool:
        """Hold the body of a frame until `flush`; whether it is the first one held."""
        ...

    def flush(self) -> None:
        """Hand everything held to the transport, in one write."""
        ...

    def settled(self) -> None:
        """One of its requests has ended."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class LiveGeneration:
    """client_id: the client's own name for it, on its connection. request: the daemon's name for
    it, as in `umad ps`. app: as what it counts. session: the conversation whose KV is kept, as its
    owner calls it. asker: for whom it is done.
    n_left: completions that run.
    """

    client_id: RequestId
    request: str
    recipient: Recipient
    engine: Engine
    lane: str
    app: str
    session: str | None
    asker: Asker
    accepted_ns: int
    entries: "list[JournalEntry[LiveGeneration]]" = field(default_factory=list)
    n_left: int = 0
    deadline: asyncio.TimerHandle | None = None

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self.asker.owner
