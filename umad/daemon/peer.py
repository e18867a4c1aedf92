"""What the kernel says of the process at the other end of a Unix socket.

The platform seam of the daemon: the only file in it that asks which system it runs on.
Not: what the peer may do or which lane it gets (`umad.daemon.identity`).
"""

import os
import socket
import struct
import sys
from dataclasses import dataclass

import psutil

# sys/un.h of the BSDs and macOS; Python's socket module has no names for them.
_SOL_LOCAL = 0
_LOCAL_PEERCRED = 0x001
_LOCAL_PEERPID = 0x002
_XUCRED = struct.Struct("@IIh16I")  # cr_version, cr_uid, cr_ngroups, cr_groups[NGROUPS]
_UCRED = struct.Struct("@3i")  # pid, uid, gid; unix(7), SO_PEERCRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who connected, as of the moment it did. pid: 0 where the kernel does not tell."""

    uid: int
    pid: int


def peer_of(fd: int) -> Peer:
    """The peer of the connected Unix socket `fd`, which stays the caller's.

    Raises `OSError` where the kernel no longer knows (the peer has gone).
    """
    with socket.socket(fileno=os.dup(fd)) as sock:
        if sys.platform == "linux":
            pid, uid, _ = _UCRED.unpack(
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            )
            return Peer(uid=uid, pid=pid)
        _, uid, *_ = _XUCRED.unpack(sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
        pid = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
        return Peer(uid=uid, pid=pid)


def process_path(pid: int) -> str | None:
    """Path of a process's executable, None where it has gone or may not be looked at."""
    try:
        return psutil.Process(pid).exe() or None
    except (psutil.Error, ValueError, OSError):
        return None


def process_name(pid: int) -> str | None:
    """Name of a process, None where it has gone or may not be looked at."""
    try:
        return psutil.Process(pid).name() or None
    except (psutil.Error, ValueError):
        return None
