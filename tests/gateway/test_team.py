"""A node of a team lets its router in, by certificate, and nobody else."""

import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers

from tests.gateway.gateways import LiveGateway, live_gateway
from umad.cli.app import main
from umad.errors import UmadError
from umad.gateway.door.entrance import Entrance
from umad.gateway.door.hosts import HostRule
from umad.gateway.door.keys import Keyring, read_keys
from umad.gateway.door.peers import TcpPeer
from umad.gateway.errors import Unauthorized
from umad.router.authority import TeamAuthority

NOW = datetime.datetime.now(datetime.UTC)
CLIENT = {"x-forwarded-for": "10.0.0.7"}
# The router, when it runs on the node's own machine as the same user.
NEAR = TcpPeer(uid=1000, address="127.0.0.1", is_local=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The router's folder; beside it `node` has the files of one node."""
    folder = tmp_path_factory.mktemp("router")
    folder.chmod(0o700)
    TeamAuthority.make(folder, now=NOW)
    (folder / "router.yaml").write_text("listen: 127.0.0.1:8080\n")
    for name in ("mini", "other"):
        out = str(folder / name)
        assert main(["router", "certify", name, "--out", out, "--folder", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[LiveGateway]:
    with live_gateway(
        tmp_path_factory.mktemp("node"), "--gateway-team", str(folder / "mini")
    ) as made:
        yield made


def client(gateway: LiveGateway, folder: Path, own: str | None) -> httpx.Client:
    """A client with a certificate of the team."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.check_hostname = False  # it is asked by its address here
    if own is not None:
        context.load_cert_chain(folder / own)
    return httpx.Client(base_url=gateway.address, verify=context, timeout=60)


def test_the_router_reads_the_scorecard_and_a_client_of_it_does_not(
    gateway: LiveGateway, folder: Path
) -> None:
    assert gateway.address.startswith("https://")
    with client(gateway, folder, "own.pem") as http:
        card = http.get("/metrics", headers={"accept": "application/json"})
        of_client = http.get("/metrics", headers=CLIENT)
        models = http.get("/v1/models", headers=CLIENT)

    assert card.status_code == 200
    assert card.json()["kv_cells_total"] >= 0
    assert of_client.status_code == 403
    assert models.status_code == 200


def test_a_page_of_the_front_door_is_answered_under_its_name(
    gateway: LiveGateway, folder: Path
) -> None:
    with client(gateway, folder, "own.pem") as http:
        answer = http.get("/v1/models", headers={**CLIENT, "host": "llm.example"})

    assert answer.status_code == 200


@pytest.mark.parametrize("own", [None, "other/own.pem", "mini/own.pem"])
def test_whoever_has_no_certificate_or_a_nodes_is_refused_by_tls(
    gateway: LiveGateway, folder: Path, own: str | None
) -> None:
    with client(gateway, folder, own) as http, pytest.raises(httpx.TransportError):
        http.get("/health")


def test_plain_http_gets_no_answer(gateway: LiveGateway) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(gateway.address.replace("https", "http") + "/health", timeout=60)


# -- who asks --------------------------------------------------------------------------------------


def entrance(keys: Keyring) -> Entrance:
    return Entrance(
        keys=keys,
        hosts=HostRule(names=(), origins=(), any_host=True),
        own_uid=NEAR.uid or 0,
        team=True,
    )


def test_clients_are_users_each_by_its_address_wherever_the_router_is() -> None:
    door = entrance(Keyring())

    first = door.caller(Headers(CLIENT), NEAR).asker
    other = door.caller(Headers({"x-forwarded-for": "10.0.0.8"}), NEAR).asker

    assert (first.role, other.role) == ("user", "user")
    assert first.owner != other.owner


def test_with_keys_a_client_needs_one_and_the_router_does_not(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("a-long-key\n")
    file.chmod(0o600)
    door = entrance(read_keys(file))

    assert door.caller(Headers({}), None).asker.is_admin
    assert door.caller(Headers({**CLIENT, "x-api-key": "a-long-key"}), None).asker.role == "user"
    with pytest.raises(Unauthorized):
        door.caller(Headers(CLIENT), None)


def test_files_that_are_missing_open_or_no_pair_are_told_before_anything_starts(
    folder: Path, tmp_path: Path
) -> None:
    from umad.gateway.door.team import team_files  # noqa: PLC0415

    with pytest.raises(UmadError, match=r"own\.pem"):
        team_files(str(tmp_path))
    for name in ("own.pem", "ca.pem"):
        (tmp_path / name).write_bytes((folder / "mini" / name).read_bytes())
    (tmp_path / "own.pem").chmod(0o644)
    with pytest.raises(UmadError, match="chmod 600"):
        team_files(str(tmp_path))
    (tmp_path / "own.pem").write_bytes(b"nothing")
    (tmp_path / "own.pem").chmod(0o600)
    with pytest.raises(UmadError, match="damaged"):
        team_files(str(tmp_path))
