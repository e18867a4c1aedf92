"""Serves one client connection: reads requests from bytes, writes answers, and ends it when it
must.

No task runs per connection and none is switched per token: everything happens in the transport's
callbacks. Not: carrying out a request (`umad.daemon.verbs`). Owner: the daemon's event loop.

A client that reads too slowly delays only itself: above `send_queue_bytes` its own completions are
paused in their engines until it has caught up.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol, cast

from typing_extensions import override

from umad.config import LimitSettings
from umad.daemon.completions import Completions
from umad.daemon.connections import OpenConnections
from umad.daemon.generation import LiveGeneration
from umad.daemon.handover import Begun, Handover
from umad.daemon.identity import Identity, identify
from umad.errors import (
    BadRequest,
    Cancelled,
    InternalError,
    LimitExceeded,
    ProtocolViolation,
    UmadError,
)
from umad.peer import peer_of
from umad.protocol.frames import HEADER_BYTES, FrameReader
from umad.protocol.messages import (
    AT_ONCE,
    LOADING,
    Metrics,
    Models,
    Request,
    RequestId,
    Welcome,
    encode_error,
    encode_result,
    encode_welcome,
    parse_hello,
    parse_request,
)
from umad.version import __version__

log = logging.getLogger(__name__)

# Most unread bytes, as a multiple of `send_queue_bytes`. Pausing an engine takes a step, and
# answers to pings and lists are not paused at all. A client beyond this multiple is not slow: it
# has stopped reading while it keeps asking.
HARD_QUEUE_FACTOR = 16
# A paused stream holds its cells. A client that has not caught up after this time never will.
UNREAD_S = 300.0
# Time for an error frame to be read before the connection is cut.
CLOSE_S = 5.0
_NAME_CHARS = 64
# Scorecards that a connection may wait for beyond its limit of live requests.
_LOOKS = 4


class Verbs(Protocol):
    """Carries out requests. Called on the loop; must not block."""

    def handle(self, session: "Session", request: Request) -> None:
        """Carry out `request`, answering through `session`. Raises the error that refuses it."""
        ...


class Session(asyncio.Protocol):
    """A connection from its first byte to its last. It is also the `Recipient` of its requests."""

    def __init__(
        self,
        *,
        limits: LimitSettings,
        completions: Completions,
        verbs: Verbs,
        sessions: "set[Session]",
        connections: OpenConnections,
        own_uid: int,
    ) -> None:
        self._limits = limits
        self._completions = completions
        self._verbs = verbs
        self._sessions = sessions
        self._connections = connections
        # Whether this connection may only look and cancel, because all others are taken.
        self._is_tool = False
        self._own_uid = own_uid
        self._reader = FrameReader(limits.frame_bytes)
        self._transport: asyncio.Transport | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held: list[bytes] = []
        # The size of an answer longer than the limit on unread bytes. There is one at a time.
        self._long_bytes = 0
        self._readers: list[asyncio.Future[None]] = []
        self._greeted = False
        self._closing = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._answers: dict[RequestId, asyncio.Task[None]] = {}
        self.client = ""
        self.wants_loading = False
        self.paused = False
        self.identity = Identity(uid=-1, pid=0, app="")
        self.generations: dict[RequestId, LiveGeneration] = {}

    # -- the transport's callbacks ----------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        limits = self._limits
        self._transport = cast(asyncio.Transport, transport)  # a socket's is both ways
        self._sessions.add(self)
        self._transport.set_write_buffer_limits(high=limits.send_queue_bytes)
        try:
            peer = peer_of(transport.get_extra_info("socket").fileno())
            self.identity = identify(peer, own_uid=self._own_uid)
            self._is_tool = not self._connections.admit(self, self.identity.pid)
        except OSError:
            self.abort()  # it has gone already
        except UmadError as error:
            self._end_with(error)
        else:
            self._set_timer("hello", limits.hello_s, "hello")

    @override
    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            for body in self._reader.feed(data):
                self._cancel_timer("half frame")
                self._body(body)
                if self._closing:
                    return
        except ProtocolViolation as error:
            self._end_with(error)
            return
        if self._reader.has_partial and "half frame" not in self._timers:
            self._set_timer("half frame", self._limits.half_frame_s, "the rest of a frame")

    @override
    def pause_writing(self) -> None:
        self.paused = True
        self._timers["unread"] = asyncio.get_running_loop().call_later(UNREAD_S, self._give_up)
        self._completions.pause(self)

    @override
    def resume_writing(self) -> None:
        self.paused = False
        self._long_bytes = 0
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()
        self._cancel_timer("unread")
        self._completions.resume(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._transport = None
        for timer in self._timers.values():
            timer.cancel()
        for answer in self._answers.values():
            answer.cancel()
        self._sessions.discard(self)
        self._connections.leave(self)
        self._completions.drop(self)
        self.gone.set_result(None)

    # -- what requests are answered with ----------------------------------------------------------

    def send(self, body: bytes) -> None:
        """Hand a frame to the transport, which writes all frames of one loop turn at once."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(len(body).to_bytes(HEADER_BYTES, "big") + body)
        if self.paused:
            self._check_backlog(transport)

    def queue(self, body: bytes) -> bool:
        """Hold the body of a frame until `flush`. Returns True for the first one held."""
        held = self._held
        first = not held
        held.append(len(body).to_bytes(HEADER_BYTES, "big"))
        held.append(body)
        return first

    def flush(self) -> None:
        """Hand everything held to the transport, in one write."""
        data = b"".join(self._held)
        self._held.clear()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if self.paused:
            self._check_backlog(transport)

    def _check_backlog(self, transport: asyncio.Transport) -> None:
        limit_bytes = self._limits.send_queue_bytes * HARD_QUEUE_FACTOR + self._long_bytes
        if transport.get_write_buffer_size() > limit_bytes:
            self._give_up()

    def answer(self, request_id: RequestId, value: Any) -> None:
        """Send the one answer to a request."""
        self.queue(encode_result(request_id, value))
        self.flush()

    def answer_later(self, request_id: RequestId, value: Coroutine[Any, Any, Any]) -> None:
        """Send the one answer to a request once `value` has a result or has failed."""
        task = asyncio.create_task(self._answer(request_id, value), name=f"answer {request_id}")
        # A task that is cancelled before its first step never awaits `value`, so close it here.
        task.add_done_callback(lambda _: value.close())
        self._answers[request_id] = task

    def close(self) -> None:
        """Send what is queued, then end the connection; cut it after `CLOSE_S`."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
            self._timers["close"] = asyncio.get_running_loop().call_later(CLOSE_S, self.abort)

    def settled(self) -> None:
        """Note that one of its requests has begun or ended."""
        self._connections.settle(self, is_idle=not (self.generations or self._answers))

    def give_way(self) -> None:
        """End this idle connection, so that another process gets its room."""
        self._end_with(
            LimitExceeded(
                "this connection was idle and was closed to make room: its process has most of the "
                f"{self._limits.connections} connections that may be open"
            )
        )

    def abort(self) -> None:
        """End the connection now."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # -- inside -----------------------------------------------------------------------------------

    def _body(self, body: bytes) -> None:
        if not self._greeted:
            hello = parse_hello(body)
            self._greeted = True
            self._cancel_timer("hello")
            self.client = hello.client[:_NAME_CHARS]
            self.wants_loading = LOADING in hello.capabilities
            welcome = Welcome(server=f"umad/{__version__}", frame_bytes=self._limits.frame_bytes)
            self.queue(encode_welcome(welcome))
            self.flush()
            log.debug("client greeted app=%s pid=%d", self.identity.app, self.identity.pid)
            return
        try:
            request = parse_request(body)
        except ProtocolViolation:
            raise
        except UmadError as error:
            if error.request_id is None:
                # The error cannot name the request, so its client would wait for an answer for
                # ever.
                self._end_with(error)
            else:
                self._refuse(error, error.request_id)
            return
        try:
            self._check_room(request)
            self._verbs.handle(self, request)
            self.settled()
        except UmadError as error:
            self._refuse(error, request.id)
        except Exception:
            # A connection's boundary: a bug costs one request, not the daemon.
            log.exception("request failed unexpectedly type=%s", type(request).__name__)
            self._refuse(InternalError("see the log"), request.id)

    def _check_room(self, request: Request) -> None:
        request_id = request.id
        if request_id in self.generations or request_id in self._answers:
            raise BadRequest(f"a live request of this connection has id {request_id}", field="id")
        if isinstance(request, AT_ONCE) and not (isinstance(request, Models) and request.stored):
            return
        n_live = len(self.generations) + len(self._answers)
        if isinstance(request, Metrics):
            n_live -= _LOOKS  # a client at its limit can still look
        elif self._is_tool:
            raise LimitExceeded(
                f"all {self._limits.connections} connections are at work: this one may look and "
                "cancel (umad ps, metrics, cancel) and ask for nothing else; try again later"
            )
        limit = self._limits.requests_per_connection
        if n_live >= limit:
            raise LimitExceeded(
                f"this connection has {limit} live requests already; wait for one to end"
            )

    def _refuse(self, error: UmadError, request_id: RequestId) -> None:
        self.queue(encode_error(error, request_id))
        self.flush()

    async def _answer(self, request_id: RequestId, value: Coroutine[Any, Any, Any]) -> None:
        body: bytes | None
        try:
            result = await value
            if isinstance(result, Handover):
                result.send(self._transport, request_id)
                body = None
            else:
                body = None if isinstance(result, Begun) else encode_result(request_id, result)
        except UmadError as error:
            body = encode_error(error, request_id)
        except asyncio.CancelledError:
            if self._closing:
                raise
            body = encode_error(Cancelled("the request was cancelled"), request_id)
        except Exception:
            # A task's boundary: a bug costs one request, not the daemon.
            log.exception("request failed unexpectedly id=%s", request_id)
            body = encode_error(InternalError("see the log"), request_id)
        if body is not None:
            if len(body) > self._limits.send_queue_bytes:
                await self._has_read()
                self._long_bytes = len(body)
            self.queue(body)
            self.flush()
        del self._answers[request_id]
        self.settled()

    async def _has_read(self) -> None:
        """Wait until the client has caught up, so that only one long answer is unread at a time.

        A client that never reads is cut off, which cancels this wait.
        """
        while self.paused:
            reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            await reader

    def cancel_answer(self, request_id: RequestId) -> bool:
        """Cancel an answer that is being worked on; return whether there is one.

        The client then receives `Cancelled`.
        """
        task = self._answers.get(request_id)
        if task is None:
            return False
        # Not at once: a task that has not begun would end without an answer.
        asyncio.get_running_loop().call_soon(task.cancel)
        return True

    def _end_with(self, error: UmadError) -> None:
        """Tell the client of an error that concerns the whole connection, and close it."""
        log.info(
            "connection ended app=%s pid=%d code=%s",
            self.identity.app,
            self.identity.pid,
            error.code,
        )
        self.queue(encode_error(error))
        self.flush()
        self.close()

    def _set_timer(self, name: str, delay_s: float, awaited: str) -> None:
        error = ProtocolViolation(f"{awaited} did not come within {delay_s:g} s")
        self._timers[name] = asyncio.get_running_loop().call_later(
            delay_s, self._timed_out, name, error
        )

    def _timed_out(self, name: str, error: ProtocolViolation) -> None:
        del self._timers[name]
        self._end_with(error)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _give_up(self) -> None:
        log.warning(
            "client does not read and is cut off app=%s pid=%d",
            self.identity.app,
            self.identity.pid,
        )
        self.abort()
