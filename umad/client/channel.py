"""Sends and receives whole messages on one blocking connection to the daemon; every wait is
bounded.

Not: choosing the request a message belongs to (`umad.client.blocking`). Belongs to one thread.
"""

import os
import socket
from collections import deque
from typing import Self

from umad.client.opening import (
    connect_error,
    hello_frame,
    request_frame,
    silent_daemon,
    welcome_of,
)
from umad.client.options import ClientOptions
from umad.client.trust import check_folder, check_peer, trusted_owners
from umad.clock import Clock
from umad.errors import ConnectionLost, DeadlineExceeded, UmadError
from umad.protocol.errors import error_of_failed
from umad.protocol.frames import FrameReader
from umad.protocol.messages import (
    Message,
    Request,
    RequestId,
    Welcome,
    encode_request,
    parse_event,
)
from umad.service import Failed

_READ_BYTES = 64 * 2**10


class Channel:
    """A blocking connection, made by `open`. After any `ConnectionLost` it stays closed."""

    def __init__(self, sock: socket.socket, options: ClientOptions, clock: Clock) -> None:
        self._sock = sock
        self._options = options
        self._clock = clock
        self._reader = FrameReader(options.frame_bytes)
        self._bodies: deque[bytes] = deque()
        self._welcome = Welcome()
        # The reason for the end of the connection, where it is known.
        self._farewell: Failed | None = None
        # Descriptors that arrived. None while none is wanted; the kernel then drops any.
        self._descriptors: list[int] | None = None
        # When it was closed, on the client's clock.
        self.lost_s: float | None = None

    @classmethod
    def open(cls, path: str, options: ClientOptions, clock: Clock) -> Self:
        """Connect and be greeted. Raises `NoDaemon`, `Refused` or the daemon's own error."""
        owners = trusted_owners(options.socket_owner, os.environ)
        check_folder(path, owners)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel = cls(sock, options, clock)
        greeted = False
        try:
            sock.settimeout(options.connect_s)
            sock.connect(path)
            check_peer(sock.fileno(), path, owners)
            channel._greet()
            greeted = True
        except (TimeoutError, DeadlineExceeded):
            raise silent_daemon(path, options.connect_s) from None
        except OSError as error:
            raise connect_error(path, error) from error
        finally:
            if not greeted:
                channel.close()
        return channel

    @property
    def server(self) -> str:
        """The daemon's name and version as it greeted, as in umad/0.2.0; empty before that."""
        return self._welcome.server

    def close(self) -> None:
        """Close the connection; the daemon then cancels what still runs on it."""
        if self.lost_s is None:
            self.lost_s = self._clock.now_ns() / 1e9
        self._sock.close()

    def send(self, request: Request) -> None:
        """Send a whole request; the connection is closed where only a part of it could be sent."""
        frame = request_frame(encode_request(request), self._welcome)
        sent = False
        try:
            self._sock.settimeout(self._options.call_s)
            self._sock.sendall(frame)
            sent = True
        except TimeoutError:
            raise DeadlineExceeded(
                f"the daemon did not take the request within {self._options.call_s:g} s"
            ) from None
        except OSError as error:
            raise self._loss() from error
        finally:
            if not sent:
                # Also at Ctrl-C: half a frame may have been sent, so nothing can follow it.
                self.close()

    def receive(self, request_id: RequestId, timeout_s: float) -> Message:
        """The next message for `request_id`; messages for requests that nobody waits for are
        dropped.
        """
        deadline_ns = self._clock.now_ns() + round(timeout_s * 1e9)
        while True:
            while self._bodies:
                id_, message = self._parse(self._bodies.popleft())
                if id_ == request_id:
                    return message
            self._fill(deadline_ns, timeout_s)

    def receive_descriptor(
        self, request_id: RequestId, timeout_s: float
    ) -> tuple[Message, int | None]:
        """The next message for `request_id`, and the descriptor that came with it, for the caller
        to close.
        """
        self._descriptors = []
        received = False
        try:
            message = self.receive(request_id, timeout_s)
            received = True
        finally:
            wanted = 1 if received else 0
            for surplus in self._descriptors[wanted:]:
                os.close(surplus)
            first, self._descriptors = self._descriptors[:wanted], None
        return message, first[0] if first else None

    def is_alive(self) -> bool:
        """Whether the daemon is still there. Drops messages for abandoned requests."""
        if self._sock.fileno() < 0:
            return False
        self._sock.setblocking(False)
        try:
            while data := self._sock.recv(_READ_BYTES):
                self._bodies.extend(self._reader.feed(data))
                self._bodies.clear()
        except BlockingIOError:
            return True
        except (OSError, UmadError):
            pass
        self.close()
        return False

    def _greet(self) -> None:
        self._sock.sendall(hello_frame(self._options))
        deadline_ns = self._clock.now_ns() + round(self._options.connect_s * 1e9)
        while not self._bodies:
            self._fill(deadline_ns, self._options.connect_s)
        _, message = parse_event(self._bodies.popleft())
        self._welcome = welcome_of(message)

    def _parse(self, body: bytes) -> tuple[RequestId | None, Message]:
        request_id, message = parse_event(body)
        if request_id is None and isinstance(message, Failed):
            # This error is about the connection; the daemon closes it next.
            self._farewell = message
        return request_id, message

    def _fill(self, deadline_ns: int, timeout_s: float) -> None:
        """Wait for at least one byte, which may be less than a whole message."""
        left_s = (deadline_ns - self._clock.now_ns()) / 1e9
        try:
            if left_s <= 0:
                raise TimeoutError
            self._sock.settimeout(left_s)
            data = self._read()
        except TimeoutError:
            raise DeadlineExceeded(f"the daemon said nothing for {timeout_s:g} s") from None
        except OSError as error:
            self.close()
            raise self._loss() from error
        if not data:
            self.close()
            raise self._loss()
        try:
            self._bodies.extend(self._reader.feed(data))
        except UmadError:
            self.close()
            raise

    def _read(self) -> bytes:
        if self._descriptors is None:
            return self._sock.recv(_READ_BYTES)
        data, descriptors, _, _ = socket.recv_fds(self._sock, _READ_BYTES, 1)
        self._descriptors += descriptors
        return data

    def _loss(self) -> UmadError:
        if self._farewell is not None:
            return error_of_failed(self._farewell)
        return ConnectionLost("the daemon closed the connection before the answer was complete")
