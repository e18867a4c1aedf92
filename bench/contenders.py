"""Runs the contenders in speed: bare llama.cpp, llama-server, a llama-server per stream, and umad.

Each decodes the given prompts, all at once, and reports one figure: tokens per second of all
streams together while every one of them was decoding, prompts excluded. Not: how often and in which
order they run (`bench.speed`). Owner: the process that measures.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from bench import bare, peers, umad_daemon
from bench.arrivals import Arrival, decode_tokens_per_s
from bench.peer_server import LlamaServer, ServerSettings, complete
from bench.umad_daemon import DaemonSettings, UmadDaemon


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What every contender is given."""

    model: Path
    threads: int
    prompt_tokens: int
    tokens: int  # generated per stream
    max_streams: int
    stream_context_tokens: int


class Contender(Protocol):
    """Something that decodes; all calls block, on the thread that measures."""

    name: str
    method: str  # how its number is computed, in one line

    def start(self) -> None:
        """Gets ready, model loaded; raises BenchError."""

    def run(self, prompts: Sequence[Sequence[int]]) -> float:
        """Decodes one stream per prompt; returns tokens per second of all together."""

    def stop(self) -> None:
        """Frees everything; may be called without `start` and more than once."""


class Bare:
    """llama-batched-bench, a process for each run."""

    name = "bare llama.cpp"
    method = "llama-batched-bench S_TG: no sampling, no text, no socket"

    def __init__(self, built: peers.Peers, workload: Workload) -> None:
        self._program = built.batched_bench
        self._workload = workload

    def start(self) -> None:
        """Nothing is kept running between measurements."""

    def run(self, prompts: Sequence[Sequence[int]]) -> float:
        """It draws tokens of its own; of the prompts only the length counts."""
        workload = self._workload
        return bare.decode_tokens_per_s(
            self._program,
            workload.model,
            streams=len(prompts),
            prompt_tokens=len(prompts[0]),
            tokens=workload.tokens,
            context_tokens=workload.max_streams * workload.stream_context_tokens,
            threads=workload.threads,
        )

    def stop(self) -> None:
        """Nothing was kept running."""


class PeerServer:
    """llama-server with one slot a stream, everything else as it comes."""

    name = "llama-server"
    method = "/completion, streamed over a Unix socket, greedy; window in which all streams decode"

    def __init__(self, built: peers.Peers, workload: Workload) -> None:
        self._workload = workload
        self._server = LlamaServer(
            ServerSettings(
                program=built.server,
                model=workload.model,
                slots=workload.max_streams,
                slot_context_tokens=workload.stream_context_tokens,
                threads=workload.threads,
            )
        )

    def start(self) -> None:
        """Loads the model."""
        self._server.start()

    def run(self, prompts: Sequence[Sequence[int]]) -> float:
        """One connection a stream."""
        arrivals = asyncio.run(
            complete(self._server.socket_path, prompts, tokens=self._workload.tokens)
        )
        return decode_tokens_per_s(arrivals)

    def stop(self) -> None:
        """Ends the server."""
        self._server.stop()


class PeerPerApp:
    """A llama-server for each stream, as when every app brings its own."""

    name = "server per app"
    method = "as llama-server, a server for each stream, with as many threads each"

    def __init__(self, built: peers.Peers, workload: Workload) -> None:
        self._workload = workload
        self._servers = [
            LlamaServer(
                ServerSettings(
                    program=built.server,
                    model=workload.model,
                    slots=1,
                    slot_context_tokens=workload.stream_context_tokens,
                    threads=workload.threads,
                    log_name=f"server-per-app-{app}",
                )
            )
            for app in range(workload.max_streams)
        ]

    def start(self) -> None:
        """Loads the model as often as there are apps."""
        for server in self._servers:
            server.start()

    def run(self, prompts: Sequence[Sequence[int]]) -> float:
        """One server a stream."""
        return decode_tokens_per_s(asyncio.run(self._complete(prompts)))

    def stop(self) -> None:
        """Ends all servers."""
        for server in self._servers:
            server.stop()

    async def _complete(self, prompts: Sequence[Sequence[int]]) -> list[list[Arrival]]:
        asked = [
            complete(server.socket_path, [prompt], tokens=self._workload.tokens)
            for server, prompt in zip(self._servers, prompts, strict=False)
        ]
        return [arrivals for (arrivals,) in await asyncio.gather(*asked)]


class Umad:
    """`umad serve` with its defaults, all streams on one connection."""

    name = "umad"
    method = "generate over its Unix socket, greedy; window in which all streams decode"

    def __init__(self, built: peers.Peers, workload: Workload) -> None:
        self._workload = workload
        self._daemon = UmadDaemon(
            DaemonSettings(
                model=workload.model,
                streams=workload.max_streams,
                stream_context_tokens=workload.stream_context_tokens,
                threads=workload.threads,
                log_name=type(self).__name__,
            )
        )

    def start(self) -> None:
        """Loads the model."""
        self._daemon.start()

    def run(self, prompts: Sequence[Sequence[int]]) -> float:
        """One connection for all streams."""
        return decode_tokens_per_s(asyncio.run(self._generate(prompts)))

    def stop(self) -> None:
        """Ends the daemon and its engine."""
        self._daemon.stop()

    async def _generate(self, prompts: Sequence[Sequence[int]]) -> list[list[Arrival]]:
        return await umad_daemon.generate(
            self._daemon.socket_path, prompts, tokens=self._workload.tokens
        )


class UmadClient(Umad):
    """The same, seen through the client library that apps use."""

    name = "umad + client"
    method = "as umad, through umad.client, which makes an event of every frame"

    @override
    async def _generate(self, prompts: Sequence[Sequence[int]]) -> list[list[Arrival]]:
        return await umad_daemon.generate_with_client(
            self._daemon.socket_path, prompts, tokens=self._workload.tokens
        )


CONTENDERS: dict[str, Callable[[peers.Peers, Workload], Contender]] = {
    "bare": Bare,
    "llama-server": PeerServer,
    "server-per-app": PeerPerApp,
    "umad": Umad,
    "umad-client": UmadClient,
}
