"""Finds the owner of a TCP connection on this machine in the kernel's tables: the platform seam.

    Linux   sock_diag(7), one question for one connection; else /proc/net/tcp and tcp6
    macOS   sysctl net.inet.tcp.pcblist64 (netinet/in_pcb.h, sys/socketvar.h); written from the
            headers and not run

A table is used only after it was right about a connection of our own. So a kernel that lacks the
table, or lays it out differently, gives "nobody can tell" and never a wrong user.
Not: what follows from the owner (`umad.gateway.door.entrance`). Any thread; it takes microseconds
where sock_diag answers, and a read of the whole table elsewhere.
"""

import ctypes
import ctypes.util
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

# Address and port.
End = tuple[str, int]
# The owner of the socket at the first end of the connection to the second; None: not known.
Lookup = Callable[[End, End], int | None]


def socket_owners() -> Lookup | None:
    """The lookup that works on this machine; None if there is none."""
    ways = (_pcblist,) if sys.platform == "darwin" else (_sock_diag, _proc_net)
    for lookup in ways:
        with suppress(OSError, ValueError, struct.error):
            if _is_right(lookup):
                return lookup
    return None


def _is_right(lookup: Lookup) -> bool:
    """Whether a lookup knows the two ends of a connection that is ours, and finds none for
    another.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
        listener.accept()[0] as far,
    ):
        client, server = near.getsockname(), far.getsockname()
        own = os.getuid()
        # No connection comes from this address, though the listener listens.
        nobody = lookup(server, ("127.0.0.2", client[1]))
        return lookup(client, server) == own == lookup(server, client) and nobody is None


def plain(address: str) -> str:
    """An address in the form in which addresses are compared: an IPv4 address inside an IPv6 one
    becomes that IPv4 address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


# -- Linux: sock_diag ------------------------------------------------------------------------------

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NO_COOKIE = b"\xff" * 8
_HEAD = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ASKED = struct.Struct("=BBBxI")  # inet_diag_req_v2: family, protocol, extensions, states
_PORTS = struct.Struct("!HH")
_STATE_AT, _ID_AT, _UID_AT = 16 + 1, 16 + 4, 16 + 64
_ANSWER_BYTES = 16 + 72
_LISTEN = 10
_DIAG_S = 1.0


def _sock_diag(near: End, far: End) -> int | None:
    """Ask the kernel for exactly these two ends. If there is no such connection it answers with a
    listener at the first end, so its answer is compared with the question.
    """
    mine, other = plain(near[0]), plain(far[0])
    family = socket.AF_INET6 if ":" in mine else socket.AF_INET
    ends = _packed(family, mine, near[1], other, far[1])
    body = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends + bytes(4) + _NO_COOKIE
    kind = socket.SOCK_RAW | getattr(socket, "SOCK_CLOEXEC", 0)
    with socket.socket(getattr(socket, "AF_NETLINK", 16), kind, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_DIAG_S)
        size = _HEAD.size + len(body)
        netlink.send(_HEAD.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body)
        answer = netlink.recv(1024)
    if len(answer) < _ANSWER_BYTES or _HEAD.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    if answer[_STATE_AT] == _LISTEN or not _is_same(answer, ends, family):
        return None
    uid, inode = struct.unpack_from("=II", answer, _UID_AT)
    return _of_open_socket(uid, inode)


def _packed(family: int, near: str, near_port: int, far: str, far_port: int) -> bytes:
    addresses = [socket.inet_pton(family, one).ljust(16, b"\0") for one in (near, far)]
    return _PORTS.pack(near_port, far_port) + b"".join(addresses)


def _is_same(answer: bytes, ends: bytes, family: int) -> bool:
    """Compare two addresses. The kernel finds an IPv6 socket that talks IPv4 by IPv4 addresses, and
    answers with IPv6 ones.
    """
    found = answer[_ID_AT : _ID_AT + len(ends)]
    if found == ends:
        return True
    if family != socket.AF_INET or found[:4] != ends[:4]:
        return False
    prefix = bytes(10) + b"\xff\xff"
    return all(found[at : at + 16] == prefix + ends[at : at + 4] for at in (4, 20))


def _of_open_socket(uid: int, inode: int) -> int | None:
    """The owner, if the socket is open. A socket whose process has closed it has no inode, and on
    many kernels the user 0: a caller that asks and leaves at once would be taken for root.
    """
    return uid if inode else None


# -- Linux: /proc ----------------------------------------------------------------------------------


def _proc_net(near: End, far: End) -> int | None:
    wanted = (plain(near[0]), near[1]), (plain(far[0]), far[1])
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
            for line in lines:
                words = line.split()
                if (_end_of(words[1]), _end_of(words[2])) == wanted:
                    return _of_open_socket(int(words[7]), int(words[9]))
    return None


def _end_of(word: str) -> End:
    """`0100007F:1F90`: words of four bytes in the machine's order, the port in plain order."""
    address, _, port = word.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    raw = b"".join(one.to_bytes(4, sys.byteorder) for one in words)
    return plain(str(ipaddress.ip_address(raw))), int(port, 16)


# -- macOS -----------------------------------------------------------------------------------------

# Offsets in struct xtcpcb64, packed to 4 bytes; struct xinpgen comes before and after them all.
_GEN_BYTES = 24
_FPORT_AT, _VFLAG_AT, _FADDR_AT, _LADDR_AT, _SO_UID_AT = 20, 96, 100, 116, 252
_INP_IPV4 = 1


def _pcblist(near: End, far: End) -> int | None:
    wanted = (plain(near[0]), near[1]), (plain(far[0]), far[1])
    for uid, ends in _pcbs(_sysctl(b"net.inet.tcp.pcblist64")):
        if ends == wanted:
            return uid
    return None


def _pcbs(table: bytes) -> Iterator[tuple[int, tuple[End, End]]]:
    """User and ends of every connection of the list."""
    at = struct.unpack_from("=I", table)[0]
    while at + _SO_UID_AT + 4 <= len(table):
        size = struct.unpack_from("=I", table, at)[0]
        if size <= _GEN_BYTES:
            return
        far_port, near_port = _PORTS.unpack_from(table, at + _FPORT_AT)
        is_ipv4 = bool(table[at + _VFLAG_AT] & _INP_IPV4)
        near, far = [_address(table, at + one, is_ipv4) for one in (_LADDR_AT, _FADDR_AT)]
        uid = struct.unpack_from("=I", table, at + _SO_UID_AT)[0]
        yield uid, ((near, near_port), (far, far_port))
        at += size


def _address(table: bytes, at: int, is_ipv4: bool) -> str:
    """IPv4 lies in the last four of the sixteen bytes."""
    raw = table[at + 12 : at + 16] if is_ipv4 else table[at : at + 16]
    return plain(str(ipaddress.ip_address(raw)))


def _sysctl(name: bytes) -> bytes:
    """Raises `OSError`."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    size = ctypes.c_size_t(0)
    if libc.sysctlbyname(name, None, ctypes.byref(size), None, 0):
        raise OSError(ctypes.get_errno(), "sysctlbyname")
    buffer = ctypes.create_string_buffer(size.value)
    if libc.sysctlbyname(name, buffer, ctypes.byref(size), None, 0):
        raise OSError(ctypes.get_errno(), "sysctlbyname")
    return buffer.raw[: size.value]
