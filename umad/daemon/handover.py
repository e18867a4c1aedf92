"""Sends an answer together with a file descriptor (SCM_RIGHTS).

Transports cannot send a descriptor, so the answer goes straight to the socket. That is only allowed
while the transport has nothing left to send, because it may otherwise stand in the middle of a
frame. Owner: the event loop.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from umad.errors import LimitExceeded
from umad.protocol.frames import encode_frame
from umad.protocol.messages import RequestId, encode_result


class Begun:
    """Stands for the answer to a request that has only begun, and whose events follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """An answer and the descriptor that goes with it."""

    # The answer.
    value: Any
    # Goes to the client; `send` closes this copy of it.
    fd: int
    # Called when both are on their way.
    sent: Callable[[], None]

    def send(self, transport: asyncio.Transport | None, request_id: RequestId) -> None:
        """Send the whole answer at once. Raises `LimitExceeded` where the socket cannot take it
        now.
        """
        try:
            if transport is None or transport.is_closing():
                return
            if transport.get_write_buffer_size():
                raise BlockingIOError
            frame = encode_frame(encode_result(request_id, self.value))
            # A second socket object for the same socket, because the transport's own cannot be used
            # to send.
            own = transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(own)) as sock:
                socket.send_fds(sock, [frame], [self.fd])
            self.sent()
        except BlockingIOError:
            raise LimitExceeded(
                "other messages wait to be sent on this connection; attach on one of its own"
            ) from None
        finally:
            os.close(self.fd)
