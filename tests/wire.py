"""The socket as a stranger's program would use it: bytes, msgpack and nothing of umad."""

import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgpack

WAIT_S = 60.0


class RawConnection:
    """A blocking connection; everything it does is bounded by `WAIT_S`."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def hello(self) -> dict[str, Any]:
        """Introduce itself; the daemon's answer."""
        self.send(msgpack.packb({"type": "hello", "protocol": 1, "client": "stranger"}))
        return self.read()

    def send(self, body: bytes) -> None:
        """One frame."""
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def read(self) -> dict[str, Any]:
        """One frame's map; EOFError when the daemon has closed."""
        (length,) = struct.unpack(">I", self._exactly(4))
        answer: dict[str, Any] = msgpack.unpackb(self._exactly(length))
        return answer

    def read_past(self, *types: str) -> dict[str, Any]:
        """The first map of another type."""
        while (answer := self.read())["type"] in types:
            pass
        return answer

    def _exactly(self, n_bytes: int) -> bytes:
        chunks = bytearray()
        while len(chunks) < n_bytes:
            chunk = self.socket.recv(n_bytes - len(chunks))
            if not chunk:
                raise EOFError("the daemon closed the connection")
            chunks += chunk
        return bytes(chunks)
