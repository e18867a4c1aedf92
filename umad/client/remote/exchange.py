"""Holds one HTTP connection: a request goes out, the bodies of frames come in.

A frame is handed on in the read that brought it, without a task in between. A connection that has
given a whole answer is used again. Not: what a frame says, or what to do when a connection ends
(`umad.client.remote.carrying`).
Owner: the loop on which it was opened.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import httptools
from typing_extensions import override

from umad.client.options import ClientOptions
from umad.client.remote.address import RemoteAddress
from umad.errors import ConnectionLost, Refused, UmadError
from umad.protocol.frames import FrameReader

_OK: Final = 200
_MOST_REFUSAL_BYTES: Final = 1 << 16
# HAProxy closes a connection that rests for 60 s, and a gateway one that rests for longer.
_MOST_REST_S: Final = 30.0
_MOST_RESTING: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an exchange ended."""

    # 0: the connection ended before a status came.
    status: int
    # The answer came to its end. A node that dies leaves it open.
    is_whole: bool
    # The body of an answer with another status than 200.
    refusal: bytes = b""


class Exchange(asyncio.Protocol):
    """One connection, and at most one request on it at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, frame_bytes: int) -> None:
        self._loop = loop
        self._frame_bytes = frame_bytes
        self._gone = asyncio.Event()
        self._ended: asyncio.Future[Outcome] | None = None
        self.rested_s = 0.0

    def begin(self, data: bytes, take: Callable[[bytes], None]) -> "asyncio.Future[Outcome]":
        """Send a whole request; `take` gets the body of every frame. The future is done once the
        answer or the connection has ended. It holds the error that `take` raised.
        """
        self._take = take
        self._parser = httptools.HttpResponseParser(self)
        self._frames = FrameReader(self._frame_bytes)
        self._status, self._refusal = 0, bytearray()
        self._ended = ended = self._loop.create_future()
        if self._gone.is_set():
            self._end(is_whole=False)
        else:
            self.transport.write(data)
        return ended

    def abort(self) -> None:
        """Close the connection; the other end then cancels what it computes for it."""
        self.transport.abort()

    async def gone(self) -> None:
        """Wait until it is closed."""
        await self._gone.wait()

    @property
    def is_gone(self) -> bool:
        """Whether it is closed, and its socket too."""
        return self._gone.is_set()

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent."""
        return not self._gone.is_set() and not self.transport.is_closing()

    # -- called by the loop -----------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._ended is None:
            self.abort()  # nobody has asked for anything
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, UmadError) else None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._end(is_whole=False)

    # -- called by the parser ---------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """The status is there."""
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """A part of the answer."""
        if self._status != _OK:
            self._refusal += data[: _MOST_REFUSAL_BYTES - len(self._refusal)]
            return
        for body in self._frames.feed(data):
            self._take(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._parser.should_keep_alive():
            self.transport.close()
        self._end(is_whole=True)

    def _fail(self, error: UmadError | None) -> None:
        """What came is no answer."""
        ended, self._ended = self._ended, None
        self.abort()
        if ended is not None and not ended.done():
            if error is None:
                ended.set_result(Outcome(status=self._status, is_whole=False))
            else:
                ended.set_exception(error)

    def _end(self, *, is_whole: bool) -> None:
        ended, self._ended = self._ended, None
        if ended is not None and not ended.done():
            ended.set_result(
                Outcome(status=self._status, is_whole=is_whole, refusal=bytes(self._refusal))
            )


class Exchanges:
    """The connections of one client."""

    def __init__(self, address: RemoteAddress, options: ClientOptions) -> None:
        self._address = address
        self._options = options
        self._resting: list[Exchange] = []
        self._open: set[Exchange] = set()

    async def opened(self) -> Exchange:
        """A connection without a request. Raises `ConnectionLost` where nobody listens, and
        `Refused` for a certificate that is not trusted: to try again would not help."""
        loop = asyncio.get_running_loop()
        while self._resting:
            exchange = self._resting.pop()
            if exchange.is_open and loop.time() - exchange.rested_s < _MOST_REST_S:
                return exchange
            exchange.abort()
        address = self._address

        def made() -> Exchange:
            return Exchange(loop, self._options.frame_bytes)

        try:
            async with asyncio.timeout(self._options.connect_s):
                if address.path:
                    _, exchange = await loop.create_unix_connection(made, address.path)
                else:
                    _, exchange = await loop.create_connection(
                        made, address.host, address.port, ssl=address.tls
                    )
        except ssl.SSLCertVerificationError as error:
            raise Refused(
                f"the certificate of {address} is not trusted: {error.verify_message}"
            ) from error
        except (OSError, TimeoutError) as error:
            raise ConnectionLost(f"{address} cannot be reached: {error or 'no answer'}") from error
        self._open = {one for one in self._open if not one.is_gone}
        self._open.add(exchange)
        return exchange

    def rest(self, exchange: Exchange) -> None:
        """Take a connection back whose answer is whole."""
        if exchange.is_open and len(self._resting) < _MOST_RESTING:
            exchange.rested_s = asyncio.get_running_loop().time()
            self._resting.append(exchange)
        else:
            exchange.abort()

    async def close(self) -> None:
        """Close all of them. None is used any more."""
        self._resting.clear()
        still_open, self._open = self._open, set()
        for exchange in still_open:
            exchange.abort()
        await asyncio.gather(*(exchange.gone() for exchange in still_open))
