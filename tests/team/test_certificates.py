"""Who cannot prove who it is gets nothing on a team's network: nodes, clients of nodes, routers."""

import asyncio
import datetime
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.router.team import until
from tests.team.lan import lan
from tests.team.network_team import DESK, FRONT, NODES, NetworkTeam, network_team
from umad.client import AsyncClient
from umad.errors import UmadError
from umad.router.authority import Pair, TeamAuthority

pytestmark = pytest.mark.timeout(300)
NOW = datetime.datetime.now(datetime.UTC)
PORT = 8500


@pytest.fixture(scope="module")
def team(folder: Path) -> Iterator[NetworkTeam]:
    arguments = ("nano", "--threads", "1", "--ctx-size", "8192")
    with (
        lan([FRONT, DESK, *NODES]) as network,
        network_team(folder, network, model="nano", arguments=arguments) as made,
    ):
        yield made


def pair(team: NetworkTeam, folder: Path, wrong: str) -> Pair:
    """What a stranger has, that would be node `stranger`."""
    own = TeamAuthority(team.router.folder.path)
    if wrong == "authority":
        return TeamAuthority.make(folder, now=NOW).certified_pair("stranger", now=NOW)
    if wrong == "time":
        return own.certified_pair("stranger", now=NOW - datetime.timedelta(days=900))
    return own.certified_pair("somebody", now=NOW)


@contextmanager
def gateway(team: NetworkTeam, files: Path) -> Iterator[None]:
    """A gateway on the machine of a node, and before its daemon, with certificates of its own."""
    host = team.lan.hosts[NODES[0]]
    process = subprocess.Popen(
        [
            *(*host.prefix, sys.executable, "-m", "umad", "gateway"),
            *("--socket", str(team.nodes[host.name].daemon.socket)),
            *("--http", f"{host.address}:{PORT}", "--gateway-team", str(files)),
        ],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "UMAD_CONFIG": os.devnull},
    )
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        assert "address=" in said, said
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield
    finally:
        process.terminate()
        process.wait(60)
        reader.join(60)
        process.stderr.close()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("authority", "certificate is refused: .*issuer|certificate is refused: .*self"),
        ("time", "certificate is refused: .*expired"),
        ("name", "certificate is refused: .*mismatch"),
    ],
)
def test_a_machine_that_is_no_member_is_asked_nothing_and_gets_nothing(
    team: NetworkTeam, tmp_path: Path, wrong: str, says: str
) -> None:
    tmp_path.chmod(0o700)
    made, files = pair(team, tmp_path, wrong), tmp_path / "files"
    files.mkdir(mode=0o700)
    (files / "ca.pem").write_bytes((team.router.folder.path / "ca.pem").read_bytes())
    (files / "own.pem").touch(0o600)
    (files / "own.pem").write_bytes(made.certificate + made.key)
    host = team.lan.hosts[NODES[0]]

    async def answers() -> set[int]:
        body = {"model": "nano", "prompt": "one", "max_tokens": 2}
        async with team.http() as http:
            told = [
                await http.post("/v1/completions", json=body | {"session": f"{wrong} {n}"})
                for n in range(12)
            ]
        return {one.status_code for one in told}

    with gateway(team, files):
        team.router.folder.members.add("stranger", host=host.address, port=PORT)
        try:
            until(lambda: team.router.fleet().get("stranger", {}).get("problem"), "it is told")
            until(lambda: team.router.fleet()["stranger"]["state"] == "down", "HAProxy refuses it")
            statuses = team.desk.run(lambda: asyncio.run(answers()))
            row = team.router.fleet()["stranger"]
        finally:
            team.router.folder.members.remove("stranger")
            until(lambda: "stranger" not in team.router.servers(), "it is out")

    assert re.search(says, row["problem"]), row["problem"]
    assert row["weight"] == 0
    assert statuses == {200}
    assert "stranger" not in team.places().values()


def test_a_client_that_does_not_know_the_front_says_nothing_to_it(team: NetworkTeam) -> None:
    async def ask() -> None:
        async with AsyncClient.of_team(team.address) as client:
            await client.chat("A secret.", max_tokens=1)

    with pytest.raises(UmadError, match=r"(?i)certificate"):
        team.desk.run(lambda: asyncio.run(ask()))


@pytest.mark.parametrize("shows", ["nothing", "a node's"])
def test_a_node_answers_nobody_but_the_router(team: NetworkTeam, folder: Path, shows: str) -> None:
    host = team.lan.hosts[NODES[0]]
    context = ssl.create_default_context(cafile=team.router.folder.path / "ca.pem")
    context.check_hostname = False  # it is asked by its address here
    if shows != "nothing":
        context.load_cert_chain(folder / f"{NODES[1]}-node" / "own.pem")

    def ask() -> int:
        return httpx.get(f"https://{host.address}:8443/health", verify=context).status_code

    with pytest.raises(httpx.TransportError):
        team.desk.run(ask)
