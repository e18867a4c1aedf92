"""The admin socket of a real HAProxy, and of a program that is none."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.router.proxies import HAPROXY, OPENSSL, Authority, Running, node, running
from umad.errors import BadConfig, BadRequest, ProxyFailed
from umad.router.haproxy import Front, Pool, Proxy, Server, Tls, commands, process, render
from umad.router.haproxy.admin_socket import AdminSocket
from umad.router.haproxy.answers import facts_of, models_of, places_of, servers_of, work_of

real = pytest.mark.skipif(
    HAPROXY is None or OPENSSL is None, reason="haproxy and openssl are not installed"
)
KEY = "0123456789ABCDEF" * 4


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Tls:
    return Tls(own_path=str(authority.certify("router")), authority_path=str(authority.path))


@pytest.fixture
def proxy(short_tmp_path: Path, authority: Authority, tls: Tls) -> Iterator[Running]:
    with node("a", authority.certify("a"), authority.path) as port:
        server = Server(name="a", number=1, host="127.0.0.1", port=port, weight=100)
        with running(
            short_tmp_path, {"all": (server,), "spare": ()}, tls=tls, models={"m": "all"}
        ) as made:
            yield made


def ask(path: str, line: str) -> str:
    return asyncio.run(AdminSocket(path).ask(line))


@real
def test_everything_that_is_read_of_it_can_be_read(proxy: Running) -> None:
    proxy.post({"model": "m", "session": "s", "messages": []})
    path = proxy.proxy.admin_path

    servers = servers_of(ask(path, commands.SHOW_SERVERS))
    work = work_of(ask(path, commands.SHOW_WORK))
    places = list(places_of(ask(path, commands.SHOW_PLACES)))
    facts = facts_of(ask(path, commands.SHOW_INFO))

    assert [(one.pool, one.name, one.number, one.weight) for one in servers] == [
        ("sessions", "files", 1, 1),
        ("all", "a", 1, 100),
    ]
    assert [(one.pool, one.sent) for one in work if one.name == "a"] == [("all", 1)]
    assert [place.number for place in places] == [1]
    again = list(places_of(ask(path, commands.show_place(places[0].key))))
    assert [(one.key, one.number) for one in again] == [(one.key, 1) for one in places]
    assert list(places_of(ask(path, commands.show_places(2)))) == []
    assert models_of(ask(path, commands.show_models(proxy.proxy))) == {"m": "all"}
    assert facts.most_connections == 200


@real
def test_commands_are_given_until_one_is_refused_and_that_one_is_told(proxy: Running) -> None:
    admin = AdminSocket(proxy.proxy.admin_path)
    told = [
        commands.set_weight("all", "a", 7),
        commands.set_weight("all", "nobody", 7),
        commands.set_weight("all", "a", 9),
    ]

    with pytest.raises(ProxyFailed, match="set server all/nobody weight: No such server"):
        asyncio.run(admin.tell(told))

    assert _weight(proxy) == 7


@real
def test_all_commands_are_given_where_all_are_wanted_and_the_refused_are_listed(
    proxy: Running,
) -> None:
    admin = AdminSocket(proxy.proxy.admin_path)

    refused = asyncio.run(
        admin.try_all(
            [
                commands.set_weight("nowhere", "a", 7),
                commands.set_weight("all", "a", 9),
                *commands.remove_server("spare", "nobody")[1:],
                commands.take_model("unknown", proxy.proxy),
            ]
        )
    )

    assert refused == ["set server nowhere/a weight: No such backend."]
    assert _weight(proxy) == 9


@real
def test_every_command_there_is_does_what_it_says(proxy: Running, authority: Authority) -> None:
    admin, path = AdminSocket(proxy.proxy.admin_path), proxy.proxy.admin_path
    late = Server(name="late", number=5, host="127.0.0.1", port=1, certified_name="a")

    async def tell(*lines: str) -> None:
        await admin.tell(lines)

    asyncio.run(tell(*commands.add_server("spare", late, proxy.proxy)))
    asyncio.run(tell(commands.readdress("spare", "late", "::1", 2)))
    asyncio.run(tell(commands.drain("spare", "late"), *commands.pin(KEY, 5)))
    asyncio.run(tell(commands.give_model("new", "spare", proxy.proxy, is_new=True)))
    asyncio.run(tell(commands.take_model("m", proxy.proxy)))
    found = servers_of(ask(path, commands.SHOW_SERVERS))[-1]
    placed = list(places_of(ask(path, commands.show_places(5))))
    models = models_of(ask(path, commands.show_models(proxy.proxy)))
    asyncio.run(tell(commands.unpin_node(5), *commands.remove_server("spare", "late")))

    assert (found.name, found.host, found.port, found.is_draining) == ("late", "::1", 2, True)
    assert [place.key for place in placed] == [KEY]
    assert models == {"new": "spare"}
    assert "late" not in ask(path, commands.SHOW_SERVERS)
    assert KEY not in ask(path, commands.SHOW_PLACES)


def _weight(proxy: Running) -> int:
    servers = servers_of(ask(proxy.proxy.admin_path, commands.SHOW_SERVERS))
    return next(one.weight for one in servers if one.name == "a")


def test_a_socket_that_nobody_answers_at_is_told_with_its_path(short_tmp_path: Path) -> None:
    path = short_tmp_path / "admin.sock"
    with pytest.raises(ProxyFailed, match=f"no HAProxy answers at {path}"):
        ask(str(path), commands.SHOW_INFO)


@pytest.mark.parametrize("says", [b"", b"220 mail.example ESMTP\r\n"])
def test_a_program_that_says_other_things_or_nothing_is_not_waited_for_for_ever(
    short_tmp_path: Path, says: bytes
) -> None:
    path = str(short_tmp_path / "other.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection = other.accept()[0]
                connection.sendall(says)
                connection.recv(1 << 20)
                connection.recv(1 << 20)  # until the caller has had enough
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(ProxyFailed, match=r"did not answer within 0\.2 s"):
            asyncio.run(AdminSocket(path, within_s=0.2).ask(commands.SHOW_INFO))
        thread.join(10)


def test_a_command_with_a_line_break_is_never_sent(short_tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        commands.readdress("all", "a", "1.2.3.4\nshutdown", 1)
    with pytest.raises(BadRequest):
        commands.readdress("all", "a", "name.example", 1)


# -- its process -----------------------------------------------------------------------------------


@pytest.fixture
def begun(short_tmp_path: Path, tls: Tls) -> Iterator[Proxy]:
    """HAProxy in the background, as the router starts it."""
    made = _proxy(short_tmp_path, tls)
    config = short_tmp_path / "haproxy.cfg"
    config.write_text(render(made))
    (short_tmp_path / "models.map").write_text("")
    process.check(process.find_haproxy(), config)
    process.begin(process.find_haproxy(), config)
    pid = facts_of(ask(made.admin_path, commands.SHOW_INFO)).pid
    yield made
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _proxy(folder: Path, tls: Tls) -> Proxy:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Proxy(
        front=Front(host="127.0.0.1", port=port),
        tls=tls,
        admin_path=str(folder / "admin.sock"),
        models_path=str(folder / "models.map"),
        pools=(Pool(name="all"),),
        default_pool="all",
        most_connections=100,
        most_sessions=100,
    )


@real
def test_haproxy_runs_in_a_session_of_its_own(begun: Proxy) -> None:
    pid = facts_of(ask(begun.admin_path, commands.SHOW_INFO)).pid

    assert os.getsid(pid) != os.getsid(0)
    with socket.create_connection((begun.front.host, begun.front.port), 10):
        pass


@real
def test_haproxy_ends_when_it_is_told_to(begun: Proxy) -> None:
    process.end(facts_of(ask(begun.admin_path, commands.SHOW_INFO)).pid)

    assert _ends(begun)


def _ends(proxy: Proxy) -> bool:
    for _ in range(1000):
        try:
            socket.create_connection((proxy.front.host, proxy.front.port), 10).close()
        except ConnectionRefusedError:
            return True
        threading.Event().wait(0.02)
    return False


@real
def test_why_haproxy_does_not_start_is_said_in_its_words(begun: Proxy, tmp_path: Path) -> None:
    taken, wrong = tmp_path / "taken.cfg", tmp_path / "wrong.cfg"
    taken.write_text(render(replace(begun, admin_path=str(tmp_path / "b.sock"))))
    wrong.write_text("global\n  no-such-word\n")

    with pytest.raises(BadConfig, match="unknown keyword 'no-such-word'"):
        process.check(process.find_haproxy(), wrong)
    with pytest.raises(ProxyFailed, match="HAProxy does not start"):
        process.begin(process.find_haproxy(), taken)


def test_a_machine_without_haproxy_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProxyFailed, match="apt install haproxy, or brew install haproxy"):
        process.find_haproxy()


def test_a_program_of_that_name_that_is_another_or_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    fake = tmp_path / "haproxy"
    for says in ("HAProxy version 2.4.22 2023/01/01", "hello"):
        fake.write_text(f"#!/bin/sh\necho '{says}'\n")
        fake.chmod(0o755)
        with pytest.raises(ProxyFailed, match=r"version 2\.6 or later"):
            process.find_haproxy()
