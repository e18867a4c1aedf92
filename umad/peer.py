"""Asks the kernel which process is at the other end of a Unix socket; either end may ask.

For a connecting process the answer is who it is now. For a listening process the answer is who it
was when it began to listen (unix(7), SO_PEERCRED; macOS: getpeereid(3), not run there).
Not: what the peer may do (`umad.daemon.identity`) or whether a client trusts it
(`umad.client.trust`).
"""

import os
import socket
import struct
import sys
from dataclasses import dataclass

# sys/un.h of the BSDs and macOS; Python's socket module has no names for them.
_SOL_LOCAL = 0
_LOCAL_PEERCRED = 0x001
_LOCAL_PEERPID = 0x002
_XUCRED = struct.Struct("@IIh16I")  # cr_version, cr_uid, cr_ngroups, cr_groups[NGROUPS]
_UCRED = struct.Struct("@3i")  # pid, uid, gid; unix(7), SO_PEERCRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The user and process of a peer, at the moment it connected."""

    uid: int
    # 0 where the kernel does not tell.
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
