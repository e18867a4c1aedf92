"""Says which addresses may be asked for a file that a request names. Pure but for `is_own`.

Public unicast addresses are allowed, and those of networks that the machine's user has listed.
Everything else is refused: loopback, private and link-local networks (a cloud's metadata too),
multicast, addresses for tests and documents, and public ones of this machine and of those beside
it, which reach services past a firewall. An IPv6 address with an IPv4 one inside is judged by that.
Sources: the IANA special-purpose registries, as `ipaddress` has them; RFC 4291, RFC 6052.
"""

import ipaddress
import socket
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Public servers are asked at these ports alone: others belong to other protocols.
PORTS = frozenset((80, 443, 8080, 8443))
# The only addresses of IPv6 that are given out for single hosts.
_UNICAST = ipaddress.IPv6Network("2000::/3")
# No hosts are among them: tunnels through IPv4 (6to4, and Teredo within what the IETF keeps for
# protocols), and addresses of documents, which older tables of Python do not have (RFC 9637).
_NO_HOSTS = tuple(
    ipaddress.IPv6Network(one) for one in ("2002::/16", "2001::/23", "2001:db8::/32", "3fff::/20")
)
# An IPv4 address as a network of IPv6 alone reaches it.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_DISCARD_PORT = 9
# Addresses with so many first bits in common are taken for one network. How large a network of
# public addresses really is, the system tells in no way that all systems have.
_NEAR_BITS = {4: 24, 6: 64}


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation. Raises `ValueError`."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_listed(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks that the machine's user has listed."""
    plain = _plain(address)
    return any(plain in network for network in networks if network.version == plain.version)


def is_public(address: Address) -> bool:
    """Whether an address is a public server's."""
    plain = _plain(address)
    if not plain.is_global or plain.is_multicast:
        return False
    if isinstance(plain, ipaddress.IPv4Address):
        return True
    return plain in _UNICAST and not any(plain in one for one in _NO_HOSTS)


def is_own(address: Address) -> bool:
    """Whether an address is this machine's own, or of a machine beside it."""
    plain = _plain(address)
    own = _asks_from(plain)
    return own is not None and is_beside(plain, own)


def is_beside(address: Address, own: Address) -> bool:
    """Whether an address is in the network of this machine's address `own`. With IPv6 the machines
    of a home have public addresses, which differ in their last 64 bits.
    """
    if address.version != own.version:
        return False
    return address in ipaddress.ip_network((own, _NEAR_BITS[own.version]), strict=False)


def _asks_from(address: Address) -> Address | None:
    """The address of this machine from which the system would send to `address`; None where it
    knows no way. Nothing is sent to find that out."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _DISCARD_PORT))
            return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])
    except OSError:
        return None


def _plain(address: Address) -> Address:
    """The IPv4 address inside of an IPv6 one, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
