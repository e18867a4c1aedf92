"""Fetches one file from its server, within limits.

    Fetcher.fetch(kind, address, budget)   the bytes, or `Unfetchable` with the reason in words

A connection goes to an address that was looked at, and to no other: the name is resolved here, and
the address takes its place in what the client library gets. The server is told the name (`Host`),
and its certificate has to be for the name. Time is limited by whoever waits.
Not: which requests have addresses (`umad.gateway.remote.files`).
"""

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping

import httpx2

from umad.config import MediaSettings
from umad.content import MEDIA_NAMES, MediaKind
from umad.gateway.remote.networks import (
    PORTS,
    Address,
    is_listed,
    is_own,
    is_public,
    read_networks,
)
from umad.version import __version__

# Makes the addresses of a name and a port. Raises `OSError`.
Resolve = Callable[[str, int], Awaitable[list[Address]]]
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
# Addresses of one name that are tried.
_MOST_TRIED = 4
_CONNECT_S = 4.0
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
# What servers call a file whose type they do not know.
_ANY_TYPE = frozenset(("application/octet-stream", "binary/octet-stream", ""))
_TYPES: Mapping[MediaKind, tuple[str, ...]] = {
    "image": ("image/",),
    "audio": ("audio/", "application/ogg", "video/ogg"),
}


class Unfetchable(Exception):
    """The file is not fetched; the words say why."""


class Budget:
    """The bytes that may still come for one request. hold: is told of bytes that came, and raises
    where there is no room for them."""

    def __init__(self, most_bytes: int, hold: Callable[[int], None]) -> None:
        self._most_bytes = most_bytes
        self._left_bytes = most_bytes
        self._hold = hold

    def take(self, n_bytes: int) -> None:
        """Count bytes. Raises `Unfetchable` where they are too many."""
        self.check(n_bytes)
        self._left_bytes -= n_bytes
        self._hold(n_bytes)

    def check(self, n_bytes: int) -> None:
        """Raise `Unfetchable` where so many would be too many."""
        if n_bytes > self._left_bytes:
            raise Unfetchable(
                f"at most {self._most_bytes:,} bytes are fetched for a request (media.remote_bytes)"
            )


async def resolved(host: str, port: int) -> list[Address]:
    """The addresses of a name, as the system knows it."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]


class Fetcher:
    """Asks servers. Owner: one event loop."""

    def __init__(
        self,
        settings: MediaSettings,
        *,
        resolve: Resolve = resolved,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._networks = read_networks(settings.remote_networks)
        self._most_redirects = settings.remote_redirects
        self._resolve = resolve
        self._tls = tls

    async def fetch(self, kind: MediaKind, address: str, budget: Budget) -> bytes:
        """The file at an address. Raises `Unfetchable`."""
        try:
            return await self._followed(kind, address, budget)
        except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
            raise Unfetchable("this is no address that can be asked") from error
        except httpx2.HTTPError as error:
            raise Unfetchable(f"its server cannot be asked: {_words(error)}") from error

    async def _followed(self, kind: MediaKind, address: str, budget: Budget) -> bytes:
        url = httpx2.URL(address)
        for _ in range(self._most_redirects + 1):
            answer = await self._asked(kind, url)
            try:
                location = answer.headers.get("location")
                if answer.status_code in _REDIRECTS and location:
                    url = _led_on(url, location)
                    continue
                return await _body(kind, answer, budget)
            finally:
                await answer.aclose()
        raise Unfetchable(
            f"its server leads on more than {self._most_redirects} times (media.remote_redirects)"
        )

    async def _asked(self, kind: MediaKind, url: httpx2.URL) -> httpx2.Response:
        """The head of a server's answer; the caller closes it."""
        error: httpx2.HTTPError | None = None
        for one in await self._addresses(url):
            pinned = httpx2.Request(
                "GET",
                url.copy_with(host=str(one), fragment=None),
                headers={
                    "Host": url.netloc.decode("ascii"),
                    "User-Agent": f"umad/{__version__}",
                    "Accept": f"{_TYPES[kind][0]}*, */*;q=0.1",
                    # Nothing is unpacked here, so a small answer stays a small one.
                    "Accept-Encoding": "identity",
                    "Connection": "close",
                },
                extensions={"sni_hostname": url.host, "timeout": _timeouts()},
            )
            try:
                answer = await self._transport.handle_async_request(pinned)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as failed:
                error = failed
                continue
            answer.request = pinned
            return answer
        assert error is not None
        raise error

    @functools.cached_property
    def _transport(self) -> httpx2.AsyncHTTPTransport:
        """Without the client around it, which would keep cookies, and follow the environment."""
        return httpx2.AsyncHTTPTransport(
            verify=self._tls or httpx2.create_ssl_context(),
            trust_env=False,
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def _addresses(self, url: httpx2.URL) -> list[Address]:
        """The addresses at which a server may be asked. Raises `Unfetchable` where none may be."""
        if url.scheme not in _PORTS or not url.host:
            raise Unfetchable("only http and https addresses are asked")
        if url.userinfo:
            raise Unfetchable("an address with a user's name in it is not asked")
        port = url.port or _PORTS[url.scheme]
        try:
            found = await self._resolve(url.host, port)
        except OSError as error:
            raise Unfetchable("its server's name cannot be found") from error
        allowed = [one for one in dict.fromkeys(found) if self._is_allowed(one)]
        if not allowed:
            raise Unfetchable(
                "its server is in this machine or in its network, and only public ones are asked "
                "(media.remote_networks)"
            )
        listed = [one for one in allowed if is_listed(one, self._networks)]
        if port not in PORTS and not listed:
            ports = ", ".join(str(one) for one in sorted(PORTS))
            raise Unfetchable(f"public servers are asked at the ports {ports}, not {port}")
        return (listed or allowed)[:_MOST_TRIED]

    def _is_allowed(self, address: Address) -> bool:
        if is_listed(address, self._networks):
            return True
        return is_public(address) and not is_own(address)

    async def close(self) -> None:
        """End all connections."""
        if "_transport" in self.__dict__:
            await self._transport.aclose()


def _timeouts() -> dict[str, float | None]:
    # The whole has a limit of its own.
    return {"connect": _CONNECT_S, "read": None, "write": None, "pool": None}


def _led_on(url: httpx2.URL, location: str) -> httpx2.URL:
    led_to = url.join(location)
    if url.scheme == "https" and led_to.scheme == "http":
        raise Unfetchable("its server leads on from https to http")
    return led_to


async def _body(kind: MediaKind, answer: httpx2.Response, budget: Budget) -> bytes:
    if answer.status_code != httpx2.codes.OK:
        raise Unfetchable(f"its server answers with status {answer.status_code}")
    given = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in _ANY_TYPE and not given.startswith(_TYPES[kind]):
        raise Unfetchable(f"its server sends {given[:64]!r} and not {MEDIA_NAMES[kind]}")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise Unfetchable("its server packs what it sends, though it was asked not to")
    length = answer.headers.get("content-length", "")
    if length.isdecimal():
        budget.check(int(length))
    data = bytearray()
    async for piece in answer.aiter_raw():
        budget.take(len(piece))
        data += piece
    return bytes(data)


def _words(error: httpx2.HTTPError) -> str:
    """Why a server was not reached, without its address."""
    if isinstance(error, httpx2.TimeoutException):
        return "it does not answer"
    if isinstance(error, httpx2.ConnectError):
        is_tls = "CERTIFICATE" in str(error).upper() or "SSL" in str(error).upper()
        return "its certificate is not good" if is_tls else "nothing answers there"
    return "its answer cannot be read"
