"""Runs a llama-server on a Unix socket and streams completions from it.

The client does little work, so that it is not what is measured: while tokens arrive it stores bytes
and times and parses nothing. Not a general HTTP client: one request a connection, and only what
llama-server answers to `POST /completion`. Owner: the process that measures; the server lives
and dies with the `LlamaServer`.
"""

import asyncio
import bisect
import contextlib
import dataclasses
import itertools
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from typing_extensions import override

from bench.arrivals import Arrival
from bench.errors import BenchError
from bench.http_server import HttpServer

_TOKENS_SO_FAR = re.compile(rb'"tokens_predicted":(\d+)')
_PROMPT_SO_FAR = re.compile(rb'"processed":(\d+)')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How llama-server is started; what is not named here keeps its default."""

    program: Path
    model: Path
    slots: int
    slot_context_tokens: int
    threads: int
    log_name: str = "llama-server"
    start_timeout_s: float = 120.0
    extra: tuple[str, ...] = ()


class LlamaServer(HttpServer):
    """One running llama-server."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(
            name="llama-server",
            log_name=settings.log_name,
            health="/health",
            start_timeout_s=settings.start_timeout_s,
        )
        self._settings = settings

    @override
    def command(self) -> tuple[list[str], dict[str, str] | None]:
        settings = self._settings
        return [
            str(settings.program),
            *("--model", str(settings.model)),
            *("--host", str(self.socket_path)),
            *("--parallel", str(settings.slots)),
            *("--ctx-size", str(settings.slots * settings.slot_context_tokens)),
            *("--threads", str(settings.threads)),
            *settings.extra,
        ], None


@contextlib.contextmanager
def running(settings: ServerSettings) -> Iterator[LlamaServer]:
    """A started server, stopped on the way out."""
    server = LlamaServer(settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def complete(
    socket_path: Path,
    prompts: Sequence[Sequence[int]],
    *,
    tokens: int,
    timeout_s: float = 600.0,
) -> list[list[Arrival]]:
    """Greedy completions of all `prompts` (token ids) at once, a connection each.

    Every stream runs to `tokens` tokens (end-of-text is ignored, no prompt is cached). Raises
    BenchError when the server refuses, hangs up early or exceeds the time.
    """
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            streams = [
                group.create_task(_complete_one(socket_path, prompt, tokens)) for prompt in prompts
            ]
    except TimeoutError as error:
        raise BenchError(f"llama-server took longer than {timeout_s:.0f} s") from error
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [stream.result() for stream in streams]


def completion_request(
    prompt: Sequence[int], tokens: int, *, progress: bool = False, cache_prompt: bool = False
) -> bytes:
    """A whole HTTP request for a greedy, streamed completion, after which the server hangs up.

    progress: the server also tells, after each batch, how much of the prompt is computed.
    cache_prompt: it may begin where it has computed the same beginning before.
    """
    body = json.dumps(
        {
            "prompt": list(prompt),
            "n_predict": tokens,
            "stream": True,
            "ignore_eos": True,
            "cache_prompt": cache_prompt,
            "temperature": 0,
            "return_progress": progress,
        }
    ).encode()
    head = (
        "POST /completion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _complete_one(socket_path: Path, prompt: Sequence[int], tokens: int) -> list[Arrival]:
    request = completion_request(prompt, tokens)
    loop = asyncio.get_running_loop()
    recorder = _Recorder(loop.create_future())
    try:
        transport, _ = await loop.create_unix_connection(lambda: recorder, str(socket_path))
    except OSError as error:
        raise BenchError(f"no llama-server answers: {error.strerror}") from error
    try:
        transport.write(request)
        await recorder.closed
    finally:
        transport.close()
    arrivals = arrivals_in(recorder.pieces)
    if not arrivals or arrivals[-1].tokens != tokens:
        got = arrivals[-1].tokens if arrivals else 0
        raise BenchError(f"llama-server ended a stream after {got} of {tokens} tokens")
    return arrivals


def arrivals_in(pieces: Sequence[tuple[int, bytes]]) -> list[Arrival]:
    """Arrivals in a raw HTTP response, given as (time in ns, bytes) of each read.

    An event counts from the read that completed its token count. The closing event repeats the
    last count and adds no arrival. Raises BenchError on a status other than 200.
    """
    status = b"".join(data for _, data in pieces).partition(b"\r\n")[0]
    if b" 200 " not in status + b" ":
        response = b"".join(data for _, data in pieces)
        detail = response.rpartition(b"\r\n\r\n")[2] or status or b"no answer"
        raise BenchError(f"llama-server refused: {detail[:300].decode(errors='replace')}")
    return _rising(pieces, _TOKENS_SO_FAR)


def prompt_progress_in(pieces: Sequence[tuple[int, bytes]]) -> list[Arrival]:
    """How many prompt tokens were computed when, in a raw response asked for with `progress`."""
    return _rising(pieces, _PROMPT_SO_FAR)


def _rising(pieces: Sequence[tuple[int, bytes]], count: re.Pattern[bytes]) -> list[Arrival]:
    """The counts that `count` finds, each with the time of the read that completed it."""
    arrivals: list[Arrival] = []
    for at_ns, found in time_of_end(pieces, count):
        so_far = int(found)
        if so_far > (arrivals[-1].tokens if arrivals else 0):
            arrivals.append(Arrival(at_ns=at_ns, tokens=so_far))
    return arrivals


def time_of_end(
    pieces: Sequence[tuple[int, bytes]], pattern: re.Pattern[bytes]
) -> Iterator[tuple[int, bytes]]:
    """The first group of each match, after the time in ns of the read that completed it."""
    response = b"".join(data for _, data in pieces)
    ends = list(itertools.accumulate(len(data) for _, data in pieces))
    for match in pattern.finditer(response):
        at_ns, _ = pieces[bisect.bisect_left(ends, match.end())]
        yield at_ns, match[1]


class _Recorder(asyncio.Protocol):
    """Keeps each read with its time until the server closes the connection."""

    def __init__(self, closed: asyncio.Future[None]) -> None:
        self.closed = closed
        self.pieces: list[tuple[int, bytes]] = []

    @override
    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.perf_counter_ns(), data))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
