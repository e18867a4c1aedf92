"""Carries messages to and from one engine process over the daemon's end of a socket pair.

Not: what the messages mean. Owner: the daemon's event loop; ends with the process it talks to.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from typing_extensions import override

from umad.protocol.engine_words import MAX_ENGINE_FRAME_BYTES, check_words
from umad.protocol.frames import FrameReader, encode_frame
from umad.protocol.link import STEP_TOKENS, FromEngine, ToEngine, encode, message_of, unpack

log = logging.getLogger(__name__)


class EngineLink(asyncio.Protocol):
    """The daemon's end of the link.

    It does not limit what is sent to the engine: the journal limits what can be under way.
    """

    def __init__(
        self,
        heard: Callable[[FromEngine, int], None],
        heard_tokens: Callable[[Sequence[Any], int], None],
        now_ns: Callable[[], int],
    ) -> None:
        """heard: called with every other message. heard_tokens: called with a step's tokens as
        `link.unpack` gives them.

        Both also get the time of the read. Everything read together has the same time, because
        whoever waits for it has waited once.
        """
        # Done once no more message can arrive.
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard = heard
        self._heard_tokens = heard_tokens
        self._now_ns = now_ns
        self._reader = FrameReader(MAX_ENGINE_FRAME_BYTES)
        self._transport: asyncio.Transport | None = None

    def send(self, *messages: ToEngine) -> None:
        """Send messages in order and together; they are lost when the engine has gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join([encode_frame(encode(one)) for one in messages]))

    def close(self) -> None:
        """Close the link; nothing is received from here on."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    @override
    def data_received(self, data: bytes) -> None:
        now_ns = self._now_ns()
        try:
            # One frame a step, mostly read alone. A decode has flushed this core's caches since
            # the last one: every function less is some microseconds less.
            body = self._reader.only(data)
            for each in self._reader.feed(data) if body is None else (body,):
                unpacked = unpack(each)
                if unpacked[0] == STEP_TOKENS:
                    self._heard_tokens(unpacked, now_ns)
                else:
                    self._heard(check_words(message_of(unpacked)), now_ns)
        except Exception:
            # A process boundary: an engine that sends nonsense must end itself, not the daemon.
            log.exception("engine news cannot be handled; the engine is given up")
            self.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)
