"""Describes one client request for tokens: who receives its news, and how much of it still runs.

A request with n > 1 has n completions, and each of them is an entry of its engine's journal. Values
and counts only; `umad.daemon.completions` acts on them. Owner: the daemon's event loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from umad.asker import Asker
from umad.daemon.engine_state import EngineState
from umad.daemon.identity import Identity
from umad.daemon.journal import Journal, JournalEntry
from umad.protocol.link import ToEngine
from umad.protocol.messages import RequestId


class Recipient(Protocol):
    """A connection, as far as its requests need to know it. Nothing here blocks."""

    @property
    def identity(self) -> Identity:
        """The process at the other end."""
        ...

    @property
    def client(self) -> str:
        """The name the client gave itself, for display."""
        ...

    @property
    def wants_loading(self) -> bool:
        """Whether its client wants to be told how a model is loaded that it waits for."""
        ...

    @property
    def generations(self) -> "dict[RequestId, LiveGeneration]":
        """Its live requests for tokens, by the client's id."""
        ...

    @property
    def paused(self) -> bool:
        """Whether its client reads too slowly, so that its requests must pause."""
        ...

    def send(self, body: bytes) -> None:
        """Hand a frame to the transport at once; nothing is held."""
        ...

    def queue(self, body: bytes) -> bool:
        """Hold the body of a frame until `flush`. Returns True for the first one held."""
        ...

    def flush(self) -> None:
        """Hand everything held to the transport, in one write."""
        ...

    def settled(self) -> None:
        """Note that one of its requests has ended."""
        ...


class ServingEngine(Protocol):
    """The engine of a request, as far as the request's work needs to know it."""

    name: str
    journal: "Journal[LiveGeneration]"
    # Why it is not started yet, in words; empty where it does not wait.
    waits_for: str
    # Why completions wait, in words, by rid.
    waits: Mapping[int, str]
    # Called when work is given to an engine that owed no news.
    watch: Callable[[], None]

    @property
    def state(self) -> EngineState:
        """The state of the engine's life."""
        ...

    @property
    def connected(self) -> bool:
        """Whether there is a process that takes messages."""
        ...

    def has_sent(self, rid: int) -> bool:
        """Whether the process knows that completion."""
        ...

    @property
    def owes_news(self) -> bool:
        """Whether the process has work, and so is expected to send messages."""
        ...

    async def call(self, op: str, args: Mapping[str, Any], *, whose: str = "") -> Any:
        """Ask the process a question, and wait for its answer."""
        ...

    def send(self, *messages: ToEngine) -> None:
        """Send messages to the process; without a process they are lost."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class LiveGeneration:
    """One live request for tokens."""

    # The client's own name for it, on its connection.
    client_id: RequestId
    # The daemon's name for it, as in `umad ps`.
    request: str
    recipient: Recipient
    engine: ServingEngine
    lane: str
    # The rule that chose the lane, in words.
    lane_by: str
    # The app whose work it counts as.
    app: str
    # The conversation whose KV is kept, by the name its owner gave it.
    session: str | None
    # The asker for whom it is done.
    asker: Asker
    accepted_ns: int
    # The adapters that it asked for, as they are written behind a model's name.
    adapters: tuple[str, ...] = ()
    # Their files, those that belong to the model included.
    adapter_paths: tuple[str, ...] = ()
    entries: "list[JournalEntry[LiveGeneration]]" = field(default_factory=list)
    # Completions that still run.
    n_left: int = 0
    deadline: asyncio.TimerHandle | None = None

    @property
    def owner(self) -> str:
        """The owner of the request."""
        return self.asker.owner

    @property
    def whose(self) -> str:
        """By whom it is counted (`umad.daemon.app_shares`)."""
        return self.asker.owner or self.app
