"""What a real HAProxy does with the configuration and the commands. Needs haproxy and openssl."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.router.proxies import HAPROXY, OPENSSL, Authority, Running, node, running
from umad.router.haproxy import Server, Tls, commands
from umad.router.policy import Asked, session_key

pytestmark = pytest.mark.skipif(
    HAPROXY is None or OPENSSL is None, reason="haproxy and openssl are not installed"
)
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Tls:
    return Tls(own_path=str(authority.certify("router")), authority_path=str(authority.path))


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[tuple[Server, ...]]:
    with ExitStack() as stack:
        made = []
        for number, name in enumerate(NAMES, 1):
            port = stack.enter_context(node(name, authority.certify(name), authority.path))
            made.append(Server(name=name, number=number, host="127.0.0.1", port=port, weight=100))
        yield tuple(made)


@pytest.fixture
def proxy(short_tmp_path: Path, servers: tuple[Server, ...], tls: Tls) -> Iterator[Running]:
    pools = {"all": servers, "rare": servers[2:]}
    with running(short_tmp_path, pools, tls=tls, models={"rare-model": "rare"}) as made:
        yield made


def chat(text: str, model: str = "m") -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def key(session: str, credential: str = "") -> str:
    made = session_key(Asked(model="m", session=session, credential=credential))
    assert made is not None
    return made


def test_a_conversation_stays_at_its_node_whatever_weights_become(proxy: Running) -> None:
    first = {n: proxy.post(chat(f"talk {n}"))[1] for n in range(12)}

    proxy.tell(
        commands.one_line(
            commands.set_weight("all", name, weight)
            for name, weight in zip(NAMES, (0, 0, 256), strict=True)
        )
    )
    again = {n: proxy.post(chat(f"talk {n}"))[1] for n in range(12)}
    new = {proxy.post(chat(f"new {n}"))[1] for n in range(12)}

    assert again == first
    assert len(set(first.values())) > 1
    assert new == {"c"}


def test_haproxy_makes_the_key_that_the_policy_makes(proxy: Running) -> None:
    proxy.post(chat("x"), {"X-Umad-Session": "talk", "Authorization": "Bearer secret"})
    proxy.post({**chat("x"), "session": "in the body"})
    proxy.post(chat("x") | {"model": "m"}, {"X-Umad-Session": "talk", "X-Api-Key": "other"})

    table = proxy.tell("show table sessions\n")

    assert key("talk", "Bearer secret") in table
    assert key("in the body") in table
    assert key("talk", "other") in table
    assert "secret" not in table


def test_the_beginning_of_a_chat_has_the_policys_key_too(proxy: Running) -> None:
    led = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    proxy.post({"model": "m", "messages": led})
    proxy.post({"model": "m", "messages": [*led, {"role": "assistant", "content": "Hi"}]})

    table = proxy.tell("show table sessions\n")

    assert str(session_key(Asked(model="m", opening="Be brief.Hello"))) in table
    assert table.count(" key=") == 1


def test_a_session_is_pinned_before_its_first_request_and_after(proxy: Running) -> None:
    headers = {"X-Umad-Session": "s"}
    moves = []
    for number in (2, 3, 1):
        proxy.tell(commands.one_line(commands.pin(key("s"), number)))
        moves.append([proxy.post(chat("x"), headers)[1] for _ in range(2)])

    assert moves == [["b", "b"], ["c", "c"], ["a", "a"]]


def test_an_entry_of_haproxys_own_is_not_moved_by_a_number_alone(proxy: Running) -> None:
    """It keeps the server's name beside the number and goes by the name. So a pin removes it first;
    where this test fails, HAProxy has changed and `commands.pin` may be one line."""
    headers = {"X-Umad-Session": "s"}
    first = proxy.post(chat("x"), headers)[1]
    other = next(number for number, name in enumerate(NAMES, 1) if name != first)

    proxy.tell(f"set table sessions key {key('s')} data.server_id {other}\n")

    assert proxy.post(chat("x"), headers)[1] == first


def test_a_model_goes_to_its_pool(proxy: Running) -> None:
    assert {proxy.post(chat(str(n), "rare-model"))[1] for n in range(6)} == {"c"}
    assert proxy.post(chat("x", "no such model"))[0] == 200, "the node itself says what is wrong"


def test_a_model_changes_its_pool_while_haproxy_runs(proxy: Running) -> None:
    said = [
        proxy.tell(commands.one_line([commands.give_model(model, pool, proxy.proxy, is_new=new)]))
        for model, pool, new in (("fresh", "rare", True), ("rare-model", "all", False))
    ]

    assert {proxy.post(chat(str(n), "fresh"))[1] for n in range(6)} == {"c"}, said
    assert len({proxy.post(chat(str(n), "rare-model"))[1] for n in range(12)}) > 1, said


def test_a_body_that_is_longer_than_the_buffer_is_carried_and_recognised(proxy: Running) -> None:
    """The model and the session stand before the messages, as clients write them."""
    body = {"model": "rare-model", "session": "long", **chat("x" * 300_000, "rare-model")}

    status, name = proxy.post(body)

    assert (status, name) == (200, "c")
    wanted = session_key(Asked(model="rare-model", session="long"))
    assert str(wanted) in proxy.tell("show table sessions\n")


def test_a_node_that_drains_keeps_its_sessions(proxy: Running) -> None:
    first = {n: proxy.post(chat(f"talk {n}"))[1] for n in range(12)}

    proxy.tell(commands.one_line([commands.drain("all", "a")]))

    assert {n: proxy.post(chat(f"talk {n}"))[1] for n in range(12)} == first
    assert "a" not in {proxy.post(chat(f"new {n}"))[1] for n in range(12)}


def test_clients_that_come_anew_share_the_connections_to_a_node(
    short_tmp_path: Path, authority: Authority, tls: Tls
) -> None:
    """Else the first token of nearly every request would wait for a handshake."""
    asked: list[tuple[str, int]] = []
    with node("a", authority.certify("a"), authority.path, asked=asked) as port:
        server = Server(name="a", number=1, host="127.0.0.1", port=port, weight=1)
        with running(short_tmp_path, {"all": (server,)}, tls=tls) as proxy:
            for n in range(20):  # each from a connection of its own
                assert proxy.post(chat(f"talk {n}"))[0] == 200

    connections = {other for method, other in asked if method == "POST"}
    # A thread of HAProxy may open one of its own.
    assert len(connections) <= 4


def test_a_full_table_forgets_who_was_idle_longest_and_serves_everybody(
    short_tmp_path: Path, servers: tuple[Server, ...], tls: Tls
) -> None:
    with running(short_tmp_path, {"all": servers}, tls=tls, most_sessions=20) as proxy:
        said = [proxy.post(chat(f"talk {n}")) for n in range(60)]
        last = [proxy.post(chat(f"talk {n}")) for n in range(50, 60)]
        shown = proxy.tell("show table sessions\n")

    assert {status for status, _ in said} == {200}
    assert last == said[50:]
    assert shown.count(" key=") <= 20


def test_a_full_table_has_room_for_new_sessions_while_its_oldest_ones_go_on(
    short_tmp_path: Path, servers: tuple[Server, ...], tls: Tls
) -> None:
    """By itself HAProxy gives up after two entries of such a table if both were used again."""
    with running(short_tmp_path, {"all": servers}, tls=tls, most_sessions=20) as proxy:
        old = [proxy.post(chat(f"talk {n}")) for n in range(20)]
        # A known session takes an entry for a moment, too, so talk 0 is forgotten here.
        again = [proxy.post(chat(f"talk {n}")) for n in range(1, 5)]
        for session in ("new", "newer"):
            proxy.post(chat("x"), {"X-Umad-Session": session})
        table = proxy.tell("show table sessions\n")

    assert again == old[1:5]
    assert key("new") in table
    assert key("newer") in table


def test_a_node_is_added_and_removed_while_haproxy_runs(
    proxy: Running, servers: tuple[Server, ...]
) -> None:
    joined = replace(servers[0], name="late", certified_name="a", number=9, weight=256)

    said = [proxy.tell(line + "\n") for line in commands.add_server("rare", joined, proxy.proxy)]
    proxy.tell(commands.one_line([commands.set_weight("rare", "c", 0)]))
    served = {proxy.post(chat(f"x{n}", "rare-model"))[1] for n in range(4)}
    for line in commands.remove_server("rare", "c"):
        proxy.tell(line + "\n")

    assert served == {"a"}, said
    assert "c" not in [line.split()[3] for line in _states(proxy, "rare")]


def _states(proxy: Running, pool: str) -> list[str]:
    lines = proxy.tell(f"show servers state {pool}\n").splitlines()
    return [line for line in lines if line.startswith(tuple("0123456789")) and len(line) > 4]


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_node_that_cannot_prove_who_it_is_gets_nothing(
    short_tmp_path: Path, tmp_path: Path, authority: Authority, tls: Tls, wrong: str
) -> None:
    other = Authority(tmp_path, "other")
    certificate = other.certify("a") if wrong == "authority" else authority.certify("somebody")
    with node("a", certificate, authority.path) as port:
        server = Server(name="a", number=1, host="127.0.0.1", port=port, weight=1)
        with running(short_tmp_path, {"all": (server,)}, tls=tls) as proxy:
            assert proxy.post(chat("x"))[1] == ""
