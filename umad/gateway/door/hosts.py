"""Host and Origin: a web page must not reach a gateway on this machine by a name of its own.

DNS rebinding: a page's own name comes to point at 127.0.0.1, and the browser sends that name as
Host and Origin. So Host has to be a name or address this gateway is known by, and Origin, which
only browsers send, has to be one of those or of the CORS list. Pure.
"""

import ipaddress
from urllib.parse import urlsplit

from umad.gateway.errors import Forbidden

_QUOTED_CHARS = 128
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})


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
    """names: Host names besides this machine's own. origins: pages that may ask, or `*`.

    any_host: a Unix socket, or an address that others reach under names nobody can know; the
    second needs a key anyhow.
    """

    def __init__(
        self, *, names: tuple[str, ...], origins: tuple[str, ...], any_host: bool = False
    ) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._origins = frozenset(one.lower().rstrip("/") for one in origins)
        self._any_host = any_host

    def check(self, host: str | None, origin: str | None) -> None:
        """Raise `Forbidden` unless both may be answered."""
        if not self._any_host and not self._is_own(host_of(host or "")):
            raise Forbidden(
                f"this gateway does not answer to Host {(host or '')[:_QUOTED_CHARS]!r}; "
                "name it with --gateway-hosts"
            )
        if origin is not None and not self.allows_origin(origin):
            raise Forbidden(
                f"pages of {origin[:_QUOTED_CHARS]!r} may not use this gateway; "
                "allow them with --cors-origin"
            )

    def allows_origin(self, origin: str) -> bool:
        """Whether a page of `origin` may ask. `null` is every sandboxed page and never may."""
        lowered = origin.lower().rstrip("/")
        if lowered in self._origins or "*" in self._origins:
            return True
        try:
            parts = urlsplit(lowered)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and self._is_own(parts.hostname or "")

    def _is_own(self, name: str) -> bool:
        name = name.lower()
        return is_loopback(name) or name in self._names
