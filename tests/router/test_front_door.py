"""Keys and quotas at a team's front door: looked at once for all machines, whichever answers.

The nodes have no keys. They believe the gateway in front of the team, and nobody else: HAProxy
takes its mark from all others.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.router.proxies import HAPROXY
from tests.router.real_team import RealTeam, front, real_team
from tests.router.team import until

pytestmark = [
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed"),
    pytest.mark.timeout(300),
]
KEYS = """
keys:
  - {name: boss, key: sk-boss-1, role: admin}
  - {name: laptop, key: sk-laptop-1, app: zed, lane: background}
  - {name: counter, key: sk-counter-1, requests_per_minute: 4}
  - {name: meter, key: sk-meter-1, tokens_per_minute: 30}
"""


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealTeam, str]]:
    """A team of two nodes, and the address of the gateway in front of it."""
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))  # short enough for sockets
    keys = folder / "keys.yaml"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    with (
        real_team(folder, ("one", "two")) as team,
        front(team, "--api-key-file", str(keys)) as address,
    ):
        yield team, address
    shutil.rmtree(folder, ignore_errors=True)


def ask(address: str, key: str | None, session: str, **more: Any) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {
        "model": "nano",
        "session": session,
        "max_tokens": 8,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": f"Who is {session}?"}],
        **more,
    }
    return httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers, timeout=120)


def asked_of(team: RealTeam) -> dict[str, int]:
    """The requests that each node has answered."""
    return {name: int(node.daemon.metrics()["requests"]) for name, node in team.nodes.items()}


@pytest.mark.parametrize("key", [None, "sk-boss-2"])
def test_no_node_is_asked_without_a_key(doors: tuple[RealTeam, str], key: str | None) -> None:
    team, address = doors
    before = asked_of(team)

    answer = ask(address, key, "nobody")

    assert answer.status_code == 401
    assert asked_of(team) == before


def test_a_quota_of_requests_holds_over_all_nodes(doors: tuple[RealTeam, str]) -> None:
    team, address = doors
    before = asked_of(team)

    answers = [ask(address, "sk-counter-1", f"counts {n}") for n in range(8)]
    others = ask(address, "sk-boss-1", "counts not")

    statuses = [one.status_code for one in answers]
    assert statuses == [200] * 4 + [429] * 4
    assert int(answers[-1].headers["retry-after"]) > 0
    assert others.status_code == 200
    # Four and the other one, wherever they went; those beyond the quota reached nobody.
    now = asked_of(team)
    assert sum(now.values()) - sum(before.values()) == 5


def test_a_quota_of_tokens_holds_over_all_nodes(doors: tuple[RealTeam, str]) -> None:
    _, address = doors

    statuses = [ask(address, "sk-meter-1", f"meters {n}").status_code for n in range(6)]

    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert statuses == sorted(statuses)


def test_a_keys_app_and_lane_are_the_nodes_too(doors: tuple[RealTeam, str]) -> None:
    team, address = doors

    answers = [ask(address, "sk-laptop-1", f"app {n}") for n in range(6)]
    refused = ask(address, "sk-laptop-1", "app", lane="interactive")

    assert {one.status_code for one in answers} == {200}
    assert refused.status_code in (400, 403), "its highest lane is background"
    rows = [node.daemon.metrics() for node in team.nodes.values()]
    assert sum(row["apps"].get("zed", {}).get("requests", 0) for row in rows) == 6
    assert sum(row["lanes"].get("background", {}).get("requests", 0) for row in rows) == 6


def test_the_teams_figures_are_for_admins_and_count_each_app_once(
    doors: tuple[RealTeam, str],
) -> None:
    _, address = doors
    ask(address, "sk-boss-1", "figures")

    def figures(key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
        return httpx.get(f"{address}/metrics", headers=headers, timeout=60)

    until(lambda: figures("sk-boss-1").json().get("nodes", {}).keys() == {"one", "two"}, "both")

    assert figures("sk-laptop-1").status_code == 403
    # A node tells its figures once a second.
    until(lambda: bool(figures("sk-boss-1").json()["apps"]), "the app")


def test_nobody_else_passes_for_the_front_door(doors: tuple[RealTeam, str]) -> None:
    """HAProxy's own address is a door, too: there a client is a user by its address, whatever it
    says of itself."""
    team, _ = doors
    address = f"http://127.0.0.1:{team.router.port}"
    headers = {"x-umad-front": "1", "x-forwarded-for": "front", "accept": "application/json"}

    scorecard = httpx.get(f"{address}/metrics", headers=headers, timeout=60)

    assert scorecard.status_code == 403
