"""A router's own process before nodes that say and do what a test wants."""

import asyncio
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from typing_extensions import override

from tests.router.proxies import Authority, Quiet
from umad.errors import ProxyFailed
from umad.router.folder import RouterFolder, open_folder
from umad.router.haproxy import commands
from umad.router.haproxy.admin_socket import AdminSocket
from umad.router.haproxy.answers import (
    Place,
    PoolServer,
    facts_of,
    models_of,
    places_of,
    servers_of,
)

T = TypeVar("T")
_BOUND_S = 60.0
_RUN = """
import sys
from pathlib import Path
from umad.router.folder import open_folder
from umad.router.running import run_router
sys.exit(run_router(open_folder(Path(sys.argv[1]))))
"""


@dataclass
class TeamNode:
    """A node, and what it says of itself."""

    name: str
    port: int = 0
    kv_used: float = 0.0
    models: tuple[str, ...] = ("m",)
    # Answers instead of the usual ones, by path: status and body.
    instead: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    # What it says the time is; "" for the true one.
    date: str = ""
    # It ends the connection of whoever wants an answer of a model.
    fails: bool = False
    # So late is every answer of a model.
    late_s: float = 0.0
    # Streams send their second half once it is set.
    gate: threading.Event = field(default_factory=threading.Event)
    # Paths that were asked, and the name that the caller's certificate is for.
    asked: list[tuple[str, str]] = field(default_factory=list)
    # The keys that came with questions.
    keys: list[str] = field(default_factory=list)

    def answer(self, path: str) -> dict[str, Any]:
        """The JSON of a GET."""
        if path == "/metrics":
            return {
                "models": {name: {} for name in self.models},
                "kv_cells_total": 1000,
                "kv_cells_used": round(1000 * self.kv_used),
                "running": 0,
                "queue_depth": {},
            }
        if path == "/v1/models":
            rows = [{"id": name, "status": {"value": "loaded"}} for name in self.models]
            return {"data": rows}
        return {"status": "ok"}


@contextmanager
def serving(node: TeamNode, certificate: Path, authority: Path) -> Iterator[TeamNode]:
    """The node answers over TLS with certificates on both sides."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            certificate: Any = cast(ssl.SSLSocket, self.connection).getpeercert()
            subject = dict(part[0] for part in certificate["subject"])
            node.asked.append((self.path, subject["commonName"]))
            if "authorization" in self.headers:
                node.keys.append(self.headers["authorization"])
            status, data = node.instead.get(
                self.path, (200, json.dumps(node.answer(self.path)).encode())
            )
            self._say(data, status)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            if node.fails:
                self.close_connection = True
                return
            threading.Event().wait(node.late_s)
            if not body.get("stream"):
                self._say(json.dumps({"node": node.name}).encode())
                return
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in (f"first of {node.name};", "second;", ""):
                if part == "second;":
                    node.gate.wait(_BOUND_S)
                self.wfile.write(f"{len(part):x}\r\n{part}\r\n".encode())

        def _say(self, data: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        @override
        def date_time_string(self, timestamp: float | None = None) -> str:
            return node.date or super().date_time_string(timestamp)

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(certificate))
    with Quiet(("127.0.0.1", node.port), Handler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        node.port = server.server_address[1]
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        try:
            yield node
        finally:
            node.gate.set()
            server.shutdown()
            thread.join(_BOUND_S)


class TeamRouter:
    """A router's folder, its process and its HAProxy."""

    def __init__(self, folder: RouterFolder, port: int, *, prefix: Sequence[str] = ()) -> None:
        """prefix: a command that becomes the router's process, as `nsenter` does."""
        self.folder = folder
        self._prefix = prefix
        self.port = port
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the process; returns when it says that it is ready."""
        self._process = subprocess.Popen(
            [*self._prefix, sys.executable, "-c", _RUN, str(self.folder.path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if line.startswith("umad router ready"):
                # Somebody has to read what it says after that.
                self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
                self._reader.start()
                return
        self._ended()
        raise AssertionError("".join(said))

    def kill(self) -> None:
        """The process dies, with no time to say goodbye."""
        self.end(signal.SIGKILL)

    def end(self, number: int) -> int:
        """The process ends of a signal; its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._ended()

    def _ended(self) -> int:
        assert self._process is not None
        assert self._process.stderr is not None
        code = self._process.wait(_BOUND_S)
        if self._reader is not None:
            self._reader.join(_BOUND_S)
        self._process.stderr.close()
        self._process = self._reader = None
        return code

    def close(self) -> None:
        """Nothing of it is left."""
        if self._process is not None:
            self.kill()
        pid = self.haproxy_pid()
        if pid:
            os.kill(pid, signal.SIGKILL)

    # -- what it does -------------------------------------------------------------------------

    def haproxy_pid(self) -> int:
        """0 where none runs."""
        return self._asked(lambda: facts_of(self._ask(commands.SHOW_INFO)).pid, 0)

    def servers(self, pool: str = "all") -> dict[str, PoolServer]:
        """The servers of a pool as HAProxy has them, by name."""
        none: tuple[PoolServer, ...] = ()
        found = self._asked(lambda: servers_of(self._ask(commands.SHOW_SERVERS)), none)
        return {one.name: one for one in found if one.pool == pool}

    def models(self) -> dict[str, str]:
        """Models and their pools as HAProxy has them."""
        line = commands.show_models(self.folder.proxy())
        return self._asked(lambda: models_of(self._ask(line)), {})

    def places(self) -> list[Place]:
        """HAProxy's table of sessions."""
        none: tuple[Place, ...] = ()
        return list(self._asked(lambda: tuple(places_of(self._ask(commands.SHOW_PLACES))), none))

    def fleet(self) -> dict[str, Any]:
        """What the process told last, by node."""
        try:
            told = json.loads(self.folder.fleet_path.read_text())
        except FileNotFoundError:
            return {}
        return {row["name"]: row for row in told["nodes"]}

    def post(self, session: str, model: str = "m") -> str:
        """The node that answered; the status where it is no 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_BOUND_S)
        try:
            self._send(connection, {"model": model, "session": session})
            answer = connection.getresponse()
            text = answer.read()
            return str(json.loads(text)["node"] if answer.status == 200 else answer.status)
        finally:
            connection.close()

    def stream(self, session: str) -> "Stream":
        """A stream whose first half has come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_BOUND_S)
        self._send(connection, {"model": "m", "session": session, "stream": True})
        return Stream(connection)

    @staticmethod
    def _send(connection: http.client.HTTPConnection, body: dict[str, Any]) -> None:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))

    def _ask(self, line: str) -> str:
        return asyncio.run(AdminSocket(self.folder.admin_path).ask(line))

    @staticmethod
    def _asked(ask: Callable[[], T], otherwise: T) -> T:
        try:
            return ask()
        except ProxyFailed:
            return otherwise


class Stream:
    """An answer that is under way."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._answer = connection.getresponse()
        self.text = self._answer.read(len("first of a;")).decode()
        # The node that it comes from.
        self.node = self.text.removeprefix("first of ").removesuffix(";")

    def rest(self) -> str:
        """All of it, once it is whole."""
        self.text += self._answer.read().decode()
        self._connection.close()
        return self.text


def until(is_so: Callable[[], object], why: str) -> None:
    """Wait until something is so."""
    pause = threading.Event()
    for _ in range(int(_BOUND_S / 0.05)):
        if is_so():
            return
        pause.wait(0.05)
    raise AssertionError(f"not within {_BOUND_S:g} s: {why}")


@contextmanager
def team(
    folder: Path,
    authority: Authority,
    nodes: list[TeamNode],
    *,
    more: Mapping[str, object] | None = None,
) -> Iterator[TeamRouter]:
    """A router whose members are these nodes, which serve already. It is not started yet.

    more: for router.yaml.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.chmod(0o700)
    settings = {
        "listen": f"127.0.0.1:{port}",
        "own": str(authority.certify("router")),
        "authority": str(authority.path),
        "models": 2,
        "connections": 100,
        "sessions": 1000,
        "ask_every_s": 1,
        **(more or {}),
    }
    (folder / "router.yaml").write_text(yaml.safe_dump(settings))
    (folder / "router.yaml").chmod(0o600)
    made = TeamRouter(open_folder(folder), port)
    for node in nodes:
        made.folder.members.add(node.name, host="127.0.0.1", port=node.port)
    try:
        yield made
    finally:
        made.close()
