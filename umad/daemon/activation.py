"""Takes the listening socket that a service manager has made for the daemon, as sd_listen_fds(3)
describes it.

systemd listens on the daemon's socket, starts the daemon at the first connection, and gives it the
socket as descriptor 3. It keeps the socket itself, too. So clients that connect while the daemon is
ended and started again wait in the socket's queue, and see no error.

Not: the lock beside the socket, nor one daemon for each user (`umad.daemon.socket_places`).
"""

import os
import socket
from collections.abc import MutableMapping

from umad.errors import BadConfig

# SD_LISTEN_FDS_START.
_FIRST_FD = 3
_PID, _COUNT = "LISTEN_PID", "LISTEN_FDS"
_OTHERS = ("LISTEN_FDNAMES", "LISTEN_PIDFDID")


def handed_socket(
    environ: MutableMapping[str, str], pid: int, *, first_fd: int = _FIRST_FD
) -> socket.socket | None:
    """The socket that was handed to the process `pid`; None where there is none.

    The variables are removed, because a child of the daemon would take its own descriptors for
    them. Raises `BadConfig` where something else than one listening Unix socket was handed over.
    """
    listen_pid, count = environ.pop(_PID, ""), environ.pop(_COUNT, "")
    for name in _OTHERS:
        environ.pop(name, None)
    # They may be left over from a parent that did not remove them.
    if listen_pid != str(pid) or count in ("", "0"):
        return None
    if count != "1":
        raise _refused(f"{count} sockets")
    try:
        os.set_inheritable(first_fd, False)
        sock = socket.socket(fileno=first_fd)
    except OSError as error:
        raise _refused(f"descriptor {first_fd}, which is no socket") from error
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        sock.close()
        raise _refused("a socket that is no Unix stream socket")
    name = sock.getsockname()
    # An abstract name is bytes: nobody but its maker could be trusted there.
    if not isinstance(name, str) or not name:
        sock.close()
        raise _refused("a socket without a path")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise _refused("a connection, where umad takes the listening socket (Accept=no)")
    sock.setblocking(False)
    return sock


def _refused(what: str) -> BadConfig:
    return BadConfig(
        f"the service manager hands over {what}; umad takes one listening Unix socket: write its "
        "units with umad service install",
        field="socket",
    )
