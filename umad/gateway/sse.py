"""Streams an answer: headers at once, keep-alive while no piece comes, an error as the last piece.

Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) and newline-
delimited JSON. Not: the content of the pieces. Owner: the task of its HTTP request.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from umad.errors import InternalError, UmadError
from umad.gateway.dialect import FLOW, Dialect, Flow
from umad.gateway.errors import problem_of
from umad.gateway.generation import Shortcut
from umad.service import Take, Tokens

log = logging.getLogger(__name__)

EVENTS = "text/event-stream; charset=utf-8"
LINES = "application/x-ndjson"
_COMMENT = b":"
DONE = b"data: [DONE]\n\n"
# Marks the hole of a `Template`. No value of ours contains it.
HOLE = "\0"

# `json.dumps` makes an encoder for every call that wants more than its defaults.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode_json(value: Any) -> str:
    """Compact JSON; text stays UTF-8 instead of escapes."""
    return _encode(value)


def data(value: Any) -> bytes:
    """An event without a name."""
    return f"data: {encode_json(value)}\n\n".encode()


def event(name: str, value: Any) -> bytes:
    """An event with a name."""
    return f"event: {name}\ndata: {encode_json(value)}\n\n".encode()


def comment(text: str) -> bytes:
    """A comment, which readers of events skip. `text`: one line."""
    return f": {text}\n\n".encode()


def line(value: Any) -> bytes:
    """One object of newline-delimited JSON."""
    return f"{encode_json(value)}\n".encode()


class Template:
    """A piece that is sent again and again with another text in it, encoded once.

    In `piece`, `HOLE` is the value in the text's place.
    """

    def __init__(self, piece: bytes) -> None:
        self._before, hole, self._after = piece.partition(_encode(HOLE).encode())
        if not hole:
            raise InternalError("a template without a hole")

    def with_text(self, text: str) -> bytes:
        """The piece that says `text`."""
        return self._before + _encode(text).encode() + self._after


class AnswerStream:
    """An ASGI answer that sends `pieces` as they come.

    An error of the iterator becomes the dialect's own last piece, because the status was sent
    before. `ping` is sent after `quiet_s` without a piece; None sends nothing. Where it is a
    comment, what `comment` returns stands in its place, one line. `shortcut` belongs to the
    generation that `pieces` iterates. While the client keeps up, its tokens are sent as soon as
    they are read from the socket; `pieces` has all others, in order.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        dialect: Dialect,
        request_id: str,
        quiet_s: float,
        media_type: str = EVENTS,
        ping: bytes | None = None,
        comment: Callable[[], str | None] = lambda: None,
        headers: Mapping[str, str] | None = None,
        shortcut: Shortcut | None = None,
    ) -> None:
        self._pieces = pieces
        self._shortcut = shortcut
        self._dialect = dialect
        self._request_id = request_id
        self._quiet_s = quiet_s
        self._ping = ping
        self._comment = comment
        self._headers = {
            "content-type": media_type,
            "cache-control": "no-cache",
            "x-accel-buffering": "no",  # nginx would hold the pieces back
            **(headers or {}),
        }
        self._said_s = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(k.encode(), v.encode()) for k, v in self._headers.items()],
            }
        )
        if scope.get("method") == "HEAD":
            await self._pieces.aclose()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._said_s = loop.time()
        keeper = None
        if self._ping is not None:
            # uvicorn sends the headers with the first piece, so an empty one is sent at once.
            await send({"type": "http.response.body", "body": self._ping, "more_body": True})
            keeper = asyncio.create_task(self._keep_alive(send, self._ping), name="keep-alive")
        flow = scope.get("extensions", {}).get(FLOW)
        if self._shortcut is not None and flow is not None:
            self._shortcut.generation.take = self._short(self._shortcut, send, flow["flow"])
        try:
            # Closed here if it was cut short, because its generation must not outlive the answer.
            async with contextlib.aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    self._said_s = loop.time()
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except UmadError as error:
            await self._fail(error, send)
        except Exception:
            # The stream's boundary: the client gets a readable end, the log gets the reason.
            log.exception("stream failed unexpectedly id=%s", self._request_id)
            await self._fail(InternalError("see the log"), send)
        finally:
            if keeper is not None:
                keeper.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _short(self, shortcut: Shortcut, send: Send, flow: Flow) -> Take:
        piece_of, time_s = shortcut.piece_of, asyncio.get_running_loop().time

        def take(event: Tokens) -> bool:
            if flow.write_paused:
                return False
            try:
                piece = piece_of(event)
                if piece:
                    self._said_s = time_s()
                    _now(send({"type": "http.response.body", "body": piece, "more_body": True}))
            except Exception:
                log.exception("stream failed unexpectedly id=%s", self._request_id)
                raise InternalError("see the log") from None
            return piece is not None

        return take

    async def _fail(self, error: UmadError, send: Send) -> None:
        problem = problem_of(error, self._request_id)
        log.info("stream ended id=%s code=%s", self._request_id, problem.code)
        piece = self._dialect.stream_error(problem)
        await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _keep_alive(self, send: Send, ping: bytes) -> None:
        """Send pings. Each piece is one write to the server, so a ping never lands inside a
        piece.
        """
        loop = asyncio.get_running_loop()
        while True:
            quiet_s = loop.time() - self._said_s
            if quiet_s >= self._quiet_s:
                words = self._comment() if ping.startswith(_COMMENT) else None
                piece = ping if words is None else comment(words)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self._said_s = loop.time()
                quiet_s = 0.0
            await asyncio.sleep(self._quiet_s - quiet_s)


def _now(sending: Awaitable[None]) -> None:
    """Send at once, if that needs no waiting."""
    for _ in sending.__await__():
        raise InternalError("a write waits that was said not to")
