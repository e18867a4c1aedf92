"""A daemon whose every word a test decides: real socket, real frames, no model."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

from umad.protocol.frames import FrameReader, encode_frame
from umad.protocol.messages import (
    Generate,
    Hello,
    Request,
    RequestId,
    Welcome,
    encode_event,
    encode_tokens,
    encode_welcome,
    parse_hello,
    parse_request,
)
from umad.request import GenerateRequest, SamplingParams, Timings, Usage
from umad.service import Accepted, Done, Event, Tokens

T = TypeVar("T")
FRAME_BYTES = 2**20
# Longer than any test should take, shorter than anybody would wait.
PATIENCE_S = 60.0
# The same for a test that starts a process of umad's command line, which imports much.
PROCESS_PATIENCE_S = 100.0


class Peer:
    """The daemon's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._frames = FrameReader(16 * 2**20)
        self._bodies: list[bytes] = []

    async def _hear_body(self) -> bytes:
        while not self._bodies:
            data = await self._reader.read(65536)
            if not data:
                raise EOFError
            self._bodies.extend(self._frames.feed(data))
        return self._bodies.pop(0)

    async def hear_hello(self) -> Hello:
        return parse_hello(await self._hear_body())

    async def hear(self) -> Request:
        """The client's next request; EOFError where it has hung up."""
        return parse_request(await self._hear_body())

    async def hear_generate(self) -> Generate:
        request = await self.hear()
        assert isinstance(request, Generate)
        return request

    def pause_hearing(self) -> None:
        """Leave what the client sends in the socket's buffers."""
        transport = cast(asyncio.ReadTransport, self.writer.transport)
        transport.pause_reading()

    async def wait_for_cancellation(self) -> None:
        """Do nothing until the test ends."""
        await asyncio.get_running_loop().create_future()

    def say(self, body: bytes) -> None:
        self.writer.write(encode_frame(body))

    def say_text(self, request_id: RequestId, text: str, index: int = 0) -> None:
        self.say(encode_tokens(request_id, index, text, (7,)))

    def say_done(self, request_id: RequestId, index: int = 0) -> None:
        self.say(encode_event(request_id, done(index)))

    def say_accepted(self, request_id: RequestId) -> None:
        event = Accepted(request="r-1", model="nano", lane="interactive", queue_position=0)
        self.say(encode_event(request_id, event))


Script = Callable[[Peer], Awaitable[None]]


def done(index: int = 0) -> Done:
    return Done(
        index=index,
        finish_reason="stop",
        usage=Usage(prompt_tokens=3, cached_tokens=1, completion_tokens=2),
        timings=Timings(queued_ms=0.5, first_token_ms=10.0, total_ms=20.0),
    )


def ask(prompt: str = "hello", n: int = 1) -> GenerateRequest:
    return GenerateRequest(prompt=prompt, n=n, sampling=SamplingParams(max_tokens=8))


def texts(events: list[Any]) -> list[str]:
    return [event.text for event in events if isinstance(event, Tokens)]


async def read_into(events: list[Event], stream: AsyncIterator[Event]) -> None:
    """Read to the end; what came before an error is in `events`."""
    async for event in stream:
        events.append(event)  # noqa: PERF401 - a comprehension would lose them


def of_version(protocol: int) -> Script:
    """A daemon that greets in another version of the protocol, for `daemon(…, greet=False)`."""

    async def script(peer: Peer) -> None:
        await peer.hear_hello()
        peer.say(encode_welcome(Welcome(protocol=protocol, server="umad/9", frame_bytes=1000)))

    return script


@asynccontextmanager
async def daemon(path: str, script: Script, *, greet: bool = True) -> AsyncIterator[None]:
    """Listen on `path`; every connection runs `script` and is closed after it.

    A script that fails fails the test, unless the client hanging up was what ended it.
    """
    failures: list[BaseException] = []
    open_connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        try:
            if greet:
                await peer.hear_hello()
                peer.say(encode_welcome(Welcome(server="scripted", frame_bytes=FRAME_BYTES)))
            await script(peer)
            await writer.drain()
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        except BaseException as failure:
            failures.append(failure)
            raise
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        open_connections.add(task)
        task.add_done_callback(open_connections.discard)

    server = await asyncio.start_unix_server(connected, path)
    try:
        yield
    finally:
        server.close()
        tasks = list(open_connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failures:
        raise failures[0]


def run(main: Coroutine[Any, Any, T], *, within_s: float = PATIENCE_S) -> T:
    """`asyncio.run`, bounded."""

    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await main

    return asyncio.run(bounded())


@contextmanager
def daemon_thread(
    path: str, script: Script, *, greet: bool = True, within_s: float = PATIENCE_S
) -> Iterator[None]:
    """The same for a test that blocks: the daemon runs on a loop of another thread."""
    listening = threading.Event()
    failures: list[BaseException] = []
    loop_and_stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loop_and_stop.append((asyncio.get_running_loop(), stop))
        async with daemon(path, script, greet=greet):
            listening.set()
            await stop.wait()

    def body() -> None:
        try:
            run(serve(), within_s=within_s)
        except BaseException as failure:  # noqa: BLE001 - raised again where the test is
            failures.append(failure)
            listening.set()

    thread = threading.Thread(target=body)
    thread.start()
    assert listening.wait(PATIENCE_S)
    try:
        yield
    finally:
        loop, stop = loop_and_stop[0]
        if not failures:
            loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
    if failures:
        raise failures[0]
