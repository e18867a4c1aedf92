"""Runs the servers of `kernels`, one at a time: umad in one order of the weights, and llama-server.

Each is asked the same through its Unix socket. Not: how often and in which order they run
(`bench.kernels`). Owner: the process that measures; a server lives and dies with its object.
"""

import asyncio
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psutil

from bench import peer_server, peers, umad_daemon
from bench.arrivals import Arrival
from bench.errors import BenchError
from bench.peer_server import LlamaServer, ServerSettings
from bench.umad_daemon import DaemonSettings, UmadDaemon

STREAMS = 8
SHORT_TOKENS = 32  # of a stream's prompt
# A large model is packed for minutes on a slow disk.
_START_S = 600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every server is asked."""

    threads: int
    prompt_tokens: int
    tokens: int
    rounds: int
    repetitions: int

    @property
    def stream_tokens(self) -> int:
        """Room of one stream, in llama-server's steps of 256."""
        return -(-(max(self.prompt_tokens, SHORT_TOKENS) + self.tokens + 1) // 256) * 256


class Server(Protocol):
    """One that is started alone, asked, and ended. All calls block."""

    name: str

    def start(self) -> None:
        """Returns when it can be asked."""

    def stop(self) -> None:
        """Ends it; also one that was never started."""

    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[Arrival]]:
        """All at once, greedy."""

    def pid(self) -> int:
        """The process that has the model."""


class UmadServer:
    """`umad serve` with its defaults, but for the order of the weights."""

    def __init__(
        self, model: Path, asked: Asked, *, name: str, flags: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.daemon = UmadDaemon(
            DaemonSettings(
                model=model,
                streams=STREAMS,
                stream_context_tokens=asked.stream_tokens,
                threads=asked.threads,
                log_name=f"kernels-{name}",
                start_timeout_s=_START_S,
                extra=flags,
            )
        )

    def start(self) -> None:
        self.daemon.start()

    def stop(self) -> None:
        self.daemon.stop()

    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[Arrival]]:
        path = self.daemon.socket_path
        return asyncio.run(umad_daemon.generate(path, prompts, tokens=tokens))

    def pid(self) -> int:
        for child in psutil.Process(self.daemon.pid).children(recursive=True):
            if "umad.engine" in child.cmdline():
                return child.pid
        raise BenchError("the daemon has no engine")


class PeerServer:
    """llama-server with its defaults."""

    name = "llama-server"

    def __init__(self, built: peers.Peers, model: Path, asked: Asked) -> None:
        self._server = LlamaServer(
            ServerSettings(
                program=built.server,
                model=model,
                slots=STREAMS,
                slot_context_tokens=asked.stream_tokens,
                threads=asked.threads,
                start_timeout_s=_START_S,
            )
        )

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[Arrival]]:
        return asyncio.run(peer_server.complete(self._server.socket_path, prompts, tokens=tokens))

    def pid(self) -> int:
        return self._server.pid


def memory_of(pid: int) -> tuple[int, int]:
    """(PSS, anonymous) of a process, in bytes: proc(5), smaps_rollup."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(n) for name, n in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
    return kib["Pss"] * 1024, kib["Anonymous"] * 1024
