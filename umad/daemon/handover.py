"""An answer that comes with a file descriptor (SCM_RIGHTS).

Transports cannot send one, so it goes past them, straight to the socket: only where the transport
has nothing left to send, for it may stand in the middle of a frame. Owner: the event loop.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """value: the answer. fd: goes to the client, and is closed here, by `send`. sent: called when
    both are on their way."""

    value: Any
    fd: int
    sent: Callable[[], None]

    def send(self, transport: asyncio.Transport | None, request_id: RequestId) -> None:
        """The whole answer at once. Raises `LimitExceeded` where it does not fit in now."""
        try:
            if transport is None or transport.is_closing():
                return
            if transport.get_write_buffer_size():
                raise BlockingIOError
            frame = encode_frame(encode_result(request_id, self.value))
            # Another object for the same socket: the transport's own may not be sent with.
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
