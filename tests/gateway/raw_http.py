"""Sends the bytes that an editor sends, on one connection as it does. Not a test.

A head is written as the editor's own HTTP library writes it, line by line; `{host}` and `{length}`
stand for the gateway's address and the size of the body.
"""

import socket
from http.client import HTTPResponse
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

ANSWER_S = 60.0


class RawConnection:
    """A connection that stays open from one request to the next, as those of editors do."""

    def __init__(self, address: str) -> None:
        where = urlsplit(address)
        assert where.hostname is not None
        self._to = (where.hostname, where.port)
        self._host = f"{where.hostname}:{where.port}"
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, head: str, body: bytes = b"", *, n_events: int | None = None) -> httpx.Response:
        """The answer to a request. n_events: leave a stream of events behind so many of them."""
        if self._socket is None:
            self._socket = socket.create_connection(self._to, timeout=ANSWER_S)
        filled = head.strip().format(host=self._host, length=len(body))
        lines = [line.strip() for line in filled.splitlines()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = HTTPResponse(self._socket, method=filled.split(" ", 1)[0])
        answer.begin()
        if n_events is None:
            content = answer.read()
            ends = answer.will_close
        else:
            content, ends = _events(answer, n_events), True
        answer.close()
        if ends:
            self.close()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=content)


def _events(answer: HTTPResponse, n: int) -> bytes:
    found: list[bytes] = []
    while sum(one.startswith(b"data:") for one in found) < n:
        line = answer.readline()
        assert line, "the stream ended before its events"
        found.append(line)
    return b"".join(found)
