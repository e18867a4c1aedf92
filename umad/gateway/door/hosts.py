"""Checks Host and Origin, so that no foreign web page can use the gateway.

DNS rebinding: a page's own name is made to point at this gateway, and the browser sends that name
as Host. So Host must be a name or address of this gateway: one of this machine's own, one of
`--gateway-hosts`, or, where it listens beyond this machine, any numeric address: no DNS name can be
made to look like one. This machine's own names are those that nobody on the internet can give a
page: `localhost`, its host name, that name in the domains of networks at home (`.local`, `.lan`),
and the names by which containers and virtual machines call their host, which end in `.internal`, a
domain that is never delegated (ICANN, 2024).

Browsers send Origin with every POST and with everything a page asks of another origin. Origin must
be exactly the address that is asked, port included, or be on the CORS list. Another page on
localhost, for example a dev server on port 3000, is a foreign origin like any other. A page can
send a GET without Origin, as an image or a script; browsers then name its source in
Sec-Fetch-Site. Pure.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from umad.gateway.errors import Forbidden
from umad.web_origin import OriginPattern, as_flag

_QUOTED_CHARS = 128
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})
# What Docker, Podman, Lima, OrbStack and Rancher Desktop call the machine they run on.
_HOST_NAMES = frozenset(
    {
        "host.docker.internal",
        "gateway.docker.internal",
        "host.containers.internal",
        "host.lima.internal",
        "host.orb.internal",
        "host.rancher-desktop.internal",
    }
)
# Domains of networks at home, which nobody on the internet can have a name in: mDNS (RFC 6762), RFC
# 8375, ICANN's for private use, and those of common routers, which are not delegated.
_HOME_DOMAINS = ("local", "home.arpa", "internal", "lan", "localdomain")
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
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


def names_of(host_name: str) -> tuple[str, ...]:
    """The names of the machine that is called `host_name`: this one, its first label, and that in
    the domains of networks at home.
    """
    name = host_name.lower().rstrip(".")
    first = name.partition(".")[0]
    if not first:
        return ()
    return tuple(dict.fromkeys((name, first, *(f"{first}.{one}" for one in _HOME_DOMAINS))))


class HostRule:
    """Which Hosts and Origins are accepted.

    `names` are Host names besides `localhost`. `origins` are patterns of pages that may ask
    (`umad.web_origin`).
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
        self._origins = tuple(OriginPattern.read(one) for one in origins)
        self._any_host = any_host
        self._any_address = any_address

    @property
    def lists_pages(self) -> bool:
        """Whether any page of another origin is allowed."""
        return bool(self._origins)

    @property
    def allows_every_page(self) -> bool:
        """Whether pages of all origins are allowed, by `*`."""
        return any(one.is_any for one in self._origins)

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
        name = host_of(host or "").lower()
        if not self._any_host and not self._is_own(name):
            flag = f"--gateway-hosts {name}" if _NAME.fullmatch(name) else "--gateway-hosts"
            raise Forbidden(
                f"this gateway does not answer to Host {(host or '')[:_QUOTED_CHARS]!r}; "
                f"if that is a name of this machine, say so with {flag}"
            )
        if origin is not None:
            self.check_origin(origin, host)
        elif site in ("cross-site", "same-site") and mode != "navigate":
            raise Forbidden(
                "pages of other origins may not use this gateway unseen, as an image or a script: "
                "ask with fetch(), which says whose page it is, and allow that with --cors-origin"
            )

    def check_origin(self, origin: str, host: str | None) -> None:
        """Raise `Forbidden` unless a page of `origin` may ask the gateway at `host`. The text has
        the flag that would allow it.
        """
        if self.allows_origin(origin, host):
            return
        flag = as_flag(origin)
        advice = f"allow them with {flag}" if flag else "no --cors-origin can allow them"
        if origin == "null":
            advice += ": every sandboxed page and file says null; serve the page from an address"
        raise Forbidden(f"pages of {origin[:_QUOTED_CHARS]!r} may not use this gateway; {advice}")

    def allows_origin(self, origin: str, host: str | None) -> bool:
        """Whether a page of `origin` may ask the gateway at `host`. `null` is the origin of every
        sandboxed page and is never allowed.
        """
        if origin.lower().rstrip("/") == "null":
            return False
        return self.lists(origin) or self.is_same_origin(origin, host)

    def lists(self, origin: str) -> bool:
        """Whether `--cors-origin` allows pages of `origin`."""
        return any(one.fits(origin) for one in self._origins)

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
        if is_loopback(name) or name in self._names or name in _HOST_NAMES:
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
