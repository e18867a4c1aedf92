"""What callers without a key are called, and what follows from it."""

from pathlib import Path

import pytest

from tests.gateway.gateways import LONG_ANSWERS, LONG_TOKENS, LiveGateway, live_gateway
from umad.client import Client
from umad.gateway.door.agents import MOST_NAMES, OTHERS, app_of, naming

BODY = {"prompt": "x", "max_tokens": LONG_TOKENS, "ignore_eos": True, "stream": True}


@pytest.mark.parametrize(
    ("user_agent", "app"),
    [
        ("claude-cli/2.1.197 (external, cli)", "claude-cli"),
        ("OpenAI/Python 3.52.0", "OpenAI-Python"),
        ("AsyncOpenAI/JS 5.1.0", "AsyncOpenAI-JS"),
        ("codex_cli_rs/0.169.0 (Linux; x86_64)", "codex_cli_rs"),
        ("ollama-python/0.6.3 (x86_64 linux) Python/3.11.7", "ollama-python"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla"),
        ("curl", "curl"),
        ("Zed", "Zed"),
        ("", None),
        (None, None),
        ("(compatible)", None),
        ("a b\r\nc", "a"),
        ("é/1", None),
    ],
)
def test_the_first_product_is_the_name(user_agent: str | None, app: str | None) -> None:
    assert app_of(user_agent) == app


def test_callers_who_make_up_names_get_one_together() -> None:
    name = naming()
    first = [name(f"tool{number}/1.0") for number in range(MOST_NAMES)]

    assert len(set(first)) == MOST_NAMES
    assert {name(f"more{number}/1.0") for number in range(100)} == {OTHERS}
    assert name("tool0/2.0") == "tool0"


def row_of(gateway: LiveGateway, user_agent: str, **headers: str) -> tuple[str, str]:
    """App and lane of a request that runs."""
    gateway.until_idle()
    with (
        gateway.http(headers={"user-agent": user_agent, **headers}) as http,
        http.stream("POST", "/v1/completions", json=BODY),
        Client(gateway.daemon.socket) as client,
    ):
        (row,) = client.sessions()
    gateway.until_idle()
    return str(row["app"]), str(row["lane"])


def test_rules_of_lanes_find_callers_by_their_name(tmp_path: Path) -> None:
    with live_gateway(
        tmp_path,
        *LONG_ANSWERS,
        environment={"UMAD_APPS": "{nightly-*: background, claude-cli: interactive}"},
    ) as one:
        assert row_of(one, "nightly-index/0.3") == ("nightly-index", "background")
        assert row_of(one, "claude-cli/2.1 (external, cli)") == ("claude-cli", "interactive")
        # Nobody's name: the gateway's own process.
        assert row_of(one, "(none)")[1] == "interactive"


def test_the_gateways_own_page_is_page_and_no_browser(gateway: LiveGateway) -> None:
    browser = "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0"

    assert row_of(gateway, browser, origin=gateway.address)[0] == "page"
    assert row_of(gateway, browser, **{"sec-fetch-site": "same-origin"})[0] == "page"
    assert row_of(gateway, browser)[0] == "Mozilla"
