"""Who gets in where a router is reached: its front with certificates, and HAProxy's own page.

With a real HAProxy, put together by router.yaml. Needs haproxy and openssl.
"""

import shutil
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.router.proxies import HAPROXY, OPENSSL, Authority
from tests.router.real_team import free_port
from tests.router.team import TeamNode, TeamRouter, serving, team, until

pytestmark = pytest.mark.skipif(
    HAPROXY is None or OPENSSL is None, reason="haproxy and openssl are not installed"
)
KEY = "the-key-of-the-page"
WORDS = {"model": "m", "session": "s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """A router that runs, and what its clients have."""

    router: TeamRouter
    # Its front trusts these.
    clients: Authority
    # Clients trust this one: the front's certificate is of it.
    house: Authority
    status: str

    def client(self, certificate: Path | None = None) -> httpx.Client:
        """A client of the front, with a certificate or without."""
        trust = ssl.create_default_context(cafile=self.house.path)
        if certificate is not None:
            trust.load_cert_chain(certificate)
        return httpx.Client(base_url=f"https://127.0.0.1:{self.router.port}", verify=trust)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    made = tmp_path_factory.mktemp("authorities")
    nodes, house, clients = (Authority(made, name) for name in ("nodes", "house", "clients"))
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))  # short enough for a Unix socket
    key, port = made / "key", free_port()
    key.write_text(f"{KEY}\n")
    key.chmod(0o600)
    more = {
        "certificate": str(house.certify("127.0.0.1")),
        "clients_authority": str(clients.path),
        "status": f"127.0.0.1:{port}",
        "status_key_file": str(key),
    }
    node = TeamNode(name="a")
    with (
        serving(node, nodes.certify("a"), nodes.path),
        team(folder, nodes, [node], more=more) as router,
    ):
        router.start()
        until(lambda: router.servers().get("a"), "its node is there")
        yield Doors(router=router, clients=clients, house=house, status=f"http://127.0.0.1:{port}/")
    shutil.rmtree(folder, ignore_errors=True)


def test_the_page_of_haproxy_is_for_who_has_its_key(doors: Doors) -> None:
    answers = [
        httpx.get(doors.status, headers=headers)
        for headers in (
            {},
            {"Authorization": "Bearer another-key"},
            {"Authorization": KEY},
            {"Authorization": f"Bearer {KEY}"},
        )
    ]

    assert [one.status_code for one in answers] == [401, 401, 401, 200]
    assert "all" in answers[-1].text
    assert all("Statistics Report" not in one.text for one in answers[:-1])
    assert "Statistics Report" in answers[-1].text


def test_the_key_of_the_page_is_written_nowhere(doors: Doors) -> None:
    folder = doors.router.folder.path

    assert KEY not in "".join(one.read_text() for one in folder.iterdir() if one.is_file())


def test_a_front_that_wants_certificates_answers_nobody_without_one(
    doors: Doors, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").certify("desk")
    for certificate in (None, stranger):
        with doors.client(certificate) as client, pytest.raises(httpx.TransportError):
            client.post("/v1/chat/completions", json=WORDS)

    with doors.client(doors.clients.certify("desk")) as client:
        answer = client.post("/v1/chat/completions", json=WORDS)

    assert (answer.status_code, answer.json()["node"]) == (200, "a")


def test_a_client_that_trusts_another_authority_sends_nothing(doors: Doors) -> None:
    trust = ssl.create_default_context(cafile=doors.clients.path)
    trust.load_cert_chain(doors.clients.certify("desk"))
    with (
        httpx.Client(verify=trust) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.post(f"https://127.0.0.1:{doors.router.port}/v1/chat/completions", json=WORDS)
