"""Pages and apps in front of the gateway, and the names under which it is asked: one row a case."""

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from tests.gateway.in_process import answers
from umad.gateway.door.hosts import names_of

LISTED = (
    "https://page.example",
    "app://obsidian.md",
    "chrome-extension://*",
    "http://localhost:*",
    "https://*.example.org",
)
ASKING = {"access-control-request-method": "POST"}


def preflight(origin: str, *, path: str = "/v1/chat/completions", **more: Any) -> Any:
    headers = {"origin": origin, **ASKING, **more.pop("headers", {})}
    return answers("OPTIONS", path, headers=headers, **more)


ALLOWED = [
    pytest.param("https://page.example", id="a page"),
    pytest.param("app://obsidian.md", id="Obsidian"),
    pytest.param("chrome-extension://abcdefgh", id="any extension"),
    pytest.param("http://localhost:5173", id="a dev server"),
    pytest.param("https://a.example.org", id="a name below another"),
]
REFUSED = [
    pytest.param("https://other.example", id="another page"),
    pytest.param("app://other", id="another app"),
    pytest.param("tauri://localhost", id="an app that nobody allowed"),
    pytest.param("https://example.org", id="the name itself"),
    pytest.param("http://localhost.evil.example:3000", id="a name that begins so"),
]


@pytest.mark.parametrize("origin", ALLOWED)
def test_a_listed_page_may_ask_before_it_asks_and_asks(origin: str) -> None:
    before = preflight(origin, cors_origins=LISTED)
    asked = answers("GET", "/v1/models", headers={"origin": origin}, cors_origins=LISTED)

    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == origin
    assert "POST" in before.headers["access-control-allow-methods"]
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", REFUSED)
@pytest.mark.parametrize("listed", [LISTED, ()], ids=["some are listed", "none is"])
def test_a_page_that_is_not_listed_is_told_the_flag_that_would_allow_it(
    origin: str, listed: tuple[str, ...]
) -> None:
    refusals = [
        preflight(origin, cors_origins=listed),
        answers("GET", "/v1/models", headers={"origin": origin}, cors_origins=listed),
        answers("POST", "/api/chat", headers={"origin": origin}, body={}, cors_origins=listed),
        answers("GET", "/no/such/path", headers={"origin": origin}, cors_origins=listed),
        answers("PUT", "/v1/models", headers={"origin": origin}, cors_origins=listed),
    ]

    assert [one.status_code for one in refusals] == [403] * 5
    assert all(f"--cors-origin {origin}" in one.text for one in refusals)
    assert all("access-control-allow-origin" not in one.headers for one in refusals)


@pytest.mark.parametrize("listed", [("*",), LISTED, ()])
def test_a_sandboxed_page_is_told_that_no_flag_allows_it(listed: tuple[str, ...]) -> None:
    for refusal in (
        preflight("null", cors_origins=listed),
        answers("GET", "/v1/models", headers={"origin": "null"}, cors_origins=listed),
    ):
        assert refusal.status_code == 403
        assert "no --cors-origin can allow them" in refusal.text


def test_a_flag_is_advised_only_in_plain_words() -> None:
    refusal = preflight("http://a.example; curl evil | sh")

    assert refusal.status_code == 403
    assert "--cors-origin http" not in refusal.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/v1/messages", "/nowhere"])
def test_a_listed_page_of_a_public_site_may_ask_a_private_address(path: str) -> None:
    private = {"access-control-request-private-network": "true"}

    allowed = preflight("https://page.example", path=path, headers=private, cors_origins=LISTED)
    refused = preflight("https://other.example", path=path, headers=private, cors_origins=LISTED)

    assert allowed.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in refused.headers


def test_every_page_may_be_allowed() -> None:
    before = preflight("app://anything", cors_origins=("*",))

    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, "*")


# -- names -----------------------------------------------------------------------------------------

OWN = socket.gethostname().lower()
SHORT = OWN.partition(".")[0]


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("localhost:8080", id="this machine"),
        pytest.param("LOCALHOST.", id="in capitals, with the root's dot"),
        pytest.param("app.localhost", id="a name below localhost"),
        pytest.param("host.docker.internal:8080", id="the host, from Docker"),
        pytest.param("Host.Docker.Internal", id="the same in other letters"),
        pytest.param("gateway.docker.internal", id="Docker's gateway"),
        pytest.param("host.containers.internal:8080", id="the host, from Podman"),
        pytest.param("host.lima.internal", id="the host, from Lima"),
        pytest.param("host.orb.internal", id="the host, from OrbStack"),
        pytest.param(f"{OWN}:8080", id="its host name"),
        pytest.param(SHORT.upper(), id="its first label, in capitals"),
        pytest.param(f"{SHORT}.local:8080", id="its name by mDNS"),
        pytest.param(f"{SHORT}.lan:8080", id="its name by a router"),
        pytest.param(f"{SHORT}.home.arpa", id="its name in a home network"),
    ],
)
def test_the_machines_own_names_are_answered_to(host: str) -> None:
    assert answers("GET", "/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("rebound.example", id="a page's name that was made to point here"),
        pytest.param("localhost.rebound.example", id="one that begins like ours"),
        pytest.param("host.docker.internal.rebound.example", id="one that begins like Docker's"),
        pytest.param("xhost.docker.internal", id="one that ends like Docker's"),
        pytest.param("evil.local", id="another machine's name by mDNS"),
        pytest.param(f"{SHORT}.example", id="our first label in a domain of the internet"),
        pytest.param(f"evil.{SHORT}.local", id="a name below ours"),
        pytest.param("local", id="the domain alone"),
        pytest.param("192.0.2.7", id="another address"),
        pytest.param("", id="none"),
    ],
)
def test_other_names_are_refused(host: str) -> None:
    refusal = answers("GET", "/v1/models", headers={"host": host})

    assert refusal.status_code == 403
    assert "--gateway-hosts" in refusal.text


def test_a_name_that_is_refused_is_filled_into_the_flag() -> None:
    assert (
        "--gateway-hosts llm.home.example"
        in answers("GET", "/v1/models", headers={"host": "LLM.home.example:8080"}).text
    )


@pytest.mark.parametrize(
    ("host_name", "some"),
    [
        ("laptop", {"laptop", "laptop.local", "laptop.lan"}),
        ("Laptop.local", {"laptop.local", "laptop"}),
        ("ml.corp.example", {"ml.corp.example", "ml", "ml.local"}),
    ],
)
def test_a_machine_has_its_name_its_first_label_and_that_at_home(
    host_name: str, some: set[str]
) -> None:
    assert some <= set(names_of(host_name))


def test_a_machine_without_a_name_has_none() -> None:
    assert names_of("") == ()


# -- paths -----------------------------------------------------------------------------------------


def shape_of(error: Mapping[str, Any]) -> str:
    if isinstance(error["error"], str):
        return "ollama"
    return "anthropic" if error.get("type") == "error" else "openai"


@pytest.mark.parametrize(
    ("asked", "meant", "shape"),
    [
        pytest.param("GET //v1/models", "GET /v1/models", "openai", id="a slash too many"),
        pytest.param("GET /v1/models/", "GET /v1/models", "openai", id="a slash at the end"),
        pytest.param("GET /v1/models/nano/", "GET /v1/models/nano", "openai", id="of one model"),
        pytest.param(
            "POST /v1/chat/completions/", "POST /v1/chat/completions", "openai", id="chat"
        ),
        pytest.param("POST /chat/completions", "POST /v1/chat/completions", "openai", id="no /v1"),
        pytest.param("POST /v1/v1/messages", "POST /v1/messages", "anthropic", id="/v1 twice"),
        pytest.param("POST //api/chat", "POST /api/chat", "ollama", id="Ollama's"),
    ],
)
def test_a_path_that_is_not_served_is_a_404_with_the_one_that_was_meant(
    asked: str, meant: str, shape: str
) -> None:
    method, path = asked.split(" ")

    refusal = answers(method, path, body={} if method == "POST" else None)

    assert refusal.status_code == 404
    assert f"did you mean {meant}?" in refusal.text
    assert shape_of(refusal.json()) == shape


def test_a_wrong_method_is_told_the_right_one() -> None:
    refusal = answers("GET", "/v1/chat/completions")

    assert refusal.status_code == 405
    assert refusal.headers["allow"] == "POST"
    assert "GET is not for /v1/chat/completions; POST is" in refusal.text
