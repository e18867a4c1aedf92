"""Finds the daemon's socket among the places where one of this user may listen.

With one place there is nothing to find. Of several, the first wins at which a trusted process
listens; a socket that a dead daemon has left is passed over. Not: the list of places
(`umad.socket_path`), nor the connection, which checks its peer once more.
"""

import os
import socket
import stat
from collections.abc import Sequence

from umad.client.trust import check_folder, check_peer, trusted_owners
from umad.errors import Refused


def find_socket(places: Sequence[str], owner: str | None) -> str:
    """The place to connect to. owner: as `ClientOptions.socket_owner`.

    Where nobody listens, it is the first place with a socket, or the first of all, so that an error
    names it.
    """
    if len(places) == 1:
        return places[0]
    found = [path for path in places if _is_socket(path)]
    if len(found) > 1:
        owners = trusted_owners(owner, os.environ)
        found = [path for path in found if _answers(path, owners)] or found
    return found[0] if found else places[0]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _answers(path: str, owners: frozenset[int]) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            check_folder(path, owners)
            probe.connect(path)
            check_peer(probe.fileno(), path, owners)
        except BlockingIOError:  # somebody listens, and has no room for a moment
            return True
        except (OSError, Refused):
            return False
    return True
