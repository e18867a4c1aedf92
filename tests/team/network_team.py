"""A team whose machines have networks of their own, put together by the commands. Not a test.

    desk ──TLS──▶ front: HAProxy, umad router ──mTLS──▶ one, two, three: umad serve

Each is a host of `tests.team.lan`. Nodes join with a token, over the network.
"""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.router.proxies import Authority
from tests.router.team import TeamRouter, until
from tests.team.lan import Host, Lan
from umad.cli.app import main
from umad.client import AsyncClient, ClientOptions
from umad.router.folder import open_folder
from umad.router.haproxy.answers import Place

FRONT, DESK, NODES = "front", "desk", ("one", "two", "three")
_PORT, _DOOR, _NODE_PORT = 8443, 8442, 8443
_BOUND_S = 120.0


@dataclass
class NetworkTeam:
    """A router, its nodes, and the desk from which clients ask."""

    lan: Lan
    router: TeamRouter
    # What clients trust.
    tls: ssl.SSLContext
    # The model's name, in requests.
    model: str
    nodes: dict[str, LiveGateway] = field(default_factory=dict)

    @property
    def desk(self) -> Host:
        """Where clients are."""
        return self.lan.hosts[DESK]

    @property
    def address(self) -> str:
        """The team's one address."""
        return f"https://{self.lan.hosts[FRONT].address}:{_PORT}"

    def client(self) -> AsyncClient:
        """umad's own client; for use on the desk."""
        return AsyncClient.of_team(
            self.address, tls=self.tls, options=ClientOptions(tells_loading=True)
        )

    def http(self) -> httpx.AsyncClient:
        """Any client; for use on the desk."""
        return httpx.AsyncClient(base_url=self.address, verify=self.tls, timeout=600)

    async def live(self) -> dict[str, int]:
        """How many requests run on each node now, as itself says. Its socket is a file, so this
        needs no network."""
        found = {}
        for name, node in self.nodes.items():
            async with AsyncClient(node.daemon.socket) as client:
                found[name] = len(await client.sessions())
        return found

    def places(self) -> dict[str, str]:
        """The node of each session, by its key in HAProxy's table."""
        names = {one.number: one.name for one in self.router.servers().values()}
        return {one.key: names.get(one.number, "") for one in self.table()}

    def table(self) -> list[Place]:
        """HAProxy's table of sessions."""
        return self.router.places()


@contextmanager
def network_team(
    folder: Path,
    network: Lan,
    *,
    model: str,
    arguments: Sequence[str],
    prefixes: Mapping[str, Sequence[str]] | None = None,
    settings: str = "",
) -> Iterator[NetworkTeam]:
    """The team is ready when every node has told how it is.

    arguments: of `umad serve`, with the model. prefixes: of each node, before its own network's.
    """
    path, front = folder / "router", network.hosts[FRONT]
    house = Authority(folder, "house")
    told = (
        *("router", "init", "--folder", str(path), "--listen", f"{front.address}:{_PORT}"),
        *("--certificate", str(house.certify(front.address))),
        *("--join", f"{front.address}:{_DOOR}"),
    )
    assert main(list(told)) == 0
    file = path / "router.yaml"
    few = "models: 2\nconnections: 1000\nsessions: 10000\nask_every_s: 1\n"
    file.write_text(file.read_text() + few + settings)
    team = NetworkTeam(
        lan=network,
        router=TeamRouter(open_folder(path), _PORT, prefix=front.prefix),
        tls=ssl.create_default_context(cafile=house.path),
        model=model,
    )
    with ExitStack() as stack:
        stack.callback(team.router.close)
        team.router.start()
        for name in NODES:
            host, home, own = network.hosts[name], folder / name, folder / f"{name}-node"
            home.mkdir()
            join(network, team.router.folder.path, name, own)
            team.nodes[name] = stack.enter_context(
                live_gateway(
                    home,
                    *arguments,
                    *("--http", f"{host.address}:{_NODE_PORT}", "--gateway-team", str(own)),
                    prefix=(*(prefixes or {}).get(name, ()), *host.prefix),
                )
            )
        rooms = team.router.fleet
        until(lambda: all(rooms().get(one, {}).get("room") for one in NODES), "all are known")
        until(lambda: set(team.router.servers("m1")) == set(NODES), "the model has a pool")
        yield team


def join(network: Lan, router: Path, name: str, out: Path) -> None:
    """A machine becomes a member, by a token that somebody carried over."""
    token = _umad((), "router", "invite", name, "--folder", str(router)).strip()
    front, host = network.hosts[FRONT], network.hosts[name]
    _umad(
        host.prefix,
        *("node", "join", f"{front.address}:{_DOOR}", "--token", token),
        *("--out", str(out), "--port", str(_NODE_PORT)),
    )


def _umad(prefix: Sequence[str], *words: str) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "umad", *words],
        capture_output=True,
        text=True,
        timeout=_BOUND_S,
        check=False,
        env={**os.environ, "UMAD_CONFIG": os.devnull},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
