"""Connections that dribble, idle, crowd in or close half of themselves: bytes on real sockets."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import httpx
import pytest

from tests.gateway.gateways import LONG_ANSWERS, LONG_TOKENS, LiveGateway, live_gateway
from tests.live import wait_until
from umad.client import Client

HEAD_S = 0.5
IDLE_S = 1.0
CONNECTIONS = 8
# Far more than the gateway takes to notice; a test that waits that long has failed.
PATIENCE_S = 60.0
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(
        tmp_path_factory.mktemp("strict"),
        *("--gateway-head-s", str(HEAD_S), "--gateway-idle-s", str(IDLE_S)),
        *("--gateway-connections", str(CONNECTIONS)),
        *LONG_ANSWERS,
    ) as one:
        yield one


def connect(gateway: LiveGateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S)


def heard(connection: socket.socket) -> bytes:
    """Everything until the other end closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def answered(connection: socket.socket) -> bytes:
    """One answer with a length, from a connection that stays open."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += heard_more(connection)
    head, _, body = said.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += heard_more(connection)
    return head + b"\r\n\r\n" + body


def heard_more(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    assert piece, "the other end closed before its answer was whole"
    return piece


def dribble(connection: socket.socket, data: bytes) -> bytes:
    """Byte by byte until the other end has had enough; what it says then."""
    connection.settimeout(HEAD_S / 20)
    end = time.perf_counter() + PATIENCE_S
    for at in range(len(data)):
        assert time.perf_counter() < end, "it was never cut off"
        try:
            connection.sendall(data[at : at + 1])
            return connection.recv(4096)
        except TimeoutError:
            continue
        except OSError:
            return b""
    raise AssertionError("it was never cut off")


def test_a_head_that_dribbles_is_cut_off_however_steadily_it_comes(strict: LiveGateway) -> None:
    with closing(connect(strict)) as slow:
        said = dribble(slow, b"GET /health HTTP/1.1\r\nHost: localhost\r\nx-a: " + b"a" * 2000)

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in said


def test_a_second_head_that_dribbles_is_cut_off_too(strict: LiveGateway) -> None:
    with closing(connect(strict)) as slow:
        slow.sendall(HEALTH)
        assert answered(slow).startswith(b"HTTP/1.1 200 ")
        said = dribble(slow, b"GET /health HTTP/1.1\r\nHost: localhost\r\nx-a: " + b"a" * 2000)

    assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("data", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_who_connects_and_asks_nothing_is_let_go(strict: LiveGateway, data: bytes) -> None:
    with closing(connect(strict)) as silent:
        silent.sendall(data)
        assert heard(silent) == b""


def test_empty_lines_between_requests_keep_no_connection_open(strict: LiveGateway) -> None:
    with closing(connect(strict)) as idle:
        idle.sendall(HEALTH)
        answered(idle)
        assert dribble(idle, b"\r\n" * 500) == b""


def test_a_body_that_nobody_reads_any_more_does_not_hold_a_connection(strict: LiveGateway) -> None:
    with closing(connect(strict)) as slow:
        slow.sendall(
            b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert answered(slow).startswith(b"HTTP/1.1 404 ")
        assert dribble(slow, b"1\r\na\r\n" * 500) == b""


def test_an_endless_head_is_refused_by_its_size(strict: LiveGateway) -> None:
    with closing(connect(strict)) as large:
        large.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nx-a: ")
        with pytest.raises(OSError):  # noqa: PT011  (reset or broken pipe)
            large.sendall(b"a" * 2**28)


def test_an_idle_connection_is_kept_for_its_time_and_no_longer(strict: LiveGateway) -> None:
    with closing(connect(strict)) as idle:
        idle.sendall(HEALTH)
        answered(idle)
        # Before the gateway's own clock begins, however long either of us waits for a core.
        began_s = time.perf_counter()
        idle.sendall(HEALTH)
        assert answered(idle).startswith(b"HTTP/1.1 200 ")
        assert heard(idle) == b""

    assert time.perf_counter() - began_s >= IDLE_S


def test_idle_connections_make_room_for_who_asks(strict: LiveGateway) -> None:
    with ExitStack() as crowd:
        idle = [crowd.enter_context(closing(connect(strict))) for _ in range(4 * CONNECTIONS)]
        with strict.http() as http:
            assert http.get("/health").status_code == 200
        assert heard(idle[0]) == b""


def test_where_all_connections_are_at_work_one_more_is_told_to_come_back(
    strict: LiveGateway,
) -> None:
    body = json.dumps(
        {"prompt": "x", "max_tokens": LONG_TOKENS, "ignore_eos": True, "stream": True}
    ).encode()
    ask = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
    with ExitStack() as crowd:
        for _ in range(CONNECTIONS):
            one = crowd.enter_context(closing(connect(strict)))
            one.sendall(ask % (len(body), body))
            assert one.recv(12) == b"HTTP/1.1 200"
        with closing(connect(strict)) as more:
            said = heard(more)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in said

    # And the crowd's end is its end: nobody has to be asked to leave.
    def has_room() -> bool:
        # One that is told to come back is closed, and may notice that before it reads why.
        with strict.http() as http, contextlib.suppress(httpx.TransportError):
            return http.get("/health").status_code == 200
        return False

    wait_until(has_room, what="room again")


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_who_asks_for_another_protocol_is_answered_in_this_one(
    strict: LiveGateway, protocol: bytes
) -> None:
    # Else it may end with its first token.
    body = json.dumps({"prompt": "one", "max_tokens": 2, "ignore_eos": True}).encode()
    with closing(connect(strict)) as java:
        java.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\n"
            b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (protocol, len(body), body)
        )
        said = answered(java)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert b'"completion_tokens":2' in said


def test_who_sends_no_more_still_has_his_short_answer(strict: LiveGateway) -> None:
    with closing(connect(strict)) as half:
        half.sendall(HEALTH)
        half.shutdown(socket.SHUT_WR)
        said = heard(half)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert b'"ok"' in said


def test_a_generation_ends_with_the_sending_side_of_who_asked(strict: LiveGateway) -> None:
    body = json.dumps({"prompt": "one", "max_tokens": LONG_TOKENS, "ignore_eos": True}).encode()
    with closing(connect(strict)) as half:
        half.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nx-request-id: half-closed\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        with Client(strict.daemon.socket) as client:
            wait_until(lambda: bool(client.sessions()), what="its beginning")
            half.shutdown(socket.SHUT_WR)
            wait_until(lambda: not client.sessions(), what="its end")
        assert heard(half) == b""

    wait_until(
        lambda: (
            "id=half-closed key=- method=POST path=/v1/completions status=499" in strict.daemon.log
        ),
        what="its line in the log",
    )
