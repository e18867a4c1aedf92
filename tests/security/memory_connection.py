"""A gateway's connection without a socket: bytes in, requests and answers out. Not a test.

The application answers each request with what it understood of it, once all of it has been read.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from typing_extensions import override
from uvicorn.server import ServerState

from umad.gateway.door.connections import Connections, DoorProtocol


class MemoryTransport(asyncio.Transport):
    """Keeps what is written. `written` grows until `close`."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    @override
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    @override
    def is_closing(self) -> bool:
        return self.closed

    @override
    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += bytes(data)

    @override
    def close(self) -> None:
        self.closed = True

    @override
    def abort(self) -> None:
        self.close()

    @override
    def pause_reading(self) -> None:
        pass

    @override
    def resume_reading(self) -> None:
        pass


@dataclass(slots=True)
class Heard:
    """What came of some bytes. requests: (method, path, headers, body) of those read whole."""

    requests: list[tuple[str, str, tuple[tuple[bytes, bytes], ...], bytes]] = field(
        default_factory=list
    )
    answers: bytes = b""
    closed: bool = False


def door(app: Any, *, limit: int = 100) -> tuple[Connections, Callable[[], DoorProtocol]]:
    """A gateway's door before `app`, and what makes one connection."""
    connections = Connections(limit=limit, head_s=60, idle_s=60, is_work=lambda path: False)
    config = uvicorn.Config(
        app,
        http=connections.protocol(),  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        ws="none",
    )
    config.load()
    state = ServerState()

    def make() -> DoorProtocol:
        return connections.protocol()(
            config=config,
            server_state=state,
            app_state={},
            _loop=asyncio.get_running_loop(),
        )

    return connections, make


async def hear(pieces: Sequence[bytes]) -> Heard:
    """One connection that is sent `pieces`, the loop running between them."""
    heard = Heard()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        heard.requests.append(
            (scope["method"], scope["path"], tuple(scope["headers"]), bytes(body))
        )
        said = b"%d" % len(heard.requests)
        headers = [(b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    _, make = door(app)
    protocol, transport = make(), MemoryTransport()
    protocol.connection_made(transport)
    for piece in pieces:
        if not transport.closed:
            protocol.data_received(piece)
        await settle(transport)
    heard.answers, heard.closed = transport.written, transport.closed
    transport.close()
    protocol.connection_lost(None)
    await settle(transport)
    return heard


async def settle(transport: MemoryTransport) -> None:
    """Everything that can run has run: nothing more is written in many turns of the loop."""
    before = -1
    while len(transport.written) != before:
        before = len(transport.written)
        for _ in range(12):
            await asyncio.sleep(0)
