"""Reads the address of a router or a gateway: HTTP, HTTPS, or a Unix socket.

Not: connecting to it. Pure but for the certificates, which are read once.
"""

import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from typing_extensions import override

from umad.errors import BadConfig

_UNIX = "unix:"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAddress:
    """Where to connect."""

    # "" for a Unix socket.
    host: str = ""
    port: int = 0
    # The path of a Unix socket; "" for TCP.
    path: str = ""
    # None: no TLS.
    tls: ssl.SSLContext | None = None
    # What stands in the header Host.
    authority: str = "localhost"
    # Sent as `Authorization: Bearer KEY`; None for none. Never shown.
    key: str | None = field(default=None, repr=False)

    @override
    def __str__(self) -> str:
        return f"{_UNIX}{self.path}" if self.path else self.authority


def remote_address(
    text: str, *, key: str | None = None, tls: ssl.SSLContext | None = None
) -> RemoteAddress:
    """The address of `https://HOST[:PORT]`, `http://HOST[:PORT]` or `unix:PATH`.

    tls: certificates of one's own; None for those that the system trusts. Raises `BadConfig`, also
    for a key that would travel in the clear.
    """
    if key is not None and (not key.isascii() or not key.isprintable() or " " in key):
        raise BadConfig("the key has characters that no HTTP header can have", field="key")
    if text.startswith(_UNIX):
        return RemoteAddress(path=text.removeprefix(_UNIX), key=key)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    more = parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not host or more:
        # Somebody's password may be in what was written.
        shown = "this" if "@" in text else repr(text)
        raise BadConfig(
            f"{shown} is no address: write https://HOST[:PORT], http://HOST[:PORT] or unix:PATH",
            field="address",
        )
    if "@" in parts.netloc:
        raise BadConfig("an address has no user and no password: a key is `key`", field="address")
    is_secure = parts.scheme == "https"
    if key is not None and not is_secure and not _is_loopback(host):
        raise BadConfig(
            f"a key for {host} would travel where others can read it: write https://",
            field="address",
        )
    return RemoteAddress(
        host=host,
        port=port or (443 if is_secure else 80),
        tls=(tls or ssl.create_default_context()) if is_secure else None,
        authority=parts.netloc,
        key=key,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
