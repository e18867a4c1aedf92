"""Runs a umad daemon on a private socket and streams generations from it.

The client does as little work as llama-server's (`bench.peer_server`): while tokens arrive it cuts
frames to find the last one, stores bytes and times, and decodes nothing. All streams share one
connection, as the requests of one app do. Owner: the process that measures; the daemon lives and
dies with the `UmadDaemon`.
"""

import asyncio
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import IO

from typing_extensions import override

from bench import cache, running
from bench.arrivals import Arrival
from bench.errors import BenchError
from umad import tracing
from umad.client import AsyncClient, Client
from umad.errors import UmadError
from umad.protocol.frames import FrameReader, encode_frame
from umad.protocol.messages import Generate, Hello, Request, encode_request, parse_event
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed, Tokens

_FRAME_BYTES = 16 * 2**20
_STOP_S = 40.0  # longer than the daemon's own drain


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """How `umad serve` is started; what is not named here keeps its default. apart: in a session of
    its own, as a service runs, so that it need not share the cores' time with whoever measures.
    embeds: the model makes vectors, and may not write."""

    model: Path
    streams: int
    stream_context_tokens: int
    threads: int
    log_name: str
    start_timeout_s: float = 120.0
    extra: tuple[str, ...] = ()
    apart: bool = False
    embeds: bool = False
    # Where its processes write their spans (`umad.tracing`); None for no trace.
    trace_folder: Path | None = None


class UmadDaemon:
    """One running daemon; `start` and `stop` block, each bounded in time."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="umad-bench-"))
        self.socket_path = self._folder / "umad.sock"
        self.log_path = cache.folder("logs") / f"{settings.log_name}.log"

    def start(self) -> None:
        """Returns when a first token or vector came back; raises BenchError when none does."""
        settings = self._settings
        self._folder.mkdir(mode=0o700, exist_ok=True)  # `stop` has removed it
        configuration = self._folder / "defaults.yaml"  # not the one of whoever measures
        configuration.touch()
        self._log = self.log_path.open("wb")
        n_cells = settings.streams * settings.stream_context_tokens
        command = [
            *(sys.executable, "-m", "umad", "serve", str(settings.model)),
            *("--config", str(configuration)),
            *("--socket", str(self.socket_path)),
            *("--ctx-size", str(n_cells)),
            # Longer than small models were trained on: their words do not matter here.
            *("--ctx-per-stream", str(n_cells)),
            *("--threads", str(settings.threads)),
            "--until-stdin-closes",  # whatever becomes of this process, its daemon ends too
            *settings.extra,
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=settings.apart,
            cwd=Path(__file__).resolve().parent.parent,
            env=self._environment(),
        )
        deadline_s = time.perf_counter() + settings.start_timeout_s
        while not self.socket_path.exists():
            self._check(deadline_s)
            time.sleep(0.05)
        while True:
            self._check(deadline_s)
            try:
                self._ask()
            except BenchError:
                time.sleep(0.2)
            else:
                return

    def _environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("UMAD_")}
        if self._settings.trace_folder is not None:
            kept[tracing.VARIABLE] = str(self._settings.trace_folder)
        return kept

    def _ask(self) -> None:
        if not self._settings.embeds:
            asyncio.run(generate(self.socket_path, [[1, 2, 3]], tokens=1, timeout_s=60.0))
            return
        try:
            with Client(self.socket_path) as client:
                client.embed("ready")
        except UmadError as error:
            raise BenchError(f"umad has no vector: {error}") from error

    @property
    def pid(self) -> int:
        """Process id of the running daemon."""
        if self._process is None:
            raise BenchError("the daemon was not started")
        return self._process.pid

    def stop(self) -> None:
        """Ends the daemon (asked first, then killed) and removes the socket; may be repeated."""
        running.end(self._process, within_s=_STOP_S)
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._log is not None:
            self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check(self, deadline_s: float) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise BenchError(f"umad serve ended while starting; see {self.log_path}")
        if time.perf_counter() > deadline_s:
            raise BenchError(
                f"umad gave no answer within {self._settings.start_timeout_s:.0f} s;"
                f" see {self.log_path}"
            )


def greedy(prompt: Sequence[int], tokens: int) -> GenerateRequest:
    """A request that runs to `tokens` tokens, always the same ones."""
    sampling = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True)
    return GenerateRequest(prompt_ids=tuple(prompt), sampling=sampling)


async def generate(
    socket_path: Path,
    prompts: Sequence[Sequence[int]],
    *,
    tokens: int,
    timeout_s: float = 600.0,
) -> list[list[Arrival]]:
    """Greedy completions of all `prompts` (token ids) at once, on one connection."""
    loop = asyncio.get_running_loop()
    recorder = _Recorder(loop.create_future(), len(prompts))
    requests: list[Hello | Request] = [Hello(client="bench")]
    for index, prompt in enumerate(prompts):
        requests.append(Generate(id=index, request=greedy(prompt, tokens)))
    outgoing = b"".join(encode_frame(encode_request(request)) for request in requests)
    try:
        transport, _ = await loop.create_unix_connection(lambda: recorder, str(socket_path))
    except OSError as error:
        raise BenchError(f"no umad answers: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            transport.write(outgoing)
            await recorder.ended
    except TimeoutError as error:
        raise BenchError(f"umad took longer than {timeout_s:.0f} s") from error
    finally:
        transport.close()
    return arrivals_in(recorder.bodies, streams=len(prompts), tokens=tokens)


async def generate_with_client(
    socket_path: Path, prompts: Sequence[Sequence[int]], *, tokens: int
) -> list[list[Arrival]]:
    """As `generate`, through `umad.client`, which turns every frame into an event."""

    async def one(client: AsyncClient, prompt: Sequence[int]) -> list[Arrival]:
        arrivals: list[Arrival] = []
        so_far = 0
        async with aclosing(client.events(greedy(prompt, tokens))) as events:
            async for event in events:
                if isinstance(event, Tokens):
                    so_far += len(event.ids)
                    arrivals.append(Arrival(at_ns=time.perf_counter_ns(), tokens=so_far))
                elif isinstance(event, Failed):
                    raise BenchError(f"umad refused: {event.message}")
        return arrivals

    try:
        async with AsyncClient(socket_path) as client:
            return await asyncio.gather(*(one(client, prompt) for prompt in prompts))
    except UmadError as error:
        raise BenchError(f"umad failed: {error}") from error


def arrivals_in(
    bodies: Sequence[tuple[int, bytes]], *, streams: int, tokens: int
) -> list[list[Arrival]]:
    """Arrivals of each stream in what the daemon sent, given as (time in ns, body of a frame).

    Raises BenchError when a request failed or ended early.
    """
    arrivals: list[list[Arrival]] = [[] for _ in range(streams)]
    for at_ns, body in bodies:
        stream, message = parse_event(body)
        if isinstance(message, Failed):
            raise BenchError(f"umad refused: {message.message}")
        if isinstance(message, Tokens) and message.ids and isinstance(stream, int):
            before = arrivals[stream][-1].tokens if arrivals[stream] else 0
            arrivals[stream].append(Arrival(at_ns=at_ns, tokens=before + len(message.ids)))
    for stream_arrivals in arrivals:
        got = stream_arrivals[-1].tokens if stream_arrivals else 0
        if got != tokens:
            raise BenchError(f"umad ended a stream after {got} of {tokens} tokens")
    return arrivals


class _Recorder(asyncio.Protocol):
    """Keeps the body of each frame with its time until every request has ended."""

    def __init__(self, ended: asyncio.Future[None], requests: int) -> None:
        self.ended = ended
        self.bodies: list[tuple[int, bytes]] = []
        self._reader = FrameReader(_FRAME_BYTES)
        self._running = requests

    @override
    def data_received(self, data: bytes) -> None:
        now_ns = time.perf_counter_ns()
        for body in self._reader.feed(data):
            self.bodies.append((now_ns, body))
            # Only candidates are decoded: tokens' text may hold these bytes, but rarely does.
            if (b"done" in body or b"error" in body) and isinstance(
                parse_event(body)[1], Done | Failed
            ):
                self._running -= 1
        if self._running <= 0:
            self._end()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
