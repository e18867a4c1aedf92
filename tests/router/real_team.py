"""Real daemons on nano behind a real HAProxy, put together by the commands. Not a test."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.router.team import TeamRouter, until
from umad.cli.app import main
from umad.client import AsyncClient, ClientOptions
from umad.client.remote.team import TeamClient
from umad.router.folder import open_folder

# Q8_0 cells: a CPU then computes the same bits for every batch, so texts can be compared.
OPTIONS = ("nano", "--ctx-size", "8192", "--kv-type", "q8")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class RealTeam:
    """A router and its nodes."""

    router: TeamRouter
    nodes: dict[str, LiveGateway] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return str(self.router.folder.path)

    def client(self) -> TeamClient:
        """A client of the whole team."""
        return TeamClient.of_folder(self.folder, options=ClientOptions(tells_loading=True))

    async def live(self, name: str) -> int:
        """How many requests run on a node now."""
        async with AsyncClient(self.nodes[name].daemon.socket) as client:
            return len(await client.sessions())

    def unplug(self, name: str) -> None:
        """The node's processes are gone at once, with no word to anybody."""
        daemon = psutil.Process(self.nodes[name].daemon.process.pid)
        for one in (daemon, *daemon.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                os.kill(one.pid, signal.SIGKILL)


@contextlib.contextmanager
def front(team: RealTeam, *arguments: str) -> Iterator[str]:
    """`umad gateway --gateway-router FOLDER ARGUMENTS`; its address."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "umad", "gateway", "--http", "127.0.0.1:0"),
            *("--gateway-router", team.folder, *arguments),
        ],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "UMAD_CONFIG": str(team.router.folder.path / "none.yaml")},
    )
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        assert "address=" in said, said + process.stderr.read()
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield said.rpartition("address=")[2].strip()
    finally:
        process.terminate()
        process.wait(60)
        reader.join(60)
        process.stderr.close()


@contextlib.contextmanager
def real_team(
    folder: Path,
    names: Sequence[str],
    *,
    options: Sequence[str] = OPTIONS,
    more: str = "",
) -> Iterator[RealTeam]:
    """The team is ready when every node has told how it is. more: lines for router.yaml."""
    path, port_of_all = folder / "router", free_port()
    listen = f"127.0.0.1:{port_of_all}"
    assert main(["router", "init", "--folder", str(path), "--listen", listen]) == 0
    (path / "none.yaml").touch()
    settings = path / "router.yaml"
    few = "models: 2\nconnections: 300\nsessions: 1000\nask_every_s: 1\n"
    settings.write_text(settings.read_text() + few + more)
    ports = {name: free_port() for name in names}
    for name, port in ports.items():
        out = str(folder / f"{name}-node")
        assert main(["router", "certify", name, "--out", out, "--folder", str(path)]) == 0
        assert main(["router", "add", name, f"127.0.0.1:{port}", "--folder", str(path)]) == 0
    team = RealTeam(TeamRouter(open_folder(path), port_of_all))
    with contextlib.ExitStack() as stack:
        for name, port in ports.items():
            home = folder / name
            home.mkdir()
            team.nodes[name] = stack.enter_context(
                live_gateway(
                    home,
                    *options,
                    *("--http", f"127.0.0.1:{port}"),
                    *("--gateway-team", str(folder / f"{name}-node")),
                )
            )
        stack.callback(team.router.close)
        team.router.start()
        until(
            lambda: all(team.router.fleet().get(name, {}).get("room") for name in names),
            "every node is known",
        )
        until(lambda: set(team.router.servers("m1")) == set(names), "the model has a pool")
        yield team
