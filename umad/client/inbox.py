"""Holds the unread events of one request, and decides when the socket is read.

Many requests share one connection, and a client that stops reading it stops them all. The rules:

1.  The socket is not read while more than `unread_bytes` lie unread *and nobody waits*. So
    a waiting consumer is served: one that reads slowly, or never, cannot hold up another one.
2.  As soon as somebody waits, or half of the unread has been read, the socket is read again.
3.  While some wait, the unread of a slow one grows. At `unread_request_bytes` its request is given
    up: it is cancelled, and its consumer gets `LimitExceeded` after its unread events.

While a client does not read its socket, the daemon pauses that client's generations and nobody
else's. A consumer that wants to be slow without rule 3 uses a client of its own.
Owner: the connection; everything runs on its loop.
"""

import asyncio
from collections import deque

from umad.errors import DeadlineExceeded, UmadError
from umad.service import Event, Take, Tokens
from umad.transcription import TranscriptEvent


class ReadGate:
    """Pauses and resumes a transport by rules 1 and 2."""

    def __init__(self, transport: asyncio.ReadTransport, limit_bytes: int) -> None:
        self._transport = transport
        self._limit_bytes = limit_bytes
        self._unread_bytes = 0
        self._waiting = 0
        self._paused = False

    def arrived(self, size_bytes: int) -> None:
        """Count bytes that some consumer has not read yet."""
        self._unread_bytes += size_bytes

    def read(self, size_bytes: int) -> None:
        """Count bytes that a consumer has read or thrown away."""
        self._unread_bytes -= size_bytes
        if self._paused and self._unread_bytes <= self._limit_bytes // 2:
            self._resume()

    def waits(self) -> None:
        """Note that a consumer waits for data that is still in the socket."""
        self._waiting += 1
        if self._paused:
            self._resume()

    def served(self) -> None:
        """Note that a consumer no longer waits."""
        self._waiting -= 1

    def settle(self) -> None:
        """Stop reading if nobody needs more. Called once everything received was handed out."""
        if self._paused or self._waiting or self._unread_bytes <= self._limit_bytes:
            return
        if not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()


class EventInbox:
    """Events of one request in order, for the one consumer that awaits `get`.

    take: is offered the tokens the consumer waits for, before they wake the consumer.
    """

    def __init__(
        self,
        gate: ReadGate,
        loop: asyncio.AbstractEventLoop,
        event_s: float,
        take: Take | None = None,
    ) -> None:
        self._gate = gate
        self._loop = loop
        self._event_s = event_s
        self._take = take
        self._events: deque[tuple[Event | TranscriptEvent, int]] = deque()
        self._error: UmadError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since_s = 0.0
        # One timer looks at all waits: setting one for each would cost more than the event.
        self._watch = loop.call_later(event_s, self._look)
        self.unread_bytes = 0

    def put(self, event: Event | TranscriptEvent, size_bytes: int) -> None:
        """Add an event; a waiting consumer is woken once for all events that follow."""
        if self._take is not None and isinstance(event, Tokens) and self._is_awaited:
            try:
                if self._take(event):
                    self._waiting_since_s = self._loop.time()
                    return
            except UmadError as error:
                self.fail(error)
                return
        self._events.append((event, size_bytes))
        self.unread_bytes += size_bytes
        self._gate.arrived(size_bytes)
        self._wake()

    @property
    def _is_awaited(self) -> bool:
        """Whether the consumer has read and handled everything that came."""
        return self._waiter is not None and not self._waiter.done()

    def fail(self, error: UmadError) -> None:
        """Raise `error` in the consumer once it has read all events. The first error counts."""
        if self._error is None:
            self._error = error
        self._wake()

    async def get(self) -> Event | TranscriptEvent:
        """The next event. Raises the error given to `fail`."""
        while not self._events:
            if self._error is not None:
                raise self._error
            await self._wait()
        event, size_bytes = self._events.popleft()
        self.unread_bytes -= size_bytes
        self._gate.read(size_bytes)
        return event

    def close(self) -> None:
        """Release everything: the consumer has left, or has had its last event."""
        self._watch.cancel()
        self._events.clear()
        self._gate.read(self.unread_bytes)
        self.unread_bytes = 0

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        self._waiting_since_s = self._loop.time()
        self._gate.waits()
        try:
            await self._waiter
        finally:
            if self._waiter is not None:
                self._waiter = None
                self._gate.served()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            # The consumer counts as served from here on, because its task runs only after the gate
            # has settled.
            self._gate.served()
            if not waiter.done():
                waiter.set_result(None)

    def _look(self) -> None:
        now_s = self._loop.time()
        began_s = now_s if self._waiter is None else self._waiting_since_s
        if now_s - began_s >= self._event_s:
            self.fail(
                DeadlineExceeded(f"the daemon said nothing of this request for {self._event_s:g} s")
            )
        else:
            self._watch = self._loop.call_at(began_s + self._event_s, self._look)
