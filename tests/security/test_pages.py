"""What a page in the browser can make a gateway do: other origins, rebound names, simple posts."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.gateway.gateways import ANSWER_S, LONG_ANSWERS, LONG_TOKENS, LiveGateway, live_gateway
from umad.gateway.door.hosts import HostRule
from umad.gateway.errors import Forbidden

PAGE = "https://page.example"
BODY = '{"prompt": "one", "max_tokens": 2}'
LONG = json.dumps({"prompt": "x", "max_tokens": LONG_TOKENS, "ignore_eos": True, "stream": True})
# What a page can send without asking first: no preflight comes before any of these.
SIMPLE = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("pages")
    with live_gateway(folder, f"--cors-origin={PAGE}", *LONG_ANSWERS) as one:
        yield one


def own_addresses() -> list[str]:
    """This machine's addresses beyond loopback, where it has any."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [probe.getsockname()[0]]


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """To be reached from other machines, without keys."""
    folder = tmp_path_factory.mktemp("exposed")
    arguments = ("--gateway-exposed", "--gateway-hosts", "llm.home.example")
    with live_gateway(folder, "--http", "0.0.0.0:0", *arguments) as one:
        one.address = one.address.replace("0.0.0.0", "127.0.0.1")
        yield one


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "http://127.0.0.1:5173",
        "http://[::1]:3000",
        "http://app.localhost:3000",
        "https://localhost",
        "http://localhost",
        "null",
        "file://",
        "chrome-extension://abcdef",
        "",
        "https://page.example.evil.example",
        "http://page.example",
    ],
)
@pytest.mark.parametrize("kind", SIMPLE)
def test_a_page_of_another_origin_posts_nothing(
    gateway: LiveGateway, origin: str, kind: str
) -> None:
    headers = {"origin": origin, "content-type": kind}
    with gateway.http() as http:
        answer = http.post("/v1/completions", content=BODY, headers=headers)
        unloads = http.post("/unload", content='{"model": "nano"}', headers=headers)
        models = http.get("/v1/models").json()["data"]
    assert (answer.status_code, unloads.status_code) == (403, 403)
    assert [one["state"] for one in models] == ["ready"]


def test_the_page_that_is_served_here_needs_nothing_said(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        for host in (f"127.0.0.1:{gateway.port}", f"localhost:{gateway.port}"):
            headers = {"host": host, "origin": f"http://{host}"}
            assert http.post("/v1/completions", content=BODY, headers=headers).status_code == 200


def test_the_page_is_of_one_place_and_not_of_the_other_way_to_write_it(
    gateway: LiveGateway,
) -> None:
    headers = {
        "host": f"127.0.0.1:{gateway.port}",
        "origin": f"http://localhost:{gateway.port}",
    }
    with gateway.http() as http:
        assert http.post("/v1/completions", content=BODY, headers=headers).status_code == 403


def test_a_page_that_was_let_in_is_a_user_with_what_is_its_own(gateway: LiveGateway) -> None:
    with gateway.http() as http, http.stream("POST", "/v1/completions", content=LONG):
        page = {"origin": PAGE}
        asks = http.post("/v1/completions", content=BODY, headers=page)
        seen = http.get("/status", headers=page)
        unloads = http.post("/unload", content='{"model": "nano"}', headers=page)
        loads = http.post("/load", content='{"model": "/etc/passwd"}', headers=page)
        mine = http.get("/status").json()["requests"]
    assert (asks.status_code, unloads.status_code, loads.status_code) == (200, 403, 404)
    assert seen.json()["requests"] == []
    assert len(mine) == 1


def test_a_page_is_counted_as_a_page_and_uses_up_no_names(gateway: LiveGateway) -> None:
    """Of names by User-Agent there are 64, and rules of `apps:` go by them."""
    with gateway.http() as http:
        for at in range(80):
            agent = {"origin": PAGE, "user-agent": f"agent{at}/1.0"}
            assert http.get("/v1/models", headers=agent).status_code == 200
        claude = {"user-agent": "claude-cli/2.1"}
        with (
            http.stream("POST", "/v1/completions", content=LONG, headers=claude),
            http.stream(
                "POST", "/v1/completions", content=LONG, headers={**claude, "origin": PAGE}
            ),
        ):
            apps = [row["app"] for row in http.get("/status").json()["requests"]]
    assert sorted(apps) == ["claude-cli", "page"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_page_embeds_is_not_served_and_a_link_to_the_page_is(
    gateway: LiveGateway, site: str
) -> None:
    """Images and scripts of other pages come without Origin; browsers say whence in a header."""
    with gateway.http() as http:
        embedded = http.get(
            "/status", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        )
        link = http.get("/", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"})
        own = http.get("/status", headers={"sec-fetch-site": "same-origin"})
        typed = http.get("/status", headers={"sec-fetch-site": "none"})
    assert [one.status_code for one in (embedded, link, own, typed)] == [403, 200, 200, 200]


def test_the_page_is_not_shown_in_a_frame(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        page = http.get("/", headers={"accept": "text/html"})
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


REBOUND = [
    "rebound.example",
    "rebound.example:8080",
    "localhost.rebound.example",
    "127.0.0.1.nip.io",
]


@pytest.mark.parametrize("host", REBOUND)
@pytest.mark.parametrize("path", ["/status", "/v1/models", "/metrics", "/diag", "/health", "/"])
def test_a_rebound_name_reads_nothing_of_an_exposed_gateway_without_keys(
    exposed: LiveGateway, host: str, path: str
) -> None:
    with exposed.http() as http:
        assert http.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.7:8080",
        "[2001:db8::7]:8080",
        "localhost",
        "llm.home.example:8080",
        f"{socket.gethostname()}:8080",
    ],
)
def test_an_exposed_gateway_answers_to_addresses_and_to_the_names_it_was_given(
    exposed: LiveGateway, host: str
) -> None:
    with exposed.http() as http:
        assert http.get("/v1/models", headers={"host": host}).status_code == 200


def test_this_user_on_this_machine_is_still_itself_at_an_exposed_gateway(
    exposed: LiveGateway,
) -> None:
    with exposed.http() as http:
        assert http.get("/diag").status_code == 200
    for address in own_addresses():
        url = f"http://{address}:{exposed.port}"
        assert httpx.get(f"{url}/diag", timeout=ANSWER_S).status_code == 200


def test_with_keys_a_name_opens_nothing_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("sk-only-key-1\n")
    file.chmod(0o600)
    with live_gateway(tmp_path, "--api-key-file", str(file)) as one, one.http() as http:
        for name in REBOUND:
            assert http.get("/status", headers={"host": name}).status_code == 401


def test_every_page_may_be_let_in_but_a_sandboxed_one() -> None:
    rule = HostRule(names=(), origins=("*",))
    rule.check("localhost", "http://anywhere.example")
    with pytest.raises(Forbidden):
        rule.check("localhost", "null")


@pytest.mark.parametrize(
    ("origin", "host", "is_same"),
    [
        ("http://localhost:8080", "localhost:8080", True),
        ("http://LOCALHOST:8080", "localhost:8080", True),
        ("https://llm.home.example", "llm.home.example", True),
        ("https://llm.home.example", "llm.home.example:443", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://localhost:8081", "localhost:8080", False),
        ("http://localhost", "localhost:8080", False),
        ("ftp://localhost:8080", "localhost:8080", False),
        ("http://localhost:8080@evil.example", "localhost:8080", False),
        ("http://[", "localhost:8080", False),
        ("http://", "", False),
    ],
)
def test_same_origin_is_the_very_place_that_is_asked(origin: str, host: str, is_same: bool) -> None:
    assert HostRule(names=(), origins=()).is_same_origin(origin, host) is is_same
