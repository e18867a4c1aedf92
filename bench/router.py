"""Measures what a router adds to an answer, and what a placement takes.

A node that does nothing but tell the time answers in turn directly, through HAProxy as
`umad router` configures it, and through the same HAProxy where it only copies bytes, in one run.
Each piece carries the moment at which it was sent, so its way is measured and not the node's pace.
All ways have TLS with certificates on both sides, and all connections are open before.
The copying tells what any process between costs on this machine now: where the cores are busy, a
process that has to run for each piece waits for its turn, whatever it then does.
Then the policy places sessions on a thousand machines, and a million sessions fill its table and
HAProxy's, and a fifth more come (`bench.haproxy_table`).
`python -m bench router`; it needs HAProxy and `umad[router]`.
"""

import argparse
import asyncio
import contextlib
import datetime
import json
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from bench import command
from bench.errors import BenchError
from bench.fleet import placements
from bench.haproxy_table import haproxy_table
from bench.running import in_turn
from umad.errors import UmadError
from umad.router.authority import TeamAuthority
from umad.router.haproxy import Front, Pool, Proxy, Server, Tls, process, render, render_models

_PIECES, _EVERY_S = 40, 0.01
_BOUND_S = 30.0
NODE = "node"
# anew: through HAProxy, with a connection of its own for each answer.
WAYS = ("direct", "copied", "haproxy", "anew")
# What the project holds itself to.
MOST_FIRST_MS, MOST_PIECE_MS, MOST_PLACEMENT_US = 1.0, 0.1, 50.0


def certificates(folder: Path) -> tuple[Tls, Path]:
    """The router's files, and the node's certificate with its key."""
    now = datetime.datetime.now(datetime.UTC)
    authority = TeamAuthority.make(folder, now=now)
    pair = authority.certified_pair(NODE, now=now)
    own = folder / "node.pem"
    own.touch(0o600)
    own.write_bytes(pair.certificate + pair.key)
    return Tls(own_path=str(folder / "own.pem"), authority_path=str(folder / "ca.pem")), own


async def tell_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request: a health check at once, others by pieces with the time in them."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                continue
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(_PIECES):
                said = b"%020d" % time.perf_counter_ns()
                writer.write(b"%x\r\n%s\r\n" % (len(said), said))
                await asyncio.sleep(_EVERY_S)
            writer.write(b"0\r\n\r\n")
    writer.close()


class Line:
    """A connection of a client, used again and again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self) -> tuple[float, list[float]]:
        """From the request to the first piece, and the ways of the others; milliseconds."""
        body = json.dumps({"model": "m", "session": "s", "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {NODE}\r\ncontent-length: {len(body)}"
        began_ns = time.perf_counter_ns()
        self._writer.write(head.encode() + b"\r\n\r\n" + body)
        await self._reader.readuntil(b"\r\n\r\n")
        first_ms, ways_ms = 0.0, list[float]()
        while True:
            size = int(await self._reader.readline(), 16)
            said = await self._reader.readexactly(size + 2)
            now_ns = time.perf_counter_ns()
            if not size:
                return first_ms, ways_ms
            if not first_ms:
                first_ms = (now_ns - began_ns) / 1e6
            else:
                ways_ms.append((now_ns - int(said[:size])) / 1e6)

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _copying(front: int, port: int) -> str:
    """A part of HAProxy's configuration that passes bytes on and looks at none."""
    return f"""
listen copying
    mode tcp
    bind 127.0.0.1:{front}
    server {NODE} 127.0.0.1:{port}
"""


def proxy_before(folder: Path, sessions: int, *, front: int | None = None, port: int = 1) -> Proxy:
    """HAProxy before a node at `port`, as the router configures it."""
    models = folder / "models.map"
    models.write_text(render_models({}))
    server = Server(name=NODE, number=1, host="127.0.0.1", port=port, weight=1)
    return Proxy(
        front=Front(host="127.0.0.1", port=_free_port() if front is None else front),
        tls=Tls(own_path=str(folder / "own.pem"), authority_path=str(folder / "ca.pem")),
        admin_path=str(folder / "admin.sock"),
        models_path=str(models),
        pools=(Pool(name="all", servers=(server,)),),
        default_pool="all",
        most_connections=200,
        most_sessions=sessions,
    )


@contextlib.asynccontextmanager
async def haproxy(folder: Path, port: int) -> AsyncIterator[tuple[int, int]]:
    """HAProxy before the node; the port for clients, and the one where it only copies."""
    front, copying = _free_port(), _free_port()
    config = folder / "haproxy.cfg"
    proxy = proxy_before(folder, 1000, front=front, port=port)
    config.write_text(render(proxy) + _copying(copying, port))
    program = process.find_haproxy()
    running = await asyncio.create_subprocess_exec(
        program, "-db", "-f", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        for _ in range(int(_BOUND_S / 0.05)):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", front)
                writer.close()
                break
            await asyncio.sleep(0.05)
        yield front, copying
    finally:
        running.kill()
        await running.wait()


async def measured(folder: Path, rounds: int) -> dict[str, float]:
    """Medians of all ways, and what the two through HAProxy add; milliseconds."""
    tls, own = certificates(folder)
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(own)
    inside.load_verify_locations(tls.authority_path)
    inside.verify_mode = ssl.CERT_REQUIRED
    outside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outside.load_cert_chain(tls.own_path)
    outside.load_verify_locations(tls.authority_path)
    node = await asyncio.start_server(tell_time, "127.0.0.1", 0, ssl=inside)
    port = node.sockets[0].getsockname()[1]
    firsts: dict[str, list[float]] = {name: [] for name in WAYS}
    ways: dict[str, list[float]] = {name: [] for name in WAYS}
    async with haproxy(folder, port) as (front, copying):

        async def secured(to: int) -> Line:
            made = await asyncio.open_connection("127.0.0.1", to, ssl=outside, server_hostname=NODE)
            return Line(*made)

        lines = {
            "direct": await secured(port),
            "copied": await secured(copying),
            "haproxy": Line(*await asyncio.open_connection("127.0.0.1", front)),
        }
        for turn in range(rounds + 2):
            for name in in_turn(WAYS, turn):
                if name == "anew":
                    began_ns = time.perf_counter_ns()
                    line = Line(*await asyncio.open_connection("127.0.0.1", front))
                    connected_ms = (time.perf_counter_ns() - began_ns) / 1e6
                    first_ms, ways_ms = await line.ask()
                    first_ms += connected_ms
                    await line.close()
                else:
                    first_ms, ways_ms = await lines[name].ask()
                if turn >= 2:  # connections, and HAProxy's to the node, are open by then
                    firsts[name].append(first_ms)
                    ways[name] += ways_ms
        for line in lines.values():
            await line.close()
    node.close()
    found = {}
    for name in firsts:
        found[f"first_{name}_ms"] = float(np.median(firsts[name]))
        found[f"piece_{name}_ms"] = float(np.median(ways[name]))
    for what in ("first", "piece"):
        direct_ms = found[f"{what}_direct_ms"]
        found[f"{what}_added_ms"] = found[f"{what}_haproxy_ms"] - direct_ms
        found[f"{what}_anew_added_ms"] = found[f"{what}_anew_ms"] - direct_ms
        found[f"{what}_copying_ms"] = found[f"{what}_copied_ms"] - direct_ms
    return {name: round(value, 3) for name, value in found.items()}


def run(options: argparse.Namespace, console: Console) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix="umad-") as folder:
            Path(folder).chmod(0o700)
            added = asyncio.run(measured(Path(folder), options.rounds))
            table = haproxy_table(proxy_before(Path(folder), options.sessions), Path(folder))
    except UmadError as error:
        raise BenchError(error.message) from error
    placed = placements(nodes=options.nodes, sessions=options.sessions)
    command.write(options, {"benchmark": "router", **added, **placed, "haproxy_table": table})
    for what in ("first", "piece"):
        most = MOST_FIRST_MS if what == "first" else MOST_PIECE_MS
        console.print(
            f"{what}: direct {added[f'{what}_direct_ms']} ms, through HAProxy "
            f"{added[f'{what}_haproxy_ms']} ms: +{added[f'{what}_added_ms']} ms at the median "
            f"(at most {most:g} is wanted); a client that connects anew "
            f"+{added[f'{what}_anew_added_ms']} ms, only copying +{added[f'{what}_copying_ms']} ms"
        )
    console.print(
        f"placement with {options.nodes:,} nodes: new {placed['new_p50_us']} us at the median "
        f"(p99 {placed['new_p99_us']}), known {placed['known_p50_us']} us "
        f"(at most {MOST_PLACEMENT_US:g} is wanted)"
    )
    console.print(
        f"{int(placed['sessions']):,} sessions in {placed['table_mb']} MB of the policy's table, "
        f"and in {table['full_mb']} MB of HAProxy; with a fifth more: {table['beyond_mb']} MB, "
        f"{int(table['remembered']):,} remembered"
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("router", __doc__)
    add = parser.add_argument
    add("--rounds", type=command.positive, default=40, help="answers of each way")
    add("--nodes", type=command.positive, default=1000)
    add("--sessions", type=command.positive, default=1_000_000)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it."""
    return command.main(_parser(), run, arguments)
