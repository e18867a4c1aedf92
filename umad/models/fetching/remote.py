"""Reads ranges of one file from a server, over plain HTTP.

    RemoteFile   what is known of the file before a byte of it is read
    Ranges       opens ranges of it
    Interrupted  a range ended early: worth another try

A token goes to the hosts it is meant for and to no other. So redirects are followed here by hand:
hubs send clients on to hosts of strangers, with addresses that are signed already. Such an address
is used until it is refused; then the file's own address gives a new one.
Not: which ranges, where they go, or when to try again (`umad.models.fetching.download`).
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import httpx2

from umad.errors import AccessNeeded, FetchFailed
from umad.models.fetching.checksum import Checksum
from umad.version import __version__

USER_AGENT = f"umad/{__version__}"
_MOST_REDIRECTS = 8
# Too many requests, and what servers and proxies say while they restart.
_PASSING = (408, 425, 429, 500, 502, 503, 504)
# How a signed address says that its time is over.
_OVER = (400, 401, 403, 404, 410)
_MOST_WAIT_S = 120.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a server."""

    # For people: a path in a repository, a layer of a model.
    name: str
    url: str
    size_bytes: int
    checksum: Checksum
    # Sent to `token_origins` alone, and never shown.
    token: str | None = field(default=None, repr=False)
    token_origins: frozenset[Origin] = frozenset()


class Interrupted(Exception):
    """A server or the way to it failed in passing."""

    def __init__(self, why: str, *, wait_s: float = 0.0) -> None:
        super().__init__(why)
        # What the server asked for; 0 where it asked for nothing.
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A part of the file, as it comes."""

    # Where in the file its first byte belongs.
    at: int
    # The server passed over the range and sends all it has.
    is_whole: bool
    chunks: Iterator[bytes]


def origin_of(url: str) -> Origin:
    """Scheme, host and port of an address: who answers there."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)


class Ranges:
    """Opens ranges of one file. Any thread."""

    def __init__(self, client: httpx2.Client, file: RemoteFile, *, silence_s: float) -> None:
        self._client = client
        self._file = file
        self._timeout = httpx2.Timeout(silence_s)
        # Where the file's address led last.
        self._location: str | None = None

    @contextlib.contextmanager
    def open(self, start: int, end: int) -> Iterator[Body]:
        """The bytes from `start` to before `end`, or all of the file.

        Raises `Interrupted`, also while the body is read, and `FetchFailed` where another try
        would not help.
        """
        try:
            response = self._answer(start, end)
            try:
                yield self._body(response, start)
            finally:
                response.close()
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            raise Interrupted(f"{host_of(self._file.url)}: {words_of(error)}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise FetchFailed(f"{self._file.name} cannot be fetched: {words_of(error)}") from error

    def _answer(self, start: int, end: int) -> httpx2.Response:
        known = self._location
        if known is not None:
            response = self._follow(known, start, end)
            if response.status_code not in _OVER:
                return response
            response.close()
            self._location = None
        return self._follow(self._file.url, start, end)

    def _follow(self, url: str, start: int, end: int) -> httpx2.Response:
        for _ in range(_MOST_REDIRECTS):
            headers = {
                "User-Agent": USER_AGENT,
                "Range": f"bytes={start}-{end - 1}",
                # The checksum and the range are those of the file, not of a packed form.
                "Accept-Encoding": "identity",
            }
            if self._file.token is not None and origin_of(url) in self._file.token_origins:
                headers["Authorization"] = f"Bearer {self._file.token}"
            request = self._client.build_request("GET", url, headers=headers, timeout=self._timeout)
            response = self._client.send(request, stream=True, follow_redirects=False)
            if not response.has_redirect_location:
                if response.status_code in (200, 206) and url != self._file.url:
                    self._location = url
                return response
            response.close()
            url = self._next(url, response.headers["Location"])
        raise FetchFailed(
            f"{self._file.name} cannot be fetched: {host_of(self._file.url)} sends from one "
            "address to the next without end"
        )

    def _next(self, url: str, location: str) -> str:
        try:
            joined = urljoin(url, location)
            origin_of(joined)
        except ValueError:  # half an address of version 6, a port that is no number
            raise FetchFailed(
                f"{self._file.name} cannot be fetched: {host_of(url)} sends on to an address that "
                "is none"
            ) from None
        return joined

    def _body(self, response: httpx2.Response, start: int) -> Body:
        status = response.status_code
        coding = response.headers.get("Content-Encoding", "identity").lower()
        if status in (200, 206) and coding != "identity":
            raise FetchFailed(
                f"{self._file.name} cannot be fetched: {response.url.host} sends it packed "
                f"({coding}), though that was declined"
            )
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if found is None or int(found[1]) != start:
                raise Interrupted(f"{response.url.host} sent another range than was asked for")
            if found[3] != "*":
                self._check_size(int(found[3]))
            return Body(at=start, is_whole=False, chunks=response.iter_raw())
        if status == 200:
            length = response.headers.get("Content-Length", "")
            if length.isdigit():
                self._check_size(int(length))
            return Body(at=0, is_whole=True, chunks=response.iter_raw())
        _refuse(self._file, response)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes != self._file.size_bytes:
            _changed(self._file, f"it has {size_bytes:,} bytes now, not {self._file.size_bytes:,}")


def _refuse(file: RemoteFile, response: httpx2.Response) -> NoReturn:
    status = response.status_code
    if status in _PASSING:
        raise Interrupted(
            f"{response.url.host} answered {status}", wait_s=_asked_wait_s(response.headers)
        )
    if status == 416:
        _changed(file, "it is shorter now")
    if status in (401, 403):
        raise AccessNeeded(
            f"{file.name}: {response.url.host} answered {status}: it wants a token that may read "
            "it; set HF_TOKEN, or log in with: hf auth login"
        )
    raise FetchFailed(f"{file.name} cannot be fetched: {response.url.host} answered {status}")


def _changed(file: RemoteFile, how: str) -> NoReturn:
    raise FetchFailed(
        f"{file.name} was changed at {host_of(file.url)} while it was fetched: {how}; pull it again"
    )


def _asked_wait_s(headers: Mapping[str, str]) -> float:
    said = headers.get("Retry-After", "").strip()
    return min(float(said), _MOST_WAIT_S) if said.isdigit() else 0.0


def host_of(url: str) -> str:
    """The host of an address, for messages; addresses themselves may be signed."""
    return urlsplit(url).netloc.rpartition("@")[2]


def words_of(error: Exception) -> str:
    """A library's error in one line: its own words, or what kind it is where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
