"""Says what a client needs of the way to a daemon, whether that is a socket or HTTP."""

from typing import Any, Protocol

from umad.client.inbox import EventInbox
from umad.protocol.messages import Request, RequestId
from umad.service import Take


class CarryingConnection(Protocol):
    """Requests go out, answers and events come in. On the loop of the client."""

    @property
    def server(self) -> str:
        """The daemon's name and version as it greeted; "" where it did not."""
        ...

    def next_id(self) -> int:
        """An id for one more request."""
        ...

    async def call(self, request: Request, timeout_s: float) -> Any:
        """The one answer of a request."""
        ...

    async def work(self, request: Request, timeout_s: float) -> Any:
        """As `call`; cancelling the wait cancels the work."""
        ...

    def post(self, request: Request) -> None:
        """Send a request whose answer nobody waits for."""
        ...

    async def start(self, request: Request, take: Take | None = None) -> EventInbox:
        """Send a request that has events; they arrive in the inbox until `finish`."""
        ...

    def finish(self, request_id: RequestId, inbox: EventInbox, *, cancel: bool) -> None:
        """Stop reading the events of a request; cancel: if it has not ended, it is cancelled."""
        ...


class CarryingLink(Protocol):
    """Makes the connection when it is needed."""

    @property
    def connection(self) -> CarryingConnection | None:
        """The last one, open or lost."""
        ...

    async def connected(self) -> CarryingConnection:
        """The open connection."""
        ...

    async def close(self) -> None:
        """Close for good."""
        ...
