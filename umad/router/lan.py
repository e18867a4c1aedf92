"""Announces a router in its local network, and finds those that are announced there (mDNS).

A hint and nothing more: everybody in the network may announce anything. Whoever joins still needs a
token, and asks only a router with the certificate that the token names
(`umad.router.invitations`). So what is found here saves a person from typing an address.

Not: joining (`umad.router.joining`). It needs the extra `umad[lan]`.
Owner: the loop of its caller.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from umad.errors import BadConfig, Unsupported
from umad.version import __version__

SERVICE: Final = "_umad._tcp.local."
_MOST_FOUND: Final = 256
_MOST_CHARS: Final = 200
_AUTHORITY_CHARS: Final = 8
_NAME: Final = re.compile(r"[^A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A router that says that it is there."""

    name: str
    # Where machines join.
    host: str
    port: int
    # What it says of itself: the beginning of its authority's fingerprint, and its version.
    authority: str = ""
    version: str = ""


def _zeroconf() -> Any:
    try:
        import zeroconf.asyncio  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Unsupported(
            "the local network is looked at by a package that is not installed: pip install "
            "'umad[lan]'"
        ) from error
    return zeroconf


@contextlib.asynccontextmanager
async def announced(
    name: str, port: int, *, authority: str, interfaces: Sequence[str] = ()
) -> AsyncIterator[None]:
    """The router is announced meanwhile, and takes its leave at the end.

    interfaces: addresses of this machine; all of it if none is given. Raises `Unsupported` without
    the package, `BadConfig` where the network takes no announcement.
    """
    zeroconf = _zeroconf()
    chosen = list(interfaces) or zeroconf.InterfaceChoice.All
    addresses = list(interfaces) or _own_addresses(zeroconf)
    info = zeroconf.ServiceInfo(
        SERVICE,
        # Two routers may have one name, and no two have one authority.
        f"{_plain(name)}-{_plain(authority)[:_AUTHORITY_CHARS]}.{SERVICE}",
        port=port,
        parsed_addresses=addresses,
        properties={
            "name": name[:_MOST_CHARS],
            "authority": authority,
            "version": __version__,
            "kind": "router",
        },
    )
    try:
        around = zeroconf.asyncio.AsyncZeroconf(interfaces=chosen)
    except OSError as error:
        raise BadConfig(f"announce: {error.strerror or error}", field="announce") from error
    try:
        await (await around.async_register_service(info, allow_name_change=True))
        yield
    finally:
        await around.async_unregister_all_services()
        await around.async_close()


async def look_around(within_s: float, *, interfaces: Sequence[str] = ()) -> list[Announced]:
    """What is announced now, by name. Raises `Unsupported` and `BadConfig` as above."""
    zeroconf = _zeroconf()
    names: set[str] = set()

    def heard(*, name: str, state_change: Any, **_: Any) -> None:
        if state_change is zeroconf.ServiceStateChange.Removed:
            names.discard(name)
        elif len(names) < _MOST_FOUND:
            names.add(name)

    try:
        around = zeroconf.asyncio.AsyncZeroconf(
            interfaces=list(interfaces) or zeroconf.InterfaceChoice.All
        )
    except OSError as error:
        raise BadConfig(f"the network cannot be looked at: {error.strerror or error}") from error
    browser = zeroconf.asyncio.AsyncServiceBrowser(around.zeroconf, SERVICE, handlers=[heard])
    try:
        await asyncio.sleep(within_s)
        found = await asyncio.gather(*(_told(zeroconf, around, name) for name in sorted(names)))
    finally:
        await browser.async_cancel()
        await around.async_close()
    return [one for one in found if one is not None]


async def _told(zeroconf: Any, around: Any, name: str) -> Announced | None:
    info = zeroconf.asyncio.AsyncServiceInfo(SERVICE, name)
    if not await info.async_request(around.zeroconf, 1000) or not info.port:
        return None
    addresses = info.parsed_addresses(zeroconf.IPVersion.V4Only) or info.parsed_addresses()
    if not addresses:
        return None
    said = {_text(key): _text(value or b"") for key, value in (info.properties or {}).items()}
    return Announced(
        name=said.get("name") or name.removesuffix(f".{SERVICE}")[:_MOST_CHARS],
        host=addresses[0],
        port=info.port,
        authority=said.get("authority", ""),
        version=said.get("version", ""),
    )


def _own_addresses(zeroconf: Any) -> list[str]:
    """Addresses at which others may reach this machine."""
    found = zeroconf.get_all_addresses()
    return [one for one in found if not one.startswith("127.")] or list(found)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")[:_MOST_CHARS]


def _plain(name: str) -> str:
    """A label of DNS of it."""
    return _NAME.sub("-", name or socket.gethostname())[:48].strip("-") or "umad"
