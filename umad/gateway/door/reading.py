"""Reads the requests of one connection, the same ones however its bytes are cut.

It is uvicorn's protocol around httptools. It settles cases that both leave to chance:

- A request that asks for another protocol is answered in this one and is its connection's last:
  the parser would take its body, or what follows, for the other protocol.
- Bytes that cannot be read end the connection with a 400. The 400 comes after the answers to the
  whole requests before it and never inside one. The same holds for a request that two servers may
  read in two ways: `Host` twice, a transfer coding besides `chunked`, or any in HTTP/1.0.
- After the last request of a connection nothing is read.
- Fields behind a body (trailers) change nothing in the request, and their size has a limit.
- A head has a limit of size, and so have the requests sent before the first is answered.

Not: limits on a connection's time, and on their number (`door.connections`). Owner: one event loop.
"""

from collections.abc import Callable
from typing import Any

import httptools
from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from umad.gateway.dialect import CONNECTION, FLOW

# Agents send cookies, tokens and beta flags, a few kilobytes; nginx takes 32 KiB, h11 64.
HEAD_BYTES = 64 * 2**10
# Bytes parsed at once. A head may exceed its limit by so many before the excess is noticed.
PIECE_BYTES = 16 * 2**10
# Requests that wait for the answer before theirs. Browsers and packages send none; a read of 256
# KiB could hold ten thousand.
MOST_PIPELINED = 32
# Beside a body's bytes: sizes of its pieces and fields behind it. A piece of one byte takes six.
_FRAMING_FACTOR = 8
_PLAIN = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
_FRAMING = (b"content-length", b"transfer-encoding")


class RequestReader(HttpToolsProtocol):
    """The reading side of one connection."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        # uvicorn reads on behind a request that ends its connection; there is only one answer.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        # Bytes that come from now on are ignored.
        self.is_over = False
        self.head_is_open = False
        # A request began in the piece that is being read.
        self._has_begun = False
        # Bytes read so far of the head, or of the parts beside the body's bytes.
        self._extra_bytes = 0
        self._body_bytes = 0
        # The last answer, sent before closing, once all whole requests have their answers.
        self._last_word: bytes | None = None
        # The request that is being answered; `cycle` is the latest that has come.
        self._answered: RequestResponseCycle | None = None

    @property
    def is_between(self) -> bool:
        """No request is under way."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def ending(self) -> None:
        """The connection is about to be closed with a last answer."""

    def end_with(self, status: bytes, text: bytes, *, retry: bool = False) -> None:
        """Answer `status` and close, behind the answers to the requests that came whole.

        No dialect is known yet, so the answer is plain text.
        """
        self.is_over = True
        more = b"retry-after: 1\r\n" if retry else b""
        self._last_word = b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n%s\r\n%s" % (
            status,
            _PLAIN,
            len(text),
            more,
            text,
        )
        if self._drop_half_request():
            self._say_last_word()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        # uvicorn knows only the latest request, which may stand behind the one that is answered.
        answered = self._answered
        if answered is not None and not answered.response_complete:
            answered.disconnected = True
            answered.message_event.set()
        super().connection_lost(exc)

    # -- bytes ------------------------------------------------------------------------------------

    @override
    def data_received(self, data: bytes) -> None:
        if len(data) <= PIECE_BYTES:
            self._read(data)
            return
        for at in range(0, len(data), PIECE_BYTES):
            self._read(data[at : at + PIECE_BYTES])

    def _read(self, piece: bytes) -> None:
        if self.is_over or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        was_head, before = self.head_is_open, self._body_bytes
        self._has_begun = False
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_body_of_last(piece[upgrade.args[0] :])
        except httptools.HttpParserError:
            # Behind a connection's last request the parser refuses every byte.
            if not self.is_over:
                self.end_with(b"400 Bad Request", b"this is not a request that can be read")
        if not self.is_over and not self._has_begun:
            self._count(piece, was_head=was_head, n_body=self._body_bytes - before)

    def _count(self, piece: bytes, *, was_head: bool, n_body: int) -> None:
        """Hold a head, and the bytes beside a body, to their limit. The piece in which a request
        begins is not counted: it is small, and holds bytes of the request before it too.
        """
        if self.head_is_open:
            if was_head:
                self._extra_bytes += len(piece)
            if self._extra_bytes > HEAD_BYTES:
                self.end_with(
                    b"431 Request Header Fields Too Large",
                    b"a request's head has at most %d bytes" % HEAD_BYTES,
                )
        elif not self.is_between and self.cycle.more_body and not was_head:
            self._extra_bytes += len(piece) - n_body
            if self._extra_bytes > HEAD_BYTES + _FRAMING_FACTOR * self._body_bytes:
                self.end_with(b"400 Bad Request", b"the body is sent in pieces that are too small")

    def _read_body_of_last(self, rest: bytes) -> None:
        """Read the body of a request that asked for another protocol. The first parser has let go
        of it, so a fresh one reads its body, if it has one, and nothing behind it.
        """
        fields = [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name in _FRAMING]
        self.parser = httptools.HttpRequestParser(_BodyOnly(self.on_body, self._end_of_last))
        head = b"POST / HTTP/1.1\r\nconnection: close\r\n%s\r\n" % b"".join(fields)
        self.parser.feed_data(head)
        if rest and not self.is_over:
            self._read(rest)

    def _end_of_last(self) -> None:
        self.on_message_complete()
        self.is_over = True

    # -- called by the parser ---------------------------------------------------------------------

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {FLOW: {"flow": self.flow}, CONNECTION: {"connection": self}}
        self.head_is_open = self._has_begun = True
        self._extra_bytes = self._body_bytes = 0

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_is_open:  # else it stands behind a body, and the request is being answered
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self.head_is_open = False
        _check_framing(self.headers, self.parser.get_http_version())
        if len(self.pipeline) >= MOST_PIPELINED:
            self.end_with(
                b"503 Service Unavailable", b"too many requests before an answer", retry=True
            )
            raise httptools.HttpParserError("too many requests before an answer")
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False

    @override
    def on_body(self, body: bytes) -> None:
        if self.is_over:
            return
        self._body_bytes += len(body)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # by this parser; its body is to come (`_read_body_of_last`)
        super().on_message_complete()
        if not self.cycle.keep_alive:
            self.is_over = True

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        answered = self._answered
        if self._last_word is not None and (answered is None or answered.response_complete):
            self._say_last_word()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    # -- the end ----------------------------------------------------------------------------------

    def _drop_half_request(self) -> bool:
        """Give up the request whose body is not complete; return whether no other waits for its
        answer.

        Only the last cycle can be incomplete.
        """
        cycle = self.cycle
        if self.is_between:
            return True
        if not cycle.more_body:
            return False
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # its handler has not begun, and never will
            return False
        return True

    def _say_last_word(self) -> None:
        self.ending()
        word, self._last_word = self._last_word, None
        if word is not None and not self.transport.is_closing():
            cycle = self.cycle
            if self.is_between or not cycle.response_started:
                self.transport.write(word)
            self.transport.close()


class _BodyOnly:
    """Callbacks of a parser that is used for a body only."""

    def __init__(self, on_body: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.on_body = on_body
        self.on_message_complete = on_end


def _check_framing(headers: list[tuple[bytes, bytes]], http_version: str) -> None:
    """Refuse framing that the parser accepts and another server may read differently (RFC 9112, 3.2
    and 6.1).
    """
    n_hosts = 0
    for name, value in headers:
        if name == b"host":
            n_hosts += 1
        elif name == b"transfer-encoding" and (
            http_version != "1.1" or value.strip().lower() != b"chunked"
        ):
            raise httptools.HttpParserError("a transfer coding that is not taken")
    if n_hosts > 1:
        raise httptools.HttpParserError("two hosts")
