"""What a gateway takes for a request does not depend on how its bytes were cut."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.memory_connection import Heard, hear

HOST = b"Host: localhost\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /b HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n"
)
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMA\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"

REQUESTS = {
    "get": GET,
    "head": HEAD,
    "post": POST,
    "chunked": CHUNKED + b"\r\n",
    "trailers": CHUNKED + b"Authorization: Bearer x\r\nx-late: 1\r\n\r\n",
    "expect": POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
    "http 1.0": b"GET /a HTTP/1.0\r\n\r\n",
    "http 1.0 kept alive": b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + SMUGGLED,
    "empty lines before": b"\r\n\r\n" + GET,
    "pair": GET + POST,
    "three": POST + CHUNKED + b"\r\n" + GET,
    "close and more": GET.replace(HOST, HOST + b"Connection: close\r\n") + SMUGGLED,
    "h2c get": b"GET /a HTTP/1.1\r\n" + HOST + UPGRADE % b"h2c" + b"\r\n",
    "h2c get and more": b"GET /a HTTP/1.1\r\n" + HOST + UPGRADE % b"h2c" + b"\r\n" + SMUGGLED,
    "h2c post": b"POST /b HTTP/1.1\r\n"
    + HOST
    + UPGRADE % b"h2c"
    + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
    + SMUGGLED,
    "h2c chunked": CHUNKED.replace(HOST, HOST + UPGRADE % b"h2c") + b"\r\n" + SMUGGLED,
    "h2c chunked and a body": CHUNKED.replace(HOST, HOST + UPGRADE % b"h2c")
    + b"\r\n"
    + CHUNKED.replace(b"/c", b"/smuggled")
    + b"\r\n",
    "websocket post": POST.replace(HOST, HOST + UPGRADE % b"websocket") + SMUGGLED,
    "upgrade behind another": GET + POST.replace(HOST, HOST + UPGRADE % b"h2c") + SMUGGLED,
    "upgrade without connection": POST.replace(HOST, HOST + b"Upgrade: h2c\r\n") + GET,
    "connect": b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED,
    "folded field": GET.replace(HOST, HOST + b"x-a: b\r\n c\r\n"),
    "space before a colon": GET.replace(HOST, HOST + b"x-a : b\r\n"),
    "two lengths": POST.replace(HOST, HOST + b"Content-Length: 5\r\n"),
    "two lengths that differ": POST.replace(HOST, HOST + b"Content-Length: 6\r\n"),
    "length with a sign": POST.replace(b": 5", b": +5"),
    "length and chunked": CHUNKED.replace(HOST, HOST + b"Content-Length: 5\r\n") + b"\r\n",
    "chunked and length": CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n", 1)
    + b"\r\n",
    "chunked in 1.0": CHUNKED.replace(b"/1.1", b"/1.0") + b"\r\n",
    "another coding": CHUNKED.replace(b"chunked", b"gzip, chunked") + b"\r\n",
    "a coding like chunked": CHUNKED.replace(b"chunked", b"xchunked") + b"\r\n",
    "bad size of a piece": CHUNKED.replace(b"3;x=y", b"0x3"),
    "good and then nonsense": GET + b"nonsense\r\n\r\n",
    "good and then a bad body": GET + CHUNKED.replace(b"2\r\n", b"zz\r\n"),
    "bare line feeds": b"GET /a HTTP/1.1\nHost: localhost\n\n",
    "one bare line feed": b"GET /a HTTP/1.1\r\nHost: localhost\n\r\n",
    "two hosts": GET.replace(HOST, HOST + HOST),
    "preface of http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a nul": GET.replace(HOST, HOST + b"x-a: \0\r\n"),
    "a star": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
}


def heard(pieces: Sequence[bytes]) -> Heard:
    return asyncio.run(hear(pieces))


def cuts_of(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(data[:at], data[at:]) for at in range(1, len(data))]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_the_same_wherever_it_is_cut_in_two(name: str) -> None:
    whole = heard([REQUESTS[name]])

    async def all_cuts() -> list[Heard]:
        return [await hear(pieces) for pieces in cuts_of(REQUESTS[name])]

    for pieces, one in zip(cuts_of(REQUESTS[name]), asyncio.run(all_cuts()), strict=True):
        assert one == whole, pieces


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_the_same_byte_by_byte(name: str) -> None:
    data = REQUESTS[name]

    assert heard([data[at : at + 1] for at in range(len(data))]) == heard([data])


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=4),
    places=st.sets(st.integers(min_value=1, max_value=1200), max_size=6),
)
def test_any_row_of_requests_is_the_same_however_it_is_cut(
    names: list[str], places: set[int]
) -> None:
    data = b"".join([REQUESTS[name] for name in names])
    at = [0, *sorted(place for place in places if place < len(data)), len(data)]

    assert heard([data[a:b] for a, b in itertools.pairwise(at)]) == heard([data])


@pytest.mark.parametrize("name", [name for name in REQUESTS if b"/smuggled" in REQUESTS[name]])
def test_nothing_behind_a_connections_last_request_is_taken_for_one(name: str) -> None:
    assert all(path != "/smuggled" for _, path, _, _ in heard([REQUESTS[name]]).requests)


def test_a_body_of_who_asks_for_another_protocol_is_all_there() -> None:
    one = heard([REQUESTS["h2c post"]])

    assert [body for *_, body in one.requests] == [SMUGGLED]
    assert one.closed
    assert b"connection: close" in one.answers


def test_fields_behind_a_body_are_not_the_requests() -> None:
    ((_, _, headers, body),) = heard([REQUESTS["trailers"]]).requests

    assert body == b"abcde"
    assert {name for name, _ in headers} == {b"host", b"transfer-encoding"}


@pytest.mark.parametrize(
    "name",
    ["two lengths", "length and chunked", "chunked in 1.0", "another coding", "two hosts"],
)
def test_what_two_servers_may_read_in_two_ways_is_refused(name: str) -> None:
    one = heard([REQUESTS[name]])

    assert one.requests == []
    assert one.answers.startswith(b"HTTP/1.1 400 ")
    assert one.closed


def test_whole_requests_before_nonsense_are_answered_first() -> None:
    answers = heard([REQUESTS["good and then nonsense"]]).answers

    assert answers.index(b"HTTP/1.1 200 ") < answers.index(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("n_bytes", [60_000, 200_000])
def test_a_large_head_is_taken_or_refused_by_its_size_alone(n_bytes: int) -> None:
    data = GET.replace(HOST, HOST + b"x-a: " + b"a" * n_bytes + b"\r\n")
    whole = heard([data])

    assert whole.answers.startswith(b"HTTP/1.1 200 " if n_bytes < 65_536 else b"HTTP/1.1 431 ")
    for step in (1000, 16_384, 65_000):
        assert heard([data[at : at + step] for at in range(0, len(data), step)]) == whole


def test_a_body_whose_pieces_are_mostly_framing_is_given_up() -> None:
    head = b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"

    endless = heard([head, *[b"1;" + b"x" * 8000 + b"\r\na\r\n" for _ in range(20)]])
    fields = heard([head, b"0\r\n", *[b"x-a: " + b"a" * 8000 + b"\r\n" for _ in range(20)]])

    assert endless.answers.startswith(b"HTTP/1.1 400 ")
    assert fields.answers.startswith(b"HTTP/1.1 400 ")


def test_a_large_body_does_not_count_against_the_request_behind_it() -> None:
    """Clients that keep a connection send the head and the body of each turn by themselves."""
    body = b"x" * 300_000
    head = b"POST /b HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)

    one = heard([head, body, head, body, head + body[:9], body[9:] + head, body])

    assert [len(body) for *_, body in one.requests] == [300_000] * 4
    assert not one.closed


def test_requests_sent_before_any_answer_have_a_bound() -> None:
    one = heard([GET * 200])

    assert len(one.requests) < 50
    assert one.answers.count(b"HTTP/1.1 200 ") == len(one.requests)
    assert one.answers.count(b"HTTP/1.1 503 ") == 1
    assert one.closed
