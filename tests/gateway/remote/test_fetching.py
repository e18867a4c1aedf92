"""Files from real servers on two loopback addresses: one may be asked, and the other may not."""

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.remote.servers import LISTED, UNLISTED, FileServer, Page, file_server
from umad.config import MediaSettings
from umad.gateway.remote.fetching import Budget, Fetcher, Resolve, Unfetchable, resolved
from umad.gateway.remote.networks import Address
from umad.router.authority import TeamAuthority

PICTURE = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as one:
        yield one


@pytest.fixture
def inner() -> Iterator[FileServer]:
    """What only this machine is meant to reach."""
    with file_server(UNLISTED) as one:
        one.pages["/secret"] = Page(PICTURE)
        yield one


def fetched(
    url: str,
    *,
    kind: Any = "image",
    most_bytes: int = 2**20,
    resolve: Resolve = resolved,
    tls: ssl.SSLContext | None = None,
    **settings: Any,
) -> bytes:
    limits = MediaSettings(remote_urls=True, remote_networks=(f"{LISTED}/32",), **settings)

    async def run() -> bytes:
        fetcher = Fetcher(limits, resolve=resolve, tls=tls)
        try:
            return await fetcher.fetch(kind, url, Budget(most_bytes, lambda _: None))
        finally:
            await fetcher.close()

    return asyncio.run(run())


def refusal(url: str, **more: Any) -> str:
    with pytest.raises(Unfetchable) as refused:
        fetched(url, **more)
    return str(refused.value)


def test_a_file_comes_as_its_server_has_it(server: FileServer) -> None:
    server.pages["/a%20cat.png?size=2"] = Page(PICTURE)

    assert fetched(server.url("/a%20cat.png?size=2#top")) == PICTURE
    assert server.asked == [("/a%20cat.png?size=2", f"{LISTED}:{server.port}")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(server: FileServer, status: int) -> None:
    server.pages["/old"] = Page(status=status, headers={"Location": "/new"})
    server.pages["/new"] = Page(PICTURE)

    assert fetched(server.url("/old")) == PICTURE


def test_a_redirect_to_loopback_is_refused_and_nothing_is_asked_there(
    server: FileServer, inner: FileServer
) -> None:
    server.pages["/"] = Page(status=302, headers={"Location": inner.url("/secret")})

    assert "in this machine or in its network" in refusal(server.url("/"))
    assert inner.asked == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"],
)
def test_no_way_to_write_loopback_leads_there(inner: FileServer, host: str) -> None:
    assert refusal(inner.url("/secret", host=host))
    assert inner.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
    ],
)
def test_addresses_of_networks_here_are_refused(url: str) -> None:
    assert "in this machine or in its network" in refusal(url)


def test_a_redirect_to_another_scheme_is_refused(server: FileServer) -> None:
    for to in ("file:///etc/passwd", "ftp://example.com/a.png", "gopher://127.0.0.2/"):
        server.pages["/"] = Page(status=302, headers={"Location": to})

        assert "only http and https" in refusal(server.url("/"))


def test_a_name_is_looked_up_once_and_the_connection_goes_where_it_was_looked_at(
    server: FileServer, inner: FileServer
) -> None:
    answers: list[str] = [LISTED, UNLISTED]
    inner_pages = inner.pages
    server.pages["/secret"] = Page(b"outer")

    async def rebinding(host: str, port: int) -> list[Address]:
        assert (host, port) == ("pictures.example", server.port)
        return [ipaddress.ip_address(answers.pop(0))]

    url = server.url("/secret", host="pictures.example")

    assert inner_pages
    assert fetched(url, resolve=rebinding) == b"outer"
    assert answers == [UNLISTED], "the name was looked up again"
    assert server.asked == [("/secret", f"pictures.example:{server.port}")]
    assert inner.asked == []


def test_of_a_names_addresses_those_that_may_not_be_asked_are_passed_over(
    server: FileServer,
) -> None:
    server.pages["/"] = Page(PICTURE)

    async def both(host: str, port: int) -> list[Address]:
        return [ipaddress.ip_address(one) for one in (UNLISTED, LISTED)]

    assert fetched(server.url("/", host="both.example"), resolve=both) == PICTURE


def test_a_public_server_is_asked_at_ports_of_http_alone() -> None:
    assert "at the ports 80, 443, 8080, 8443, not 25" in refusal("http://1.1.1.1:25/")


def test_redirects_have_a_number(server: FileServer) -> None:
    for at in range(3):
        server.pages[f"/{at}"] = Page(status=302, headers={"Location": f"/{at + 1}"})
    server.pages["/3"] = Page(PICTURE)

    assert fetched(server.url("/0"), remote_redirects=3) == PICTURE
    assert "more than 2 times" in refusal(server.url("/0"), remote_redirects=2)
    server.pages["/loop"] = Page(status=302, headers={"Location": "/loop"})
    assert "more than 3 times" in refusal(server.url("/loop"))


def test_a_file_that_is_too_large_is_given_up(server: FileServer) -> None:
    written = threading.Event()

    def endless(out: Any) -> None:
        try:
            while True:
                out.write(bytes(2**16))
        finally:
            written.set()

    server.pages["/told"] = Page(headers={"Content-Length": str(10**9)}, write=endless)
    server.pages["/untold"] = Page(write=endless)

    for path in ("/told", "/untold"):
        written.clear()
        assert "at most 100,000 bytes" in refusal(server.url(path), most_bytes=100_000)
        assert written.wait(30), "the server still sends"


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (Page(b"<html>", headers={"Content-Type": "text/html; charset=utf-8"}), "'text/html'"),
        (Page(b"x", headers={"Content-Type": "audio/wav"}), "not an image"),
        (Page(b"x", headers={"Content-Encoding": "gzip"}), "packs"),
        (Page(b"x", status=404), "status 404"),
        (Page(b"x", status=206), "status 206"),
        (Page(status=302), "status 302"),
    ],
)
def test_what_is_no_file_of_the_kind_is_refused(server: FileServer, page: Page, says: str) -> None:
    server.pages["/"] = page

    assert says in refusal(server.url("/"))


@pytest.mark.parametrize("given", ["", "application/octet-stream", "IMAGE/JPEG; x=y"])
def test_a_type_that_says_nothing_is_taken(server: FileServer, given: str) -> None:
    server.pages["/"] = Page(PICTURE, headers={"Content-Type": given})

    assert fetched(server.url("/")) == PICTURE


def test_a_sound_is_fetched_as_a_sound(server: FileServer) -> None:
    server.pages["/"] = Page(b"RIFF", headers={"Content-Type": "audio/wav"})

    assert fetched(server.url("/"), kind="audio") == b"RIFF"


@pytest.mark.parametrize(
    "url", ["http://user:secret@127.0.0.2/", "http://", "http://[::1", "http://a..b/", "http://\0/"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    assert refusal(url)


def test_a_server_that_is_not_there_is_told() -> None:
    with file_server() as gone:
        url = gone.url("/")

    assert "nothing answers there" in refusal(url)


def test_a_certificate_is_for_the_name_though_the_connection_goes_to_an_address(
    tmp_path: Path,
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    authority = TeamAuthority.make(tmp_path / "team", now=now)
    pair = authority.certified_pair("pictures", now=now)
    (tmp_path / "own.pem").write_bytes(pair.certificate + pair.key)
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "own.pem")
    asking = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    async def resolve(host: str, port: int) -> list[Address]:
        return [ipaddress.ip_address(LISTED)]

    with file_server(tls=serving) as server:
        server.pages["/"] = Page(PICTURE)
        url = server.url("/", host="pictures")

        assert fetched(url, resolve=resolve, tls=asking) == PICTURE
        for wrong in ("other", LISTED):
            url = server.url("/", host=wrong)
            assert "certificate" in refusal(url, resolve=resolve, tls=asking)
        server.pages["/"] = Page(status=302, headers={"Location": "http://pictures/"})
        url = server.url("/", host="pictures")
        assert "from https to http" in refusal(url, resolve=resolve, tls=asking)
