"""Many connections, half requests and slow bodies: who sends them pays, and others get in."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests.gateway.gateways import LiveGateway
from tests.live import wait_until
from tests.security.conftest import ALICE, HALF_REQUEST_S, MALLORY
from umad.client import Client
from umad.gateway.door.places import Bodies, Places
from umad.gateway.errors import Crowded, TooMany

BODY = {"prompt": "one two", "max_tokens": 2}
# A fair request takes milliseconds; it must not wait until the crowd's time is up.
SOON_S = HALF_REQUEST_S
GIVEN_UP = "path=/v1/completions status=499"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s"


@contextmanager
def crowd(gateway: LiveGateway, n: int, said: bytes) -> Iterator[list[socket.socket]]:
    """`n` connections that each have said so much and no more."""
    with ExitStack() as held:
        made = []
        for _ in range(n):
            one = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
            held.enter_context(closing(one))
            one.sendall(said)
            made.append(one)
        yield made


def is_served(gateway: LiveGateway, headers: dict[str, str]) -> bool:
    """A newcomer's request is answered, soon."""
    return are_served(gateway, headers, 1)


def are_served(gateway: LiveGateway, headers: dict[str, str], n: int) -> bool:
    """So many newcomers are, one after the other, all of them soon."""
    began_s = time.perf_counter()
    for _ in range(n):
        with gateway.http(headers=headers) as http:
            if http.post("/v1/completions", json=BODY).status_code != 200:
                return False
    return time.perf_counter() - began_s < SOON_S


def field(headers: dict[str, str]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())


def test_a_crowd_of_one_byte_heads_keeps_nobody_out(narrow: LiveGateway) -> None:
    with crowd(narrow, 200, b"G"):
        assert are_served(narrow, ALICE, 5)


def test_a_half_request_that_gives_way_is_told_so(narrow: LiveGateway) -> None:
    with crowd(narrow, 49, b"G") as dribbling:
        assert dribbling[0].recv(4096).startswith(b"HTTP/1.1 503 ")


def test_a_connection_that_a_key_has_used_does_not_give_way_to_strangers(
    narrow: LiveGateway,
) -> None:
    with narrow.http(headers=ALICE) as http:
        assert http.get("/v1/models").status_code == 200
        (before,) = http._transport._pool.connections  # type: ignore[attr-defined]
        with crowd(narrow, 200, b"G"):
            assert http.get("/v1/models").status_code == 200
        (after,) = http._transport._pool.connections  # type: ignore[attr-defined]

    assert after is before


def test_slow_bodies_take_no_places_of_requests_that_are_ready(narrow: LiveGateway) -> None:
    with crowd(narrow, 40, POST % (field(MALLORY), 1000, b"{")):
        assert are_served(narrow, ALICE, 5)
        assert is_served(narrow, MALLORY)


def test_slow_bodies_take_no_connections_of_others(narrow: LiveGateway) -> None:
    with crowd(narrow, 200, POST % (field(MALLORY), 1000, b"{")):
        assert are_served(narrow, ALICE, 5)


def test_a_body_that_comes_in_drops_is_given_up_before_its_time(narrow: LiveGateway) -> None:
    began_s = time.perf_counter()
    with crowd(narrow, 1, POST % (field(MALLORY), 100_000, b"{")) as (slow,):
        slow.settimeout(0.1)
        said = b""
        while not said:
            assert time.perf_counter() - began_s < 20
            try:
                slow.sendall(b" ")
                said = slow.recv(4096)
            except TimeoutError:
                continue

    assert said.startswith(b"HTTP/1.1 408 ")


def test_a_key_that_takes_all_places_leaves_some_for_others(narrow: LiveGateway) -> None:
    body = json.dumps(
        {"prompt": "x", "max_tokens": 2000, "ignore_eos": True, "stream": True}
    ).encode()
    with crowd(narrow, 20, POST % (field(MALLORY), len(body), body)) as streams:
        statuses = [one.recv(12) for one in streams]
        assert statuses.count(b"HTTP/1.1 200") == 14
        assert statuses.count(b"HTTP/1.1 429") == 6
        assert is_served(narrow, ALICE)


def test_an_answer_that_nobody_reads_gives_way(narrow: LiveGateway) -> None:
    with ExitStack() as held:
        for _ in range(50):
            one = socket.socket()
            held.enter_context(closing(one))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.settimeout(60)
            one.connect(("127.0.0.1", narrow.port))
            ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % field(MALLORY)
            one.sendall(ask * 30)

        assert are_served(narrow, ALICE, 5)


def test_a_generation_ends_with_its_client_though_more_was_asked_behind_it(
    narrow: LiveGateway,
) -> None:
    body = json.dumps(
        {"prompt": "x", "max_tokens": 2000, "ignore_eos": True, "stream": True}
    ).encode()
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Client(narrow.daemon.socket) as client:
        n_given_up = narrow.daemon.log.count(GIVEN_UP)
        with crowd(narrow, 1, POST % (field(MALLORY), len(body), body) + health) as (one,):
            assert one.recv(12) == b"HTTP/1.1 200"
            assert client.sessions()
        wait_until(lambda: not client.sessions(), what="its end")
    wait_until(lambda: narrow.daemon.log.count(GIVEN_UP) > n_given_up, what="its line in the log")


def test_who_has_few_requests_at_work_may_take_the_last_places() -> None:
    places = Places(16)
    with ExitStack() as held:
        for _ in range(14):
            held.enter_context(places.one("mallory"))
        with pytest.raises(TooMany):
            held.enter_context(places.one("mallory"))
        for _ in range(2):
            held.enter_context(places.one("alice"))
        with pytest.raises(TooMany):
            held.enter_context(places.one("bob"))
    with places.one("mallory"):
        pass


def test_bodies_have_a_bound_in_all_and_the_greediest_pays() -> None:
    bodies, stopped = Bodies(100), []
    with (
        bodies.one("mallory", lambda: stopped.append("first")) as first,
        bodies.one("mallory", lambda: stopped.append("second")) as second,
        bodies.one("alice", lambda: stopped.append("alice")) as alice,
    ):
        bodies.add(first, 40)
        bodies.add(second, 40)
        bodies.add(alice, 30)
        assert stopped == ["first"]
        bodies.add(alice, 30)
        with pytest.raises(Crowded):
            bodies.add(second, 31)
    with bodies.one("bob", lambda: None) as whole:
        bodies.add(whole, 100)
        whole.arriving = False
        with bodies.one("bob", lambda: None) as more, pytest.raises(Crowded):
            bodies.add(more, 1)


def test_a_gateway_that_was_crowded_has_room_again(narrow: LiveGateway) -> None:
    with crowd(narrow, 100, b"G"):
        pass

    wait_until(lambda: is_served(narrow, ALICE), what="room")
