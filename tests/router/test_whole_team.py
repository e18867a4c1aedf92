"""A real umad daemon with a gateway, behind a real HAProxy, put together by the commands alone."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.gateways import live_gateway
from tests.router.proxies import HAPROXY
from tests.router.team import TeamRouter, until
from umad.cli.app import main
from umad.router.folder import open_folder

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def router(short_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[TeamRouter]:
    """A router with one node that joined by a token."""
    folder, node = str(short_tmp_path / "router"), str(short_tmp_path / "node")
    home = short_tmp_path / "home"
    home.mkdir()
    front, door, port = free_port(), free_port(), free_port()

    def umad(*words: str) -> str:
        capsys.readouterr()
        assert main(list(words)) == 0
        return capsys.readouterr().out

    umad(
        *("router", "init", "--folder", folder, "--listen", f"127.0.0.1:{front}"),
        *("--join", f"127.0.0.1:{door}"),
    )
    settings = Path(folder) / "router.yaml"
    settings.write_text(settings.read_text() + "models: 2\nconnections: 100\nsessions: 1000\n")
    made = TeamRouter(open_folder(Path(folder)), front)
    try:
        made.start()
        token = umad("router", "invite", "mini", "--folder", folder).strip()
        said = umad(
            *("node", "join", f"127.0.0.1:{door}", "--token", token),
            *("--out", node, "--port", str(port)),
        )
        assert f"umad serve --http 0.0.0.0:{port} --gateway-team {node}" in said
        with live_gateway(home, "--http", f"127.0.0.1:{port}", "--gateway-team", node):
            yield made
    finally:
        made.close()


def test_a_chat_goes_through_the_team_and_its_place_is_explained(
    router: TeamRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(router.folder.path)
    until(lambda: router.fleet().get("mini", {}).get("room"), "it is known")
    until(lambda: "mini" in router.servers("m1"), "its model has a pool")
    body = {
        "model": "nano",
        "session": "talk",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "def add(a, b):"}],
    }

    address = f"http://127.0.0.1:{router.port}"
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
    capsys.readouterr()
    shown = main(["router", "ls", "--json", "--folder", folder])
    (row,) = json.loads(capsys.readouterr().out)["nodes"]
    why = main(["router", "why", "talk", "--model", "nano", "--folder", folder])
    because = capsys.readouterr().out
    unknown = main(["router", "why", "talk", "--model", "other", "--folder", folder])
    scorecard = httpx.get(f"{address}/metrics", timeout=60)

    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] > 0
    assert shown == 0
    assert (row["state"], row["problem"]) == ("up", "")
    assert "nano" in row["models"]
    assert why == 0
    assert because.startswith("It is on mini, where its last turn was ")
    assert "of room" in because
    assert unknown == 1
    assert scorecard.status_code == 403, "what the router may read, its clients may not"
