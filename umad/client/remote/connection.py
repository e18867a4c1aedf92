"""Offers the calls of a connection to the socket, where each request is an HTTP request of its own.

It is `umad.client.connection.Connection` to the client that uses it. Not: sending
(`umad.client.remote.carrying`).
Owner: the loop on which it was made.
"""

import asyncio
from dataclasses import replace
from typing import Any

from typing_extensions import override

from umad.client.inbox import EventInbox, ReadGate
from umad.client.options import ClientOptions
from umad.client.remote.address import RemoteAddress
from umad.client.remote.carrying import Carrying
from umad.client.remote.exchange import Exchange, Exchanges
from umad.client.remote.progress import AnswerProgress
from umad.errors import (
    ConnectionLost,
    DeadlineExceeded,
    LimitExceeded,
    ProtocolViolation,
    UmadError,
    Unsupported,
)
from umad.protocol.errors import error_of_failed
from umad.protocol.messages import Generate, Message, Request, RequestId, Result, Welcome
from umad.service import Failed, Take
from umad.transcription import Heard, Transcript

# As in `umad.client.connection`.
_EVENT_BYTES = 256


class RemoteConnection:
    """The requests of one client to one address."""

    def __init__(
        self,
        address: RemoteAddress,
        options: ClientOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._address = address
        self._options = options
        self._loop = loop
        self._exchanges = Exchanges(address, options)
        self._tasks: dict[EventInbox, asyncio.Task[None]] = {}
        # Those whose events nobody reads any more, until they have seen their answer's end.
        self._ending: set[asyncio.Task[None]] = set()
        self._last_id = 0
        self._closed = False
        self.lost_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request may still be sent."""
        return not self._closed

    @property
    def server(self) -> str:
        """Empty: a router has no version of its own that counts."""
        return ""

    def next_id(self) -> int:
        """An id for one more request."""
        self._last_id += 1
        return self._last_id

    async def call(self, request: Request, timeout_s: float) -> Any:
        """Send a request that has one answer, and wait for it. Leaving the wait cancels it."""
        answer: list[Any] = []

        def hear(message: Message, size_bytes: int) -> bool:
            if isinstance(message, Failed):
                raise error_of_failed(message)
            if not isinstance(message, Result):
                raise ProtocolViolation("a request with one answer was answered with events")
            answer.append(message.value)
            return True

        carrying = Carrying(
            self._exchanges,
            self._address,
            next_request=lambda: request,
            hear=hear,
            goes_on=lambda exchange: None,
        )
        try:
            async with asyncio.timeout(timeout_s):
                await carrying.run()
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._address} did not answer within {timeout_s:g} s"
            ) from None
        return answer[0]

    # Nobody computes for a connection that has been closed.
    work = call

    def post(self, request: Request) -> None:
        """Raises `Unsupported`: such a request belongs to a machine's own memory."""
        raise Unsupported("logits are read and tokens chosen on the machine that computes them")

    async def start(self, request: Request, take: Take | None = None) -> EventInbox:
        """Send a request that has events; they arrive in the inbox until `finish`."""
        if self._closed:
            raise ConnectionLost("this client was closed")
        reading = _Reading()
        gate = ReadGate(reading, self._options.unread_bytes)
        inbox = EventInbox(gate, self._loop, self._options.event_s, take)
        events = _Events(request, inbox, gate, self._options, self._loop)
        carrying = Carrying(
            self._exchanges,
            self._address,
            next_request=events.next_request,
            hear=events.hear,
            goes_on=reading.follow,
        )
        self._tasks[inbox] = asyncio.create_task(_carried(carrying, inbox), name="remote request")
        return inbox

    def finish(self, request_id: RequestId, inbox: EventInbox, *, cancel: bool) -> None:
        """Stop reading the events of a request. What still runs is cancelled with its exchange."""
        inbox.close()
        task = self._tasks.pop(inbox, None)
        if task is None or task.done():
            return
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        if cancel:
            task.cancel()

    async def close(self) -> None:
        """End every request."""
        self._closed = True
        tasks = [*self._tasks.values(), *self._ending]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._exchanges.close()


async def _carried(carrying: Carrying, inbox: EventInbox) -> None:
    try:
        await carrying.run()
    except UmadError as error:
        inbox.fail(error)


class _Events:
    """The events of one request on their way into its inbox."""

    def __init__(
        self,
        request: Request,
        inbox: EventInbox,
        gate: ReadGate,
        options: ClientOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._request = request
        self._inbox = inbox
        self._gate = gate
        self._most_unread_bytes = options.unread_request_bytes
        self._time_s = loop.time
        self._began_s = loop.time()
        self._progress = AnswerProgress(request.request) if isinstance(request, Generate) else None

    def next_request(self) -> Request:
        if self._progress is None or not isinstance(self._request, Generate):
            return self._request
        return replace(self._request, request=self._progress.rest(self._time_s() - self._began_s))

    def hear(self, message: Message, size_bytes: int) -> bool:
        inbox, progress = self._inbox, self._progress
        if isinstance(message, Welcome | Result):
            raise ProtocolViolation("a request with events was answered with one")
        size_bytes += _EVENT_BYTES
        is_over = isinstance(message, Failed | Transcript)
        if isinstance(message, Failed | Heard | Transcript) or progress is None:
            inbox.put(message, size_bytes)
        else:
            event = progress.heard(message, self._time_s() - self._began_s)
            is_over = progress.is_over
            if event is not None:
                inbox.put(event, size_bytes)
        if inbox.unread_bytes > self._most_unread_bytes:
            raise LimitExceeded(
                f"more than {self._most_unread_bytes} bytes of this request's events were left "
                "unread, so it was cancelled; read faster"
            )
        self._gate.settle()
        return is_over


class _Reading(asyncio.ReadTransport):
    """Pauses whatever exchange a request has at the moment."""

    def __init__(self) -> None:
        super().__init__()
        self._exchange: Exchange | None = None
        self._is_paused = False

    def follow(self, exchange: Exchange | None) -> None:
        """It has another one, or none."""
        if self._exchange is not None and self._is_paused and self._exchange.is_open:
            self._exchange.transport.resume_reading()  # another request may have it next
        self._exchange = exchange
        if exchange is not None and self._is_paused:
            exchange.transport.pause_reading()

    @override
    def is_closing(self) -> bool:
        """A request may always have another exchange."""
        return False

    @override
    def pause_reading(self) -> None:
        """The client does not read."""
        self._is_paused = True
        if self._exchange is not None and self._exchange.is_open:
            self._exchange.transport.pause_reading()

    @override
    def resume_reading(self) -> None:
        """It reads again."""
        self._is_paused = False
        if self._exchange is not None and self._exchange.is_open:
            self._exchange.transport.resume_reading()
