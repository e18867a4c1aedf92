"""Starts the servers whose chats are timed, umad and llama-server, and asks each for a turn.

Both are given the same messages, which each renders with the model's own template, and the same
number of cells. A turn's clock runs from the request to its first text; umad's connection is made
before. Across a restart umad keeps sessions in a folder by itself; llama-server writes its one slot
to a file, and reads it again, when it is told to. Not: which turns are asked (`bench.turns`).
Owner: the process that measures; a server lives and dies with its object here.
"""

import asyncio
import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.errors import BenchError
from bench.peer_server import LlamaServer, ServerSettings
from bench.peers import Peers
from bench.umad_daemon import DaemonSettings, UmadDaemon
from umad.client import AsyncClient, Client
from umad.conversation import ChatMessage
from umad.errors import UmadError
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed, Tokens

Messages = tuple[ChatMessage, ...]
_MS_PER_S = 1e3
_MS_PER_NS = 1e-6
_N_LOGPROBS = 20
_START_S = 600.0
_TURN_S = 1200.0
# umad writes a session that has rested for two seconds.
_REST_S = 4.0
_SLOT_FILE = "slot.bin"
_MOST_LINE = 2**20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """first_ms: from the request to its first text. n_cached: prompt tokens that were not
    computed. ids, prompt, first: the answer's tokens, the prompt's, and log-probabilities of the
    first token; of umad only."""

    first_ms: float
    text: str
    n_prompt: int
    n_cached: int
    ids: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()
    first: dict[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChatRoom:
    """What every server is given. n_cells: of all its conversations together."""

    model: Path
    n_cells: int
    answer_tokens: int
    threads: int
    umad_arguments: tuple[str, ...] = ()
    # Log-probabilities of each token, to be held against others later. They take time, and
    # llama-server is asked for none.
    logprobs: bool = False


class ChatServer(Protocol):
    """A server that is asked for one turn at a time; all calls block."""

    name: str
    method: str

    def start(self) -> None:
        """Loads the model; raises BenchError."""

    def turn(self, messages: Messages, *, app: str, session: str) -> Turn:
        """One answer; raises BenchError."""

    def parked(self) -> int | None:
        """Conversations in host memory; None where it does not say."""

    def restart(self) -> None:
        """Ends it and starts it again, with what it has kept on disk."""

    def stop(self) -> None:
        """Frees everything; may be called without `start` and more than once."""


class UmadChats:
    """`umad serve` with a folder for sessions."""

    name = "umad"
    method = "a turn of a session over its Unix socket, greedy"

    def __init__(self, room: ChatRoom) -> None:
        self._room = room
        if room.umad_arguments:
            self.method += f"; {' '.join(room.umad_arguments)}"
        if room.logprobs:
            self.method += f"; with {_N_LOGPROBS} log-probabilities a token"
        self._sessions = Path(tempfile.mkdtemp(prefix="umad-bench-sessions-"))
        self._daemon: UmadDaemon | None = None

    def start(self) -> None:
        """Loads the model."""
        room = self._room
        self._daemon = UmadDaemon(
            DaemonSettings(
                model=room.model,
                streams=1,
                stream_context_tokens=room.n_cells,
                threads=room.threads,
                log_name="umad-chats",
                start_timeout_s=_START_S,
                extra=("--session-dir", str(self._sessions), *room.umad_arguments),
            )
        )
        self._daemon.start()

    @property
    def socket_path(self) -> Path:
        """Of the running daemon."""
        if self._daemon is None:
            raise BenchError("the daemon was not started")
        return self._daemon.socket_path

    def turn(self, messages: Messages, *, app: str, session: str) -> Turn:
        """Asked on a new connection."""
        return asyncio.run(
            umad_turn(
                self.socket_path,
                messages,
                app=app,
                session=session,
                answer_tokens=self._room.answer_tokens,
                n_logprobs=_N_LOGPROBS if self._room.logprobs else None,
            )
        )

    def parked(self) -> int | None:
        """As its scorecard says."""
        with Client(self.socket_path) as client:
            return client.metrics().parked

    def restart(self) -> None:
        """The session has been at rest long enough to be in its file."""
        time.sleep(_REST_S)
        if self._daemon is not None:
            self._daemon.stop()
        self.start()

    def stop(self) -> None:
        """Ends the daemon and removes its sessions."""
        if self._daemon is not None:
            self._daemon.stop()
        shutil.rmtree(self._sessions, ignore_errors=True)


class ServerChats:
    """llama-server with one slot, everything else as it comes."""

    name = "llama-server"
    method = (
        "/v1/chat/completions over a Unix socket, greedy, one slot with all cells; its checkpoints"
        " and its cache in host memory as they come; the slot's file is written and read by hand,"
        " outside the clock"
    )

    def __init__(self, built: Peers, room: ChatRoom) -> None:
        self._built = built
        self._room = room
        self._slots = Path(tempfile.mkdtemp(prefix="umad-bench-slots-"))
        self._server: LlamaServer | None = None

    def start(self) -> None:
        """Loads the model."""
        room = self._room
        self._server = LlamaServer(
            ServerSettings(
                program=self._built.server,
                model=room.model,
                slots=1,
                slot_context_tokens=room.n_cells,
                threads=room.threads,
                log_name="llama-server-chats",
                start_timeout_s=_START_S,
                extra=("--slot-save-path", str(self._slots)),
            )
        )
        self._server.start()

    def turn(self, messages: Messages, *, app: str, session: str) -> Turn:
        """It knows neither apps nor sessions."""
        if self._server is None:
            raise BenchError("llama-server was not started")
        return asyncio.run(
            server_turn(self._server.socket_path, messages, answer_tokens=self._room.answer_tokens)
        )

    def parked(self) -> int | None:
        """It does not say."""
        return None

    def restart(self) -> None:
        """Its slot is written before and read again after."""
        if self._server is None:
            raise BenchError("llama-server was not started")
        self._server.post("/slots/0?action=save", {"filename": _SLOT_FILE})
        self._server.stop()
        self.start()
        self._server.post("/slots/0?action=restore", {"filename": _SLOT_FILE})

    def stop(self) -> None:
        """Ends it and removes the slot's file."""
        if self._server is not None:
            self._server.stop()
        shutil.rmtree(self._slots, ignore_errors=True)


async def umad_turn(
    socket_path: Path,
    messages: Messages,
    *,
    app: str,
    session: str,
    answer_tokens: int,
    n_logprobs: int | None = None,
    now_s: Callable[[], float] = time.perf_counter,
) -> Turn:
    """One turn of a session. n_logprobs: how many likeliest tokens are told of each one's place;
    None for none. now_s: the clock that the first text is timed by."""
    request = GenerateRequest(
        messages=messages,
        app=app,
        session=session,
        sampling=SamplingParams(
            temperature=0.0, max_tokens=answer_tokens, ignore_eos=True, logprobs=n_logprobs
        ),
    )
    ids: list[int] = []
    text = ""
    first: dict[int, float] = {}
    first_ms: float | None = None
    try:
        async with asyncio.timeout(_TURN_S), AsyncClient(socket_path) as client:
            await client.ping()
            began_s = now_s()
            async for event in client.events(request):
                if isinstance(event, Tokens):
                    if event.text and first_ms is None:
                        first_ms = (now_s() - began_s) * _MS_PER_S
                    if not ids and event.logprobs:
                        first = dict(event.logprobs[0].top)
                    ids.extend(event.ids)
                    text += event.text
                elif isinstance(event, Failed):
                    raise BenchError(f"umad failed: {event.message}")
                elif isinstance(event, Done):
                    ended_ms = (now_s() - began_s) * _MS_PER_S
                    rendered = await client.render(messages)
                    return Turn(
                        first_ms=ended_ms if first_ms is None else first_ms,
                        text=text,
                        n_prompt=event.usage.prompt_tokens,
                        n_cached=event.usage.cached_tokens,
                        ids=tuple(ids),
                        prompt=rendered.ids,
                        first=first,
                    )
    except TimeoutError as error:
        raise BenchError(f"umad took longer than {_TURN_S:.0f} s") from error
    except UmadError as error:
        raise BenchError(f"umad failed: {error}") from error
    raise BenchError("umad did not end a turn")


async def server_turn(socket_path: Path, messages: Messages, *, answer_tokens: int) -> Turn:
    """One chat completion, streamed."""
    body = json.dumps(
        {
            "messages": [{"role": one.role, "content": one.content} for one in messages],
            "max_tokens": answer_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": True,
            "stream": True,
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_TURN_S):
            reader, writer = await asyncio.open_unix_connection(str(socket_path), limit=_MOST_LINE)
            try:
                began_ns = time.perf_counter_ns()
                writer.write(head.encode() + body)
                lines = []
                while line := await reader.readline():
                    lines.append((time.perf_counter_ns(), line))
            finally:
                writer.close()
    except TimeoutError as error:
        raise BenchError(f"llama-server took longer than {_TURN_S:.0f} s") from error
    except OSError as error:
        raise BenchError(f"no llama-server answers: {error.strerror}") from error
    return turn_in(lines, began_ns=began_ns)


def turn_in(lines: Sequence[tuple[int, bytes]], *, began_ns: int) -> Turn:
    """The turn in the lines of a streamed response, each with the time in ns of its read."""
    text = ""
    first_ns: int | None = None
    timings: dict[str, Any] = {}
    for at_ns, line in lines:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line.removeprefix(b"data: "))
        timings = event.get("timings") or timings
        for choice in event.get("choices", ()):
            delta = choice.get("delta", {})
            piece = delta.get("content") or delta.get("reasoning_content") or ""
            if piece and first_ns is None:
                first_ns = at_ns
            text += piece
    if not timings:
        said = b"".join(line for _, line in lines)[-300:].decode(errors="replace")
        raise BenchError(f"llama-server refused a turn: {said or 'no answer'}")
    ended_ns = lines[-1][0] if first_ns is None else first_ns
    n_cached = int(timings.get("cache_n", 0))
    return Turn(
        first_ms=(ended_ns - began_ns) * _MS_PER_NS,
        text=text,
        n_prompt=n_cached + int(timings.get("prompt_n", 0)),
        n_cached=n_cached,
    )
