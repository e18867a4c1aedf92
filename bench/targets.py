"""Starts the servers that get loaded: umad, llama-server, one per app, llama-cpp-python's own.

Each is started as a user would. Not: how they are loaded (`bench.load`). Owner: the process that
measures; a target's server lives and dies with it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import peers
from bench.errors import BenchError
from bench.exchange import Connection, ServerConnection, UmadConnection
from bench.load import Target
from bench.peer_server import LlamaServer, ServerSettings
from bench.python_server import PythonConnection, PythonServer, PythonServerSettings
from bench.umad_daemon import DaemonSettings, UmadDaemon


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What every server is given."""

    model: Path
    threads: int
    streams: int
    stream_context_tokens: int
    prompt_progress: bool = True  # of llama-server, which tells it only when asked
    cache_prompt: bool = False  # of llama-server; prompts are random, so it could only cost time
    umad_arguments: tuple[str, ...] = ()  # added to `umad serve`
    server_arguments: tuple[str, ...] = ()  # added to llama-server


class UmadTarget:
    """`umad serve` with its defaults and a pool as large as llama-server's slots together."""

    name = "umad"
    method = "generate over its Unix socket, greedy; a connection a client"

    def __init__(self, built: peers.Peers | None, room: Room) -> None:
        if room.umad_arguments:
            self.method += f"; {' '.join(room.umad_arguments)}"
        self._daemon = UmadDaemon(
            DaemonSettings(
                model=room.model,
                streams=room.streams,
                stream_context_tokens=room.stream_context_tokens,
                threads=room.threads,
                log_name="umad-load",
                extra=room.umad_arguments,
            )
        )
        self.socket_path = self._daemon.socket_path

    @property
    def pids(self) -> tuple[int, ...]:
        """The daemon's; its engine is a child of it."""
        return (self._daemon.pid,)

    def start(self) -> None:
        """Loads the model."""
        self._daemon.start()

    async def connect(self, client: int) -> Connection:
        """Kept between requests."""
        return await UmadConnection.open(self._daemon.socket_path)

    def stop(self) -> None:
        """Ends the daemon and its engine."""
        self._daemon.stop()


class ServerTarget:
    """llama-server with one slot a client, everything else as it comes."""

    name = "llama-server"
    method = (
        "/completion over a Unix socket, greedy, cache_prompt off; the connection is made before"
        " a request's clock starts"
    )

    def __init__(self, built: peers.Peers, room: Room) -> None:
        self._room = room
        self._server = LlamaServer(
            ServerSettings(
                program=built.server,
                model=room.model,
                slots=room.streams,
                slot_context_tokens=room.stream_context_tokens,
                threads=room.threads,
                extra=room.server_arguments,
            )
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The server's."""
        return (self._server.pid,)

    def start(self) -> None:
        """Loads the model."""
        self._server.start()

    async def connect(self, client: int) -> Connection:
        """Each request makes its own."""
        return ServerConnection(
            self._server.socket_path,
            progress=self._room.prompt_progress,
            cache_prompt=self._room.cache_prompt,
        )

    def stop(self) -> None:
        """Ends the server."""
        self._server.stop()


class PerAppTarget:
    """A llama-server for each client, as when every app brings its own."""

    name = "server per app"
    method = "a llama-server for each client, with one slot and as many threads each"

    def __init__(self, built: peers.Peers, room: Room) -> None:
        self._prompt_progress = room.prompt_progress
        self._servers = [
            LlamaServer(
                ServerSettings(
                    program=built.server,
                    model=room.model,
                    slots=1,
                    slot_context_tokens=room.stream_context_tokens,
                    threads=room.threads,
                    log_name=f"server-per-app-{app}",
                )
            )
            for app in range(room.streams)
        ]

    @property
    def pids(self) -> tuple[int, ...]:
        """All servers'."""
        return tuple(server.pid for server in self._servers)

    def start(self) -> None:
        """Loads the model as often as there are apps."""
        for server in self._servers:
            server.start()

    async def connect(self, client: int) -> Connection:
        """To the client's own server."""
        socket_path = self._servers[client].socket_path
        return ServerConnection(socket_path, progress=self._prompt_progress)

    def stop(self) -> None:
        """Ends all servers."""
        for server in self._servers:
            server.stop()


class PythonTarget:
    """llama-cpp-python's own server, which serves one request after another."""

    name = "llama-cpp-python"
    method = (
        "its own server (uvicorn), /v1/completions over a Unix socket, greedy, one request at a"
        " time; prompts are text of as many common words, streams may end at an end-of-text token"
    )

    def __init__(self, built: peers.Peers, room: Room) -> None:
        self._server = PythonServer(
            PythonServerSettings(
                model=room.model, context_tokens=room.stream_context_tokens, threads=room.threads
            )
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The server's."""
        return (self._server.pid,)

    def start(self) -> None:
        """Installs what it needs on first use, and loads the model."""
        self._server.start()

    async def connect(self, client: int) -> Connection:
        """Each request makes its own."""
        return PythonConnection(self._server.socket_path)

    def stop(self) -> None:
        """Ends the server."""
        self._server.stop()


TARGETS: dict[str, Callable[[peers.Peers, Room], Target]] = {
    "umad": UmadTarget,
    "llama-server": ServerTarget,
    "server-per-app": PerAppTarget,
    "llama-cpp-python": PythonTarget,
}
# Ratios between contenders are taken to the last one named.
DEFAULT_TARGETS = ("umad", "llama-cpp-python", "server-per-app", "llama-server")


def targets_of(names: Sequence[str], built: peers.Peers | None, room: Room) -> list[Target]:
    """The named ones, not started. built: may be None where umad alone is named."""
    made: list[Target] = []
    for name in names:
        if name == UmadTarget.name:
            made.append(UmadTarget(built, room))
        elif built is None:
            raise BenchError(f"{name} is not built: python -m bench.peers builds it")
        else:
            made.append(TARGETS[name](built, room))
    return made
