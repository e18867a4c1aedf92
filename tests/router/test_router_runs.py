"""The router's own process before a real HAProxy and nodes with certificates. Needs haproxy and
openssl."""

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.router.proxies import HAPROXY, OPENSSL, Authority
from tests.router.team import TeamNode, TeamRouter, serving, team, until
from umad.router.haproxy.answers import Place
from umad.router.telling import why

pytestmark = pytest.mark.skipif(
    HAPROXY is None or OPENSSL is None, reason="haproxy and openssl are not installed"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def nodes(authority: Authority) -> Iterator[dict[str, TeamNode]]:
    with ExitStack() as stack:
        made = {name: TeamNode(name=name) for name in "abc"}
        for node in made.values():
            stack.enter_context(serving(node, authority.certify(node.name), authority.path))
        yield made


@pytest.fixture(scope="module")
def house(authority: Authority, nodes: dict[str, TeamNode]) -> Iterator[TeamRouter]:
    """A router with two members, started once for all tests here."""
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))  # short enough for a Unix socket
    with team(folder, authority, [nodes["a"], nodes["b"]]) as made:
        made.start()
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def router(house: TeamRouter, nodes: dict[str, TeamNode]) -> TeamRouter:
    """The same, with everything as it was at first."""
    for node in nodes.values():
        node.kv_used, node.models, node.fails, node.late_s = 0.0, ("m",), False, 0.0
        node.gate.clear()
    for member in house.folder.members.members():
        if member.name not in ("a", "b"):
            house.folder.members.remove(member.name)
    until(lambda: _weights(house).keys() == {"a", "b"}, "its two nodes are there")
    until(lambda: min(_weights(house).values()) > 20, "both have weight")
    return house


def _weights(router: TeamRouter, pool: str = "all") -> dict[str, int]:
    return {name: one.weight for name, one in router.servers(pool).items()}


def test_a_router_that_is_killed_cuts_no_stream_and_goes_on_where_it_was(
    router: TeamRouter, nodes: dict[str, TeamNode]
) -> None:
    homes = {f"killed-s{n}": router.post(f"killed-s{n}") for n in range(16)}
    streams = [router.stream(f"killed-s{n}") for n in range(16)]
    haproxy = router.haproxy_pid()

    with pytest.raises(AssertionError, match="another router runs in"):
        TeamRouter(router.folder, router.port).start()
    router.kill()
    while_dead = {session: router.post(session) for session in homes}
    router.start()
    asked = len(nodes["a"].asked)
    until(lambda: len(nodes["a"].asked) > asked + 3, "it asks again")
    for node in nodes.values():
        node.gate.set()
    texts = [stream.rest() for stream in streams]

    assert while_dead == homes
    assert texts == [f"first of {homes[f'killed-s{n}']};second;" for n in range(16)]
    assert router.haproxy_pid() == haproxy
    assert {session: router.post(session) for session in homes} == homes
    assert set(homes.values()) == {"a", "b"}
    assert {who for _, who in nodes["a"].asked} == {"router"}


def test_new_sessions_avoid_a_node_without_room_and_known_ones_stay(
    router: TeamRouter, nodes: dict[str, TeamNode]
) -> None:
    homes = {f"full-s{n}": router.post(f"full-s{n}") for n in range(8)}

    nodes["b"].kv_used = 1.0
    until(lambda: _weights(router)["b"] == 0, "the full node has no weight")
    new = {router.post(f"full-new{n}") for n in range(8)}

    assert new == {"a"}
    assert {session: router.post(session) for session in homes} == homes
    until(lambda: router.fleet()["b"]["narrowest"] == "kv", "what is narrow is told")


def test_a_node_joins_and_leaves_while_its_streams_go_on(
    router: TeamRouter, nodes: dict[str, TeamNode]
) -> None:
    nodes["c"].models = ("m", "rare")
    router.folder.members.add("c", host="127.0.0.1", port=nodes["c"].port)
    until(lambda: _weights(router).get("c", 0) > 20, "the new node has weight")
    until(lambda: router.models().get("rare") == "m2", "its model has a pool")
    of_rare = {router.post(f"joins-r{n}", "rare") for n in range(4)}
    nodes["a"].kv_used = nodes["b"].kv_used = 1.0
    until(lambda: not any(_weights(router)[name] for name in "ab"), "only the new node has room")
    stream = router.stream("joins-long")

    router.folder.members.remove("c")
    until(lambda: router.servers("m1")["c"].is_draining, "it drains")
    until(lambda: "c" not in router.servers(), "it is out where nothing of it runs")
    meanwhile = router.post("joins-another")
    is_there = "c" in router.servers("m1")
    nodes["c"].gate.set()
    whole = stream.rest()
    until(lambda: "c" not in router.servers("m1"), "it is out once its stream has ended")

    assert of_rare == {"c"}
    assert stream.node == "c"
    assert meanwhile in ("a", "b")
    assert is_there
    assert whole == "first of c;second;"
    assert router.post("joins-long") in ("a", "b")


def test_a_node_drains_as_long_as_that_is_wanted(router: TeamRouter) -> None:
    homes = {f"drains-s{n}": router.post(f"drains-s{n}") for n in range(8)}

    router.folder.members.drain("a", wanted=True)
    until(lambda: router.servers()["a"].is_draining, "it drains")
    new = {router.post(f"drains-new{n}") for n in range(6)}
    same = {session: router.post(session) for session in homes}
    router.folder.members.drain("a", wanted=False)
    until(lambda: not router.servers()["a"].is_draining, "it takes new sessions again")

    assert new == {"b"}
    assert same == homes


def test_a_haproxy_that_dies_is_started_again_with_its_nodes(router: TeamRouter) -> None:
    before = router.haproxy_pid()

    os.kill(before, signal.SIGKILL)
    until(lambda: router.haproxy_pid() not in (0, before), "another one runs")

    assert router.post("dies-s") in ("a", "b")
    until(lambda: min(_weights(router).values()) > 1, "and has its weights again")


def test_a_node_of_another_authority_is_asked_nothing_and_gets_nothing(
    router: TeamRouter, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    with serving(TeamNode(name="x"), stranger.certify("x"), authority.path) as node:
        router.folder.members.add("x", host="127.0.0.1", port=node.port)
        until(lambda: router.fleet().get("x", {}).get("problem"), "what is wrong is told")
        until(lambda: router.fleet()["x"]["state"] == "down", "HAProxy refuses it too")
        answered = {router.post(f"other-new{n}") for n in range(8)}

    assert "certificate is refused" in router.fleet()["x"]["problem"]
    assert node.asked == []
    assert answered <= {"a", "b"}


def test_a_node_that_calls_itself_idle_and_answers_nobody_is_doubted(
    router: TeamRouter, nodes: dict[str, TeamNode]
) -> None:
    nodes["b"].fails = True
    said: list[str] = []
    names = (f"liar-s{n}" for n in itertools.count())

    def is_doubted() -> bool:
        # Failures are soon forgotten where none follow.
        said.extend([router.post(name) for name in itertools.islice(names, 8)])
        return bool(router.fleet()["b"]["trust"] < 1)

    def gets_less() -> bool:
        is_doubted()
        return _weights(router)["b"] < _weights(router)["a"] / 2

    until(is_doubted, "what it says counts less")
    until(gets_less, "and it gets less")

    assert "502" in said
    assert router.fleet()["b"]["narrowest_room"] == 1.0, "it says that it is idle"
    assert router.fleet()["a"]["trust"] == 1.0


# The last test: it leaves another machine in the team, and many answers that count.
def test_a_node_that_calls_itself_idle_and_answers_late_is_doubted(
    router: TeamRouter, nodes: dict[str, TeamNode]
) -> None:
    router.folder.members.add("c", host="127.0.0.1", port=nodes["c"].port)
    until(lambda: _weights(router).get("c", 0) > 100, "the new node has weight")
    nodes["c"].late_s = 1.5
    names = (f"late-s{n}" for n in itertools.count())

    with ThreadPoolExecutor(24) as crowd:

        def is_slow() -> bool:
            list(crowd.map(router.post, itertools.islice(names, 48)))
            return bool(router.fleet()["c"]["slow"])

        until(is_slow, "its answers are found to be late")
    until(lambda: _weights(router)["c"] < _weights(router)["a"] / 2, "it gets less")

    told = router.fleet()["c"]
    assert told["narrowest_room"] == 1.0, "it says that it is idle"
    assert told["answer_ms"] > 1000 + told["usual_answer_ms"]
    assert [router.fleet()[name]["slow"] for name in "ab"] == [False, False]
    assert router.fleet()["a"]["trust"] == 1.0
    place = Place(key="k", number=told["number"], expires_ms=0)
    assert "It is doubted: its answers began after 1." in why(
        place, {"nodes": list(router.fleet().values())}, ttl_s=60
    )
