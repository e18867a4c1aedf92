"""Sends one request at a time to umad or to llama-server, and records it with little work.

While tokens arrive, bytes and times are stored. umad's frames are cut only to find the last one,
and nothing is decoded. `trace` reads the stored bytes afterwards, also of a request that was cut
off. Not the client that apps use, and not for the speed of many streams (`bench.peer_server`,
`bench.umad_daemon`). Owner: one task of the measuring loop for each connection.
"""

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from bench import peer_server
from bench.arrivals import Arrival
from bench.errors import BenchError
from bench.latency import Trace
from bench.umad_daemon import greedy
from umad.protocol.frames import FrameReader, encode_frame
from umad.protocol.messages import Generate, Hello, encode_request, parse_event
from umad.service import Done, Failed, Progress, Tokens

_FRAME_BYTES = 16 * 2**20
_EVENT = re.compile(rb"^data: (\{.*\})$", re.MULTILINE)


@dataclasses.dataclass(slots=True, kw_only=True)
class Exchange:
    """A request that was sent, and every piece of its answer with the time it was read."""

    prompt_tokens: int
    asked_tokens: int
    sent_ns: int
    ended: asyncio.Future[None]  # fails with BenchError when the contender refuses
    pieces: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)


class Connection(Protocol):
    """What one client holds; all calls on the loop that made it."""

    async def send(self, prompt: Sequence[int], *, tokens: int, lane: str) -> Exchange:
        """Sends a greedy request and returns at once; its answer is recorded as it comes."""

    def trace(self, exchange: Exchange) -> Trace:
        """What came back; raises BenchError for a refusal."""

    def decode(self, exchange: Exchange) -> int:
        """Decodes every message as an app must, for what that costs; how many there were."""

    def close(self) -> None:
        """Ends the connection, and with it a request that runs."""


class UmadConnection(asyncio.Protocol):
    """Frames over the daemon's socket; the connection is kept between requests."""

    def __init__(self) -> None:
        self._reader = FrameReader(_FRAME_BYTES)
        self._transport: asyncio.WriteTransport | None = None
        self._exchange: Exchange | None = None

    @classmethod
    async def open(cls, socket_path: Path) -> "UmadConnection":
        """Connects and says hello; the daemon's own hello is not waited for."""
        try:
            _, connection = await asyncio.get_running_loop().create_unix_connection(
                cls, str(socket_path)
            )
        except OSError as error:
            raise BenchError(f"no umad answers: {error.strerror}") from error
        connection._write(encode_frame(encode_request(Hello(client="bench"))))
        return connection

    async def send(self, prompt: Sequence[int], *, tokens: int, lane: str) -> Exchange:
        """One frame; the next may be sent when this exchange has ended."""
        request = dataclasses.replace(greedy(prompt, tokens), lane=lane)
        frame = encode_frame(encode_request(Generate(id=0, request=request)))
        self._exchange = new_exchange(len(prompt), tokens)
        self._write(frame)
        return self._exchange

    def trace(self, exchange: Exchange) -> Trace:
        """Reads the recorded frames."""
        return umad_trace(exchange)

    def decode(self, exchange: Exchange) -> int:
        """Msgpack to the protocol's values."""
        return len([parse_event(body) for _, body in exchange.pieces])

    def close(self) -> None:
        """The daemon cancels what still runs."""
        _abandon(self._exchange)
        if self._transport is not None:
            self._transport.close()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        now_ns = time.perf_counter_ns()
        exchange = self._exchange
        for body in self._reader.feed(data):
            if exchange is None:  # the daemon's hello
                continue
            exchange.pieces.append((now_ns, body))
            # Only candidates are decoded: tokens' text may hold these bytes, but rarely does.
            if b"done" in body or b"error" in body:
                message = parse_event(body)[1]
                if isinstance(message, Done):
                    _succeed(exchange)
                elif isinstance(message, Failed):
                    _fail(exchange, f"umad refused: {message.message}")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._exchange is not None:
            _fail(self._exchange, "umad closed the connection")

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise BenchError("umad closed the connection")
        self._transport.write(data)


class ServerConnection:
    """`POST /completion`; a connection for each request, made before its clock starts."""

    def __init__(self, socket_path: Path, *, progress: bool, cache_prompt: bool = False) -> None:
        self._socket_path = socket_path
        self._progress = progress
        self._cache_prompt = cache_prompt
        self._transport: asyncio.WriteTransport | None = None
        self._exchange: Exchange | None = None

    def request(self, prompt: Sequence[int], tokens: int) -> bytes:
        """The whole HTTP request."""
        return peer_server.completion_request(
            prompt, tokens, progress=self._progress, cache_prompt=self._cache_prompt
        )

    async def send(self, prompt: Sequence[int], *, tokens: int, lane: str) -> Exchange:
        """These servers have no lanes."""
        request = self.request(prompt, tokens)
        loop = asyncio.get_running_loop()
        self._exchange = exchange = new_exchange(len(prompt), tokens)
        try:
            self._transport, _ = await loop.create_unix_connection(
                lambda: _Response(exchange), str(self._socket_path)
            )
        except OSError as error:
            raise BenchError(f"no server answers: {error.strerror}") from error
        exchange.sent_ns = time.perf_counter_ns()
        self._transport.write(request)
        return exchange

    def trace(self, exchange: Exchange) -> Trace:
        """Reads the recorded response."""
        return server_trace(exchange)

    def decode(self, exchange: Exchange) -> int:
        """JSON to dicts; the server puts each event into one chunk, on one line."""
        response = b"".join(data for _, data in exchange.pieces)
        return len([json.loads(event[1]) for event in _EVENT.finditer(response)])

    def close(self) -> None:
        """The server notices when it next looks, after the batch it computes."""
        _abandon(self._exchange)
        if self._transport is not None:
            self._transport.close()


def umad_trace(exchange: Exchange) -> Trace:
    """Token ids whose text is held back (half a character) count when text comes, or at the end:
    as llama-server, which sends nothing before."""
    arrivals: list[Arrival] = []
    prompt: list[Arrival] = []
    tokens = told = 0
    ended = False
    for at_ns, body in exchange.pieces:
        message = parse_event(body)[1]
        if isinstance(message, Tokens):
            tokens += len(message.ids)
        elif isinstance(message, Progress):
            prompt.append(Arrival(at_ns=at_ns, tokens=message.done_tokens))
        elif isinstance(message, Done):
            ended = True
        elif isinstance(message, Failed):
            raise BenchError(f"umad refused: {message.message}")
        brings_text = isinstance(message, Tokens) and message.text
        if tokens > told and (brings_text or ended):
            arrivals.append(Arrival(at_ns=at_ns, tokens=tokens))
            told = tokens
    return trace_of(exchange, arrivals, prompt, ended=ended)


def server_trace(exchange: Exchange) -> Trace:
    """Text and the prompt's progress in a raw HTTP response, whole or cut off."""
    if not exchange.pieces:
        return Trace(sent_ns=exchange.sent_ns, ended=False)
    arrivals = peer_server.arrivals_in(exchange.pieces)
    prompt = peer_server.prompt_progress_in(exchange.pieces)
    ended = exchange.ended.done() and not exchange.ended.cancelled()
    return trace_of(exchange, arrivals, prompt, ended=ended)


def trace_of(
    exchange: Exchange, arrivals: list[Arrival], prompt: list[Arrival], *, ended: bool
) -> Trace:
    """A trace from what was read in an exchange's pieces."""
    if arrivals:  # a token came, so the whole prompt was computed
        prompt = [*prompt, Arrival(at_ns=arrivals[0].at_ns, tokens=exchange.prompt_tokens)]
    return Trace(
        sent_ns=exchange.sent_ns, arrivals=tuple(arrivals), prompt=tuple(prompt), ended=ended
    )


def new_exchange(prompt_tokens: int, asked_tokens: int) -> Exchange:
    """Of a request that is sent now, on the running loop."""
    return Exchange(
        prompt_tokens=prompt_tokens,
        asked_tokens=asked_tokens,
        ended=asyncio.get_running_loop().create_future(),
        sent_ns=time.perf_counter_ns(),
    )


def _succeed(exchange: Exchange) -> None:
    if not exchange.ended.done():
        exchange.ended.set_result(None)


def _fail(exchange: Exchange, reason: str) -> None:
    if not exchange.ended.done():
        exchange.ended.set_exception(BenchError(reason))


def _abandon(exchange: Exchange | None) -> None:
    """Nobody will wait for its end, so what the closing connection says is no failure."""
    if exchange is not None:
        exchange.ended.cancel()


class _Response(asyncio.Protocol):
    """Keeps each read with its time until the server closes the connection."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @override
    def data_received(self, data: bytes) -> None:
        self._exchange.pieces.append((time.perf_counter_ns(), data))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        pieces = self._exchange.pieces
        if pieces and b" 200 " in pieces[0][1].partition(b"\r\n")[0]:
            _succeed(self._exchange)
        else:
            detail = b"".join(data for _, data in pieces)[-200:].decode(errors="replace")
            _fail(self._exchange, f"the server refused: {detail or 'no answer'}")
