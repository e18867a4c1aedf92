"""A machine joins: over a real socket with TLS, both sides as they run."""

import asyncio
import datetime
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from umad.errors import BadRequest, ConnectionLost, Refused
from umad.router.authority import TeamAuthority, certificate_request, fingerprint_of
from umad.router.invitations import Invitations, Token
from umad.router.joining import JoinServer, join_app, join_team
from umad.router.members import ROUTER, MembersFile, NodeKind

NOW = datetime.datetime.now(datetime.UTC)


@dataclass
class House:
    """A router that machines can join."""

    folder: Path
    address: str
    authority: TeamAuthority

    @property
    def members(self) -> MembersFile:
        return MembersFile(self.folder / "members.json")

    def invite(self, name: str = "mini") -> Token:
        return Invitations(self.folder / "invitations.json").invite(
            name,
            fingerprint=self.authority.fingerprint,
            now_s=int(NOW.timestamp()),
        )

    def http(self) -> httpx.Client:
        """A client that trusts the authority."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.check_hostname = False
        return httpx.Client(base_url=f"https://{self.address}", verify=context, timeout=60)


@contextmanager
def joinable(folder: Path) -> Iterator[House]:
    folder.chmod(0o700)
    authority = TeamAuthority.make(folder, now=NOW)
    app = join_app(
        authority,
        Invitations(folder / "invitations.json"),
        MembersFile(folder / "members.json"),
        now=lambda: NOW,
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = JoinServer(app, own=folder / "own.pem")
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])))
        thread.start()
        try:
            yield House(folder, f"127.0.0.1:{sock.getsockname()[1]}", authority)
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with joinable(tmp_path_factory.mktemp("house")) as made:
        yield made


def test_a_machine_joins_and_has_all_that_it_needs(house: House, tmp_path: Path) -> None:
    out = tmp_path / "node"

    joined = join_team(house.address, house.invite("studio"), out, host="studio.lan", port=9000)

    (member,) = [one for one in house.members.members() if one.name == "studio"]
    assert (member.host, member.port, member.number) == ("studio.lan", 9000, joined.number)
    assert {one.name for one in out.iterdir()} == {"own.pem", "cert.pem", "key.pem", "ca.pem"}
    assert fingerprint_of((out / "ca.pem").read_bytes()) == house.authority.fingerprint
    assert (out / "own.pem").stat().st_mode & 0o077 == 0
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(out / "own.pem")


def test_a_machine_that_names_no_address_is_reached_where_it_came_from(
    house: House, tmp_path: Path
) -> None:
    join_team(house.address, house.invite("near"), tmp_path, kind=NodeKind.VLLM)

    (member,) = [one for one in house.members.members() if one.name == "near"]
    assert (member.host, member.port, member.kind) == ("127.0.0.1", 8443, NodeKind.VLLM)


def test_a_member_that_joins_again_keeps_its_number(house: House, tmp_path: Path) -> None:
    first = join_team(house.address, house.invite("again"), tmp_path / "1", host="10.0.0.1")
    second = join_team(house.address, house.invite("again"), tmp_path / "2", host="10.0.0.2")

    assert second.number == first.number
    assert [one.host for one in house.members.members() if one.name == "again"] == ["10.0.0.2"]
    assert (tmp_path / "1" / "key.pem").read_bytes() != (tmp_path / "2" / "key.pem").read_bytes()


def test_a_token_is_good_once(house: House, tmp_path: Path) -> None:
    token = house.invite("once")
    join_team(house.address, token, tmp_path / "1")

    with pytest.raises(Refused, match="unknown, used or too old"):
        join_team(house.address, token, tmp_path / "2")

    assert not (tmp_path / "2").exists()


def test_of_two_machines_with_one_token_one_joins(house: House, tmp_path: Path) -> None:
    token, outcomes = house.invite("race"), list[str]()

    def join(number: int) -> None:
        try:
            join_team(house.address, token, tmp_path / str(number))
            outcomes.append("in")
        except Refused:
            outcomes.append("refused")

    threads = [threading.Thread(target=join, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(outcomes) == ["in", "refused", "refused", "refused"]


def test_another_router_at_the_address_is_not_told_the_secret(
    house: House, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    token = house.invite("mini")
    with joinable(tmp_path_factory.mktemp("stranger")) as stranger:
        with pytest.raises(Refused, match="not the router that gave this token"):
            join_team(stranger.address, token, tmp_path)
        assert stranger.members.members() == ()

    # It is as good as before.
    assert join_team(house.address, token, tmp_path / "ok").name == "mini"


def test_nobody_at_the_address_and_another_program_there_are_told(tmp_path: Path) -> None:
    token = Token(fingerprint="ab" * 32, secret="x" * 43)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        def serve() -> None:
            connection = other.accept()[0]
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ConnectionLost, match=address):
            join_team(address, token, tmp_path)
        thread.join(60)
    with pytest.raises(ConnectionLost, match="no router answers"):
        join_team(address, token, tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"[" * 20_000,
        b"x" * 40_000,
        b"{}",
        json.dumps({"secret": 7, "request": "x"}).encode(),
        json.dumps({"secret": "x", "request": "x", "name": "router"}).encode(),
        json.dumps({"secret": "x", "request": "x", "kind": "other"}).encode(),
        json.dumps({"secret": "x", "request": "x", "kind": []}).encode(),
        json.dumps({"secret": "x", "request": "x", "port": True}).encode(),
        json.dumps({"secret": "\ud800", "request": "x"}).encode(),
        json.dumps({"secret": "x", "request": "\ud800"}).encode(),
        json.dumps({"secret": "x", "request": "x", "host": []}).encode(),
    ],
)
def test_what_is_no_request_is_refused_and_the_router_goes_on(house: House, said: bytes) -> None:
    with house.http() as http:
        refused = http.post("/join", content=said)
        root = http.get("/authority")

    assert refused.status_code in (400, 403)
    assert root.content == (house.folder / "ca.pem").read_bytes()


def test_a_wrong_request_does_not_use_the_token_up(house: House, tmp_path: Path) -> None:
    token = house.invite("careful")
    with house.http() as http:
        refused = http.post("/join", json={"secret": token.secret, "request": "nothing"})

    assert refused.status_code == 400
    assert join_team(house.address, token, tmp_path).name == "careful"


def test_an_address_that_haproxy_could_not_have_is_refused_before_the_token_is_used(
    house: House, tmp_path: Path
) -> None:
    token = house.invite("odd")

    with pytest.raises(BadRequest, match="host"):
        join_team(house.address, token, tmp_path / "1", host="a b")

    assert join_team(house.address, replace(token), tmp_path / "2").name == "odd"


def test_only_the_router_itself_is_the_router(house: House) -> None:
    """A node that joined cannot stand in for the router: its certificate has another name."""
    _, request = certificate_request("x")
    with pytest.raises(BadRequest):
        house.authority.certify(ROUTER, request, now=NOW)
    with pytest.raises(BadRequest, match="router"):
        house.invite(ROUTER)
