"""Another user of this machine at the HTTP door of a user who has set no keys."""

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from tests.gateway.gateways import LONG_ANSWERS, LONG_TOKENS, LiveGateway, live_gateway
from tests.live import live_daemon, wait_until
from tests.security.nobody import NOBODY, as_nobody, ask, needs_root, say_and_go
from umad.asker import MACHINE_USER
from umad.errors import UmadError
from umad.gateway.door import socket_owners
from umad.gateway.door.entrance import Entrance
from umad.gateway.door.hosts import HostRule
from umad.gateway.door.keys import Keyring
from umad.gateway.door.peers import TcpPeer
from umad.gateway.door.socket_owners import Lookup
from umad.gateway.errors import Forbidden, Unauthorized

ASKED: list[tuple[str, str, dict[str, object] | None]] = [
    ("GET", "/status", None),
    ("GET", "/v1/models", None),
    ("GET", "/metrics", None),
    ("POST", "/unload", {"model": "nano"}),
    ("POST", "/load", {"model": "/etc/shadow"}),
    ("POST", "/load", {"model": "/no/such/file.gguf"}),
    ("POST", "/v1/completions", {"prompt": "one", "max_tokens": 2}),
    ("POST", "/api/generate", {"model": "nano", "keep_alive": 0}),
    ("POST", "/v1/messages", {"model": "nano", "max_tokens": 2, "messages": []}),
    ("POST", "/tokenize", {"content": "one"}),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("keyless")) as one:
        yield one


@needs_root
@pytest.mark.parametrize(("method", "path", "body"), ASKED)
def test_another_user_is_refused_whatever_it_asks(
    gateway: LiveGateway, method: str, path: str, body: dict[str, object] | None
) -> None:
    status, text = as_nobody(lambda: ask(gateway.port, method, path, body))
    assert status == 403
    assert f"not uid {NOBODY}" in text
    assert "--api-key-file" in text


@needs_root
def test_what_is_refused_says_the_same_of_every_file(gateway: LiveGateway) -> None:
    def said_of(name: str) -> str:
        body = {"model": name}
        return as_nobody(lambda: ask(gateway.port, "POST", "/load", body))[1]

    said = {
        said_of(name).split('"request_id"')[0]
        for name in ("/etc/shadow", "/no/such/file.gguf", "/root/.ssh/id_rsa")
    }
    assert len(said) == 1


@needs_root
def test_whether_a_model_answers_is_everybodys_to_know(gateway: LiveGateway) -> None:
    assert as_nobody(lambda: ask(gateway.port, "GET", "/health")) == (200, '{"status":"ok"}')


def test_the_user_who_runs_it_needs_no_key_and_no_configuration(gateway: LiveGateway) -> None:
    assert ask(gateway.port, "GET", "/status")[0] == 200
    assert (
        ask(gateway.port, "POST", "/v1/completions", {"prompt": "one", "max_tokens": 2})[0] == 200
    )


@needs_root
def test_who_asks_and_is_gone_before_anybody_looks_is_not_taken_for_root(
    gateway: LiveGateway,
) -> None:
    """The kernel says of a connection that its process has closed that it is user 0's."""
    request = b'{"model": "nano"}'
    head = b"POST /unload HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(request)
    marked = head.replace(b"\r\n\r\n", b"\r\nX-Request-Id: gone-%d\r\n\r\n")
    os.kill(gateway.pid, signal.SIGSTOP)
    try:
        said = [marked % at + request for at in range(20)]
        as_nobody(lambda: say_and_go(gateway.port, said))
    finally:
        os.kill(gateway.pid, signal.SIGCONT)

    status, models = ask(gateway.port, "GET", "/v1/models")
    assert (status, '"state":"ready"' in models.replace(" ", "")) == (200, True)
    lines = [line for line in gateway.daemon.log.splitlines() if "request id=gone-" in line]
    assert not [line for line in lines if "status=200" in line]


@needs_root
def test_a_half_closed_connection_is_still_its_users(gateway: LiveGateway) -> None:
    def half_closed() -> bytes:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(4096)

    assert half_closed().startswith(b"HTTP/1.1 200 ")
    assert as_nobody(half_closed).startswith(b"HTTP/1.1 403 ")


@needs_root
def test_a_flag_lets_other_users_in_and_each_sees_only_its_own(tmp_path: Path) -> None:
    with (
        live_gateway(tmp_path, "--gateway-all-users", *LONG_ANSWERS) as gateway,
        ExitStack() as held,
    ):
        http = held.enter_context(gateway.http())
        body = {"prompt": "x", "max_tokens": LONG_TOKENS, "ignore_eos": True, "stream": True}
        held.enter_context(http.stream("POST", "/v1/completions", json=body))

        asked = {"prompt": "one", "max_tokens": 2}
        chatted = as_nobody(lambda: ask(gateway.port, "POST", "/v1/completions", asked))
        status, seen = as_nobody(lambda: ask(gateway.port, "GET", "/status"))
        unloaded = as_nobody(lambda: ask(gateway.port, "POST", "/unload", {"model": "nano"}))
        loaded = as_nobody(lambda: ask(gateway.port, "POST", "/load", {"model": "/etc/shadow"}))
        mine = http.get("/status").json()["requests"]

    assert (chatted[0], status, unloaded[0], loaded[0]) == (200, 200, 403, 404)
    assert '"requests":[]' in seen.replace(" ", "")
    assert len(mine) == 1


@needs_root
def test_a_unix_socket_that_was_opened_to_others_lets_them_use_it_and_no_more(
    tmp_path: Path,
) -> None:
    path = tmp_path / "http.sock"
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    with live_daemon(tmp_path, "--http", f"unix:{path}") as daemon:
        wait_until(lambda: "gateway ready" in daemon.log, what="a gateway")
        path.chmod(0o666)

        def over_unix(head: bytes) -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(30)
                connection.connect(str(path))
                connection.sendall(head + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                return connection.recv(65536)

        assert over_unix(b"GET /diag").startswith(b"HTTP/1.1 200 ")
        assert as_nobody(lambda: over_unix(b"GET /diag")).startswith(b"HTTP/1.1 403 ")
        assert as_nobody(lambda: over_unix(b"GET /v1/models")).startswith(b"HTTP/1.1 200 ")


# -- the table of connections ----------------------------------------------------------------------

WAYS = [socket_owners._sock_diag, socket_owners._proc_net]


def ends_of(
    stack: ExitStack, *, server: str = "127.0.0.1", client: str = "127.0.0.1"
) -> tuple[socket.socket, socket.socket]:
    """A client's and a server's end of one connection."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    listener = stack.enter_context(
        socket.create_server((server, 0), family=family, dualstack_ipv6=server == "::")
    )
    near = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in client else socket.AF_INET))
    near.connect((client, listener.getsockname()[1]))
    far = stack.enter_context(listener.accept()[0])
    return near, far


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="these tables are Linux's")
@pytest.mark.parametrize("lookup", WAYS)
@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("::", "::1"),
        ("::1", "::1"),
    ],
)
def test_a_connections_user_is_found_whatever_way_its_addresses_are_written(
    lookup: Lookup, server: str, client: str
) -> None:
    with ExitStack() as stack:
        near, far = ends_of(stack, server=server, client=client)
        seen = far.getpeername()[:2], far.getsockname()[:2]
        assert lookup(*seen) == os.getuid()
        near.close()
        assert lookup(*seen) is None


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="these tables are Linux's")
@pytest.mark.parametrize("lookup", WAYS)
def test_who_listens_where_nobody_is_connected_is_nobodys_user(lookup: Lookup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert lookup(listener.getsockname(), ("127.0.0.1", 9)) is None


def test_the_list_of_macos_is_read_as_its_headers_lay_it_out() -> None:
    def record(uid: int, near: tuple[str, int], far: tuple[str, int]) -> bytes:
        raw = bytearray(300)
        struct.pack_into("=I", raw, 0, len(raw))
        struct.pack_into("!HH", raw, 20, far[1], near[1])
        raw[96] = 1  # INP_IPV4
        raw[112:116] = socket.inet_aton(far[0])
        raw[128:132] = socket.inet_aton(near[0])
        struct.pack_into("=I", raw, 252, uid)
        return bytes(raw)

    head = struct.pack("=IIQQ", 24, 2, 1, 1)
    first = record(501, ("127.0.0.1", 5000), ("127.0.0.1", 8080))
    second = record(502, ("127.0.0.1", 5001), ("127.0.0.1", 8080))
    found = list(socket_owners._pcbs(head + first + second + head))
    assert found == [
        (501, (("127.0.0.1", 5000), ("127.0.0.1", 8080))),
        (502, (("127.0.0.1", 5001), ("127.0.0.1", 8080))),
    ]


def test_a_table_that_is_wrong_about_our_own_connection_is_not_used() -> None:
    wrong: list[Lookup] = [
        lambda near, far: None,
        lambda near, far: os.getuid() + 1,
        lambda near, far: os.getuid(),  # of what is not there, too
    ]
    assert [socket_owners._is_right(one) for one in wrong] == [False] * 3


# -- what follows from it --------------------------------------------------------------------------

OWN = 1000
LOCAL = HostRule(names=(), origins=("https://page.example",))


def enter(peer: TcpPeer, *, origin: str | None = None, **more: bool) -> str:
    """Role and owner of who comes in, or the error's kind and text."""
    said = {"host": "localhost:8080"} | ({} if origin is None else {"origin": origin})
    door = Entrance(keys=Keyring(), hosts=LOCAL, own_uid=OWN, **more)
    try:
        asker = door.caller(Headers(said), peer).asker
    except UmadError as error:
        return f"{type(error).__name__}: {error.message}"
    return "machine" if asker == MACHINE_USER else f"{asker.role} {asker.owner}"


def peer(uid: int | None, address: str = "127.0.0.1", *, is_local: bool = True) -> TcpPeer:
    return TcpPeer(uid=uid, address=address, is_local=is_local)


AWAY = peer(None, "192.0.2.7", is_local=False)
PAGE = "https://page.example"


@pytest.mark.parametrize(
    ("who", "is_let_in", "more"),
    [
        (lambda: enter(peer(OWN)), "machine", None),
        (lambda: enter(peer(0)), "machine", "root can do anything anyway"),
        (lambda: enter(peer(1001)), Forbidden.__name__, "umad serve --http"),
        (lambda: enter(peer(None)), Unauthorized.__name__, "--api-key-file"),
        (lambda: enter(peer(None)), Unauthorized.__name__, "--gateway-all-users"),
        (lambda: enter(AWAY), Unauthorized.__name__, "key"),
        (lambda: enter(peer(1001), all_users=True), "user uid:1001", None),
        (lambda: enter(peer(None), all_users=True), "user net:127.0.0.1", None),
        (lambda: enter(AWAY, all_users=True), Unauthorized.__name__, "key"),
        (lambda: enter(AWAY, exposed=True), "user net:192.0.2.7", None),
        (lambda: enter(peer(1001), exposed=True), "user uid:1001", None),
        (lambda: enter(peer(1001, "")), "user uid:1001", "a Unix socket's file let it in"),
        (lambda: enter(peer(OWN), origin=PAGE), f"user page:{PAGE}", None),
        (lambda: enter(peer(1001), origin=PAGE), Forbidden.__name__, None),
    ],
)
def test_who_comes_in_without_a_key_and_as_whom(
    who: Callable[[], str], is_let_in: str, more: str | None
) -> None:
    entered = who()
    assert entered.startswith(is_let_in)
    if is_let_in in (Forbidden.__name__, Unauthorized.__name__) and more is not None:
        assert more in entered
        assert "\n" not in entered
