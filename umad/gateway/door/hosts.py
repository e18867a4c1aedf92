"""Checks Host and Origin, so that no foreign web page can use the gateway.

DNS rebinding: a page's own name is made to point at this gateway, and the browser sends that name
as Host. So Host must be a name or address of this gateway: one of this machine's own, one of
`--gateway-hosts`, or, where it listens beyond this machine, any numeric address: no DNS name can be
made to look like one.

Browsers send Origin with every POST and with everything a page asks of another origin. Origin must
be exactly the address that is asked, port included, or be on the CORS list. Another page on
localhost, for example a dev server on port 3000, is a foreign origin like any other. A page can
send a GET without Origin, as an image or a script; browsers then name its source in
Sec-Fetch-Site. Pure.
"""

import ipaddress
from urllib.parse import urlsplit

from umad.gateway.errors import Forbidden

_QUOTED_CHARS = 128
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})
_DEFAULT_PORTS = (":80", ":443")


def is_loopback(host: str) -> bool:
    """Whether an address or name can only be reached from this machine."""
    if host in _LOCAL_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets; empty where there is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class HostRule:
    """Which Hosts and Origins are accepted.

    `names` are Host names besides this machine's own. `origins` are pages that may ask, or `*`.
    `any_host`: accept every Host, on a Unix socket or with keys, because a rebound page has no key.
    `any_address`: accept every address, because the gateway listens beyond this machine, under
    addresses that cannot be listed.
    """

    def __init__(
        self,
        *,
        names: tuple[str, ...],
        origins: tuple[str, ...],
        any_host: bool = False,
        any_address: bool = False,
    ) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._origins = frozenset(one.lower().rstrip("/") for one in origins)
        self._any_host = any_host
        self._any_address = any_address

    def check(
        self,
        host: str | None,
        origin: str | None,
        site: str | None = None,
        mode: str | None = None,
    ) -> None:
        """Raise `Forbidden` unless the request may be answered. `site` and `mode` are
        Sec-Fetch-Site and Sec-Fetch-Mode, if the browser sends them.
        """
        if not self._any_host and not self._is_own(host_of(host or "")):
            raise Forbidden(
                f"this gateway does not answer to Host {(host or '')[:_QUOTED_CHARS]!r}; "
                "name it with --gateway-hosts"
            )
        if origin is not None:
            if not self.allows_origin(origin, host):
                raise Forbidden(
                    f"pages of {origin[:_QUOTED_CHARS]!r} may not use this gateway; "
                    "allow them with --cors-origin"
                )
        elif site in ("cross-site", "same-site") and mode != "navigate":
            raise Forbidden("pages of other origins may not use this gateway unseen")

    def allows_origin(self, origin: str, host: str | None) -> bool:
        """Whether a page of `origin` may ask the gateway at `host`. `null` is the origin of every
        sandboxed page and is never allowed.
        """
        lowered = origin.lower().rstrip("/")
        if lowered == "null":
            return False
        return lowered in self._origins or "*" in self._origins or self.is_same_origin(origin, host)

    def is_same_origin(self, origin: str, host: str | None) -> bool:
        """Whether the page came from exactly the address that it asks. The scheme is not compared:
        a proxy before the gateway may speak TLS.
        """
        try:
            parts = urlsplit(origin.lower().rstrip("/"))
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        return _place(parts.netloc) == _place((host or "").lower())

    def _is_own(self, name: str) -> bool:
        name = name.lower()
        if is_loopback(name) or name in self._names:
            return True
        return self._any_address and _is_address(name)


def _place(netloc: str) -> str:
    """Name and port; the scheme's own port is left out."""
    for port in _DEFAULT_PORTS:
        netloc = netloc.removesuffix(port)
    return netloc


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
