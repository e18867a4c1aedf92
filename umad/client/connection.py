"""Carries one connection to the daemon on an asyncio loop and hands each message to its request.

It is a Protocol class and not a stream, so that everything one read brought is parsed in one call
and each waiting consumer is woken once. Not: choosing what to ask, or when to reconnect
(`AsyncClient`).
Owner: the loop it was opened on.
"""

import asyncio
import os
from typing import Any, cast

from typing_extensions import override

from umad.client.inbox import EventInbox, ReadGate
from umad.client.opening import (
    connect_error,
    hello_frame,
    request_frame,
    silent_daemon,
    welcome_of,
)
from umad.client.options import ClientOptions
from umad.client.trust import check_folder, check_peer, trusted_owners
from umad.errors import (
    ConnectionLost,
    DeadlineExceeded,
    LimitExceeded,
    ProtocolViolation,
    UmadError,
)
from umad.protocol.errors import error_of_failed, failed_of
from umad.protocol.frames import FrameReader
from umad.protocol.messages import (
    Cancel,
    Message,
    Request,
    RequestId,
    Result,
    Welcome,
    damaged_id,
    encode_request,
    parse_event,
)
from umad.service import Failed, Take

_READ_BYTES = 64 * 2**10
# For the daemon's own close.
_GOODBYE_S = 5.0
# Memory of an event beyond its frame's bytes: objects, their heads, the queue.
_EVENT_BYTES = 256


class Connection(asyncio.BufferedProtocol):
    """A connection, made by `open_connection`. It counts ids up and never uses one twice."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: ClientOptions) -> None:
        self._loop = loop
        self._options = options
        self._reader = FrameReader(options.frame_bytes)
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._inboxes: dict[RequestId, EventInbox] = {}
        self._calls: dict[RequestId, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._welcome = Welcome()
        # The daemon's first message, or None where it closed the connection instead.
        self._greeting: asyncio.Future[Message | None] = loop.create_future()
        # Set while the transport takes more bytes; senders wait for it.
        self._writable = asyncio.Event()
        self._writable.set()
        # The reason for the end of the connection, where it is known.
        self._farewell: Failed | None = None
        self._gone = asyncio.Event()
        # When the connection ended, on the loop's clock.
        self.lost_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request may still be sent."""
        return not self._gone.is_set() and not self._transport.is_closing()

    @property
    def server(self) -> str:
        """The daemon's name and version as it greeted, as in umad/0.2.0; empty before that."""
        return self._welcome.server

    # -- requests --------------------------------------------------------------------------------

    def next_id(self) -> int:
        """An id for one more request."""
        self._last_id += 1
        return self._last_id

    async def call(self, request: Request, timeout_s: float) -> Any:
        """Send a request that has one answer, and wait for it."""
        frame = self._frame(request)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._calls[request.id] = answer
        self._gate.waits()
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(frame)
                return await answer
        except TimeoutError:
            raise DeadlineExceeded(f"the daemon did not answer within {timeout_s:g} s") from None
        finally:
            self._gate.served()
            del self._calls[request.id]

    async def work(self, request: Request, timeout_s: float) -> Any:
        """As `call`, for work that may take long; cancelling the wait cancels the work."""
        answered = False
        try:
            value = await self.call(request, timeout_s)
            answered = True
        except DeadlineExceeded:
            raise
        except UmadError:
            answered = True
            raise
        finally:
            if not answered:
                self._cancel(request.id)
        return value

    def post(self, request: Request) -> None:
        """Send a request whose answer nobody waits for. Raises `ConnectionLost`."""
        if not self.is_open:
            raise self._loss()
        self._transport.write(self._frame(request))

    async def start(self, request: Request, take: Take | None = None) -> EventInbox:
        """Send a request that has events; they arrive in the inbox until `finish`."""
        frame = self._frame(request)
        inbox = EventInbox(self._gate, self._loop, self._options.event_s, take)
        self._inboxes[request.id] = inbox
        sent = False
        try:
            async with asyncio.timeout(self._options.call_s):
                await self._send(frame)
            sent = True
        except TimeoutError:
            raise DeadlineExceeded(
                f"the daemon did not take the request within {self._options.call_s:g} s"
            ) from None
        finally:
            if not sent:
                self.finish(request.id, inbox, cancel=True)
        return inbox

    def finish(self, request_id: RequestId, inbox: EventInbox, *, cancel: bool) -> None:
        """Stop reading the events of a request.

        cancel: cancel the request too, if it has not ended yet.
        """
        inbox.close()
        was_live = self._inboxes.pop(request_id, None) is not None
        if was_live and cancel:
            self._cancel(request_id)

    async def close(self) -> None:
        """Close the connection; the daemon then cancels what still runs on it."""
        self._transport.close()
        try:
            async with asyncio.timeout(min(self._options.connect_s, _GOODBYE_S)):
                await self._gone.wait()
        except TimeoutError:
            self._transport.abort()

    def _frame(self, request: Request) -> bytes:
        return request_frame(encode_request(request), self._welcome)

    async def _send(self, frame: bytes) -> None:
        if not self.is_open:
            raise self._loss()
        self._transport.write(frame)
        if not self._writable.is_set():
            await self._writable.wait()

    def _cancel(self, request_id: RequestId) -> None:
        # The answer does not matter: the request may have ended meanwhile.
        if self.is_open:
            self._transport.write(self._frame(Cancel(id=self.next_id(), own_id=request_id)))

    # -- opening ---------------------------------------------------------------------------------

    async def greet(self) -> None:
        """Send the hello and wait for the daemon's."""
        self._transport.write(hello_frame(self._options))
        message = await self._greeting
        if message is None:
            raise self._loss()
        self._welcome = welcome_of(message)

    # -- called by the loop ----------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._gate = ReadGate(self._transport, self._options.unread_bytes)

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        try:
            data = bytes(self._buffer[:nbytes])
            body = self._reader.only(data)
            for each in self._reader.feed(data) if body is None else (body,):
                self._dispatch(each)
        except UmadError as violation:
            self._farewell = failed_of(violation)
            self._transport.abort()
        self._gate.settle()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_s = self._loop.time()
        self._gone.set()
        self._writable.set()
        self._greeted(None)
        for inbox in self._inboxes.values():
            inbox.fail(self._loss())
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(self._loss())

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()

    def _loss(self) -> UmadError:
        """A new error for each waiter, because a shared one would collect all their tracebacks."""
        if self._farewell is not None:
            return error_of_failed(self._farewell)
        return ConnectionLost("the daemon closed the connection before the answer was complete")

    def _dispatch(self, body: bytes) -> None:
        try:
            request_id, message = parse_event(body)
        except ProtocolViolation as violation:
            self._damaged(body, violation)
            return
        if isinstance(message, Welcome):
            self._greeted(message)
        elif request_id is None:
            # This error is about the connection; the daemon closes it next.
            if isinstance(message, Failed):
                self._farewell = message
                self._greeted(message)
        elif (inbox := self._inboxes.get(request_id)) is not None:
            if not isinstance(message, Result):
                inbox.put(message, len(body) + _EVENT_BYTES)
                if inbox.unread_bytes > self._options.unread_request_bytes:
                    self._give_up(request_id, inbox)
        elif (answer := self._calls.get(request_id)) is not None and not answer.done():
            if isinstance(message, Result):
                answer.set_result(message.value)
            elif isinstance(message, Failed):
                answer.set_exception(error_of_failed(message))
        # Every other message belongs to a request that nobody waits for any more.

    def _damaged(self, body: bytes, violation: ProtocolViolation) -> None:
        """End the request whose tokens cannot be read.

        Raises the violation where the body does not tell its request.
        """
        request_id = damaged_id(body)
        if request_id is None:
            raise violation
        inbox = self._inboxes.pop(request_id, None)
        if inbox is not None:
            self._cancel(request_id)
            inbox.fail(violation)

    def _greeted(self, message: Message | None) -> None:
        if not self._greeting.done():
            self._greeting.set_result(message)

    def _give_up(self, request_id: RequestId, inbox: EventInbox) -> None:
        """Apply rule 3 of `umad.client.inbox`."""
        del self._inboxes[request_id]
        self._cancel(request_id)
        inbox.fail(
            LimitExceeded(
                f"more than {self._options.unread_request_bytes} bytes of this request's events "
                "were left unread, so it was cancelled; read faster, or use a client of its own"
            )
        )


async def open_connection(path: str, options: ClientOptions) -> Connection:
    """Connect and be greeted. Raises `NoDaemon`, `Refused` or the daemon's own error."""
    loop = asyncio.get_running_loop()
    transport: asyncio.Transport | None = None
    greeted = False
    owners = trusted_owners(options.socket_owner, os.environ)
    check_folder(path, owners)
    try:
        async with asyncio.timeout(options.connect_s):
            transport, connection = await loop.create_unix_connection(
                lambda: Connection(loop, options), path
            )
            check_peer(transport.get_extra_info("socket").fileno(), path, owners)
            await connection.greet()
        greeted = True
    except TimeoutError:
        raise silent_daemon(path, options.connect_s) from None
    except OSError as error:
        raise connect_error(path, error) from error
    finally:
        if not greeted and transport is not None:
            transport.abort()
    return connection
