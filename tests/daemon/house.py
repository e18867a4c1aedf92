"""A daemon with fake engines, and a client that sees every frame."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import uvloop

from umad.daemon.names import ModelFile
from umad.daemon.server import Daemon
from umad.protocol.frames import FrameReader, encode_frame
from umad.protocol.messages import (
    Generate,
    Hello,
    Message,
    Models,
    Ping,
    Request,
    RequestId,
    Result,
    Sessions,
    Tokenize,
    encode_request,
    parse_event,
)
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed, Tokens
from umad.testing import FakeModel, fake_command, fake_token

# Far above what anything takes here, on a crowded machine too; a test that needs it has failed.
PATIENCE_S = 60.0
# Less than pytest's own bound, which says less of where it was.
RUN_S = 110.0
ROOT = Path(__file__).parents[2]


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on the daemon's kind of loop, within a bound."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(test, RUN_S))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until `holds`, within a bound."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110  (another process decides)
            await asyncio.sleep(0.01)


def asks(
    request_id: RequestId,
    prompt: str = "hello there",
    *,
    seed: int = 7,
    max_tokens: int = 5,
    **where: Any,
) -> Generate:
    """A request for tokens that a fake engine draws predictably."""
    sampling = SamplingParams(seed=seed, max_tokens=max_tokens)
    return Generate(
        id=request_id, request=GenerateRequest(prompt=prompt, sampling=sampling, **where)
    )


def tokens_of(seed: int, n: int) -> list[int]:
    """What such a request must bring, complete and in order."""
    return [fake_token(seed, position) for position in range(n)]


@dataclass(slots=True)
class Stream:
    """What came of one request."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    done: Done | None = None
    failed: Failed | None = None
    events: list[Message] = field(default_factory=list)

    def take(self, message: Message) -> None:
        self.events.append(message)
        match message:
            case Tokens():
                self.ids += message.ids
                self.text += message.text
            case Done():
                self.done = message
            case Failed():
                self.failed = message
            case _:
                pass

    @property
    def over(self) -> bool:
        return self.done is not None or self.failed is not None


class Wire:
    """A client's end of a connection, one frame at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(2**26)
        self._bodies: list[bytes] = []

    def send(self, *requests: Request | Hello) -> None:
        self.send_bytes(b"".join(encode_frame(encode_request(one)) for one in requests))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def next(self) -> tuple[RequestId | None, Message]:
        """The next message. Raises `EOFError` where the daemon hung up."""
        async with asyncio.timeout(PATIENCE_S):
            while not self._bodies:
                data = await self._reader.read(2**16)
                if not data:
                    raise EOFError
                self._bodies += self._frames.feed(data)
        return parse_event(self._bodies.pop(0))

    async def collect(self, *request_ids: RequestId) -> dict[RequestId, Stream]:
        """Everything of these requests, until each has one end."""
        streams = {one: Stream() for one in request_ids}
        while not all(stream.over for stream in streams.values()):
            request_id, message = await self.next()
            if request_id in streams:
                streams[request_id].take(message)
        return streams

    async def stream(self, request: Generate) -> Stream:
        """Send a request and wait for its end."""
        self.send(request)
        return (await self.collect(request.id))[request.id]

    async def ask(self, request: Request) -> Any:
        """Send a request that has one answer; its value, or the `Failed`."""
        self.send(request)
        while True:
            request_id, message = await self.next()
            if request_id == request.id:
                return message.value if isinstance(message, Result) else message

    async def hung_up(self) -> bool:
        """The daemon has closed the connection; what it still said is skipped."""
        try:
            while True:
                await self.next()
        except (EOFError, ConnectionResetError):
            return True

    @property
    def is_closed(self) -> bool:
        """The daemon has hung up, as far as was noticed."""
        return self._writer.is_closing()

    def stop_reading(self) -> None:
        """Let the kernel's buffers fill."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def read_on(self) -> None:
        """Take what has come meanwhile."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await asyncio.wait_for(self._writer.wait_closed(), PATIENCE_S)


async def standstill(wire: Wire) -> int:
    """Tokens generated by the only live request, once none has come for many steps."""
    before = -1
    async with asyncio.timeout(PATIENCE_S):
        while True:
            # The engine answers between steps, so each of these is a step it could have made.
            for number in range(20):
                await wire.ask(Tokenize(id=f"step {number}", text="x"))
            (row,) = await wire.ask(Sessions(id="generated"))
            if row["generated"] == before:
                return before
            before = row["generated"]


class House:
    """A running daemon and its clients."""

    def __init__(self, daemon: Daemon, socket: Path) -> None:
        self.daemon = daemon
        self.socket = socket
        self._wires: list[Wire] = []
        self._questions = 0

    async def connect(self, *, greet: bool = True) -> Wire:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        wire = Wire(reader, writer)
        self._wires.append(wire)
        if greet:
            wire.send(Hello(client="test"))
            await wire.next()
        return wire

    async def models(self) -> dict[str, Mapping[str, Any]]:
        """What the daemon says of its models, by name, on a connection of its own."""
        wire = await self.connect()
        rows = await wire.ask(Models(id="models"))
        await wire.close()
        return {row["name"]: row for row in rows}

    async def close(self) -> None:
        for wire in self._wires:
            await wire.close()


class Serve(Protocol):
    """Start a daemon for the length of a block."""

    def __call__(self, *models: FakeModel, **limits: Any) -> Any: ...


def write_models(folder: Path, models: tuple[FakeModel, ...]) -> tuple[str, ...]:
    """Files of fake models, named a, b, c …"""
    return tuple(
        str(model.write(folder / f"{name}.gguf"))
        for name, model in zip("abcdefgh", models or (FakeModel(),), strict=False)
    )


def fake_launcher(file: ModelFile, fd: int) -> list[str]:
    return list(fake_command(file.path, fd))


DAEMON_PROGRAM = """
import os
import sys
from umad.config import LimitSettings, LoggingSettings, Settings
from umad.daemon.server import run_daemon
from umad.errors import UmadError
from umad.testing import fake_command

socket, drain_s, *models = sys.argv[1:]
settings = Settings(
    models=tuple(models),
    model_folders=tuple(filter(None, [os.environ.get("TEST_MODEL_FOLDER")])),
    socket=socket,
    limits=LimitSettings(drain_s=float(drain_s)),
    logging=LoggingSettings(scorecard_interval_s=0),
)
try:
    sys.exit(run_daemon(settings, launcher=lambda file, fd: fake_command(file.path, fd)))
except UmadError as error:
    sys.exit(f"umad: {error.message}")
"""


async def model(wire: Wire, name: str = "a") -> Mapping[str, Any]:
    rows: dict[str, Mapping[str, Any]] = {
        row["name"]: row for row in await wire.ask(Models(id="models"))
    }
    return rows[name]


async def until_generating(house: House, n: int) -> None:
    wire = await house.connect()

    async def all_generate() -> bool:
        rows = await wire.ask(Sessions(id=1))
        return len([row for row in rows if row["generated"] > 3]) == n

    await until(all_generate)


async def wire_has_arrived(house: House) -> None:
    """What other connections sent before is handled once a new one has had its answer."""
    await (await house.connect()).ask(Ping(id=1))
