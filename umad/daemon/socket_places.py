"""Keeps one daemon for each user among the places where clients look for it, and links them.

A login, cron, ssh and sudo give one user different variables, and so different default places for
the socket (`umad.socket_path.socket_places`). A daemon that was told of no socket looks at all of
them first, and leaves a link in the user's home, where every client looks. Not: the socket itself
(`umad.daemon.socket_file`). A socket that somebody names is that person's business alone.
"""

import fcntl
import logging
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from umad.daemon.socket_file import SocketFile, taken
from umad.peer import peer_of
from umad.private_file import own_folder
from umad.socket_path import default_socket_path, socket_places

log = logging.getLogger(__name__)


def claim_socket(named: str | None, environ: Mapping[str, str], platform: str) -> SocketFile:
    """The socket to listen on; `named` is the one of the settings.

    Raises `AlreadyRunning` where this user has a daemon already, `BadConfig` where nobody can have
    the socket.
    """
    if named is not None:
        return SocketFile.claim(Path(named).expanduser())
    own = Path(default_socket_path(environ, platform))
    places = [Path(one) for one in socket_places(environ, platform, os.getuid())]
    _refuse_second(places)
    _remove_link(own)
    found = SocketFile.claim(own)
    try:
        # Once more: another one may have begun at the same moment in another place.
        _refuse_second([one for one in places if not _is_same(one, own)])
        for place in places:
            if place != own and _is_at_home(place, environ):
                found.link = _link(place, own)
    except BaseException:
        found.close()
        raise
    return found


def _refuse_second(places: Sequence[Path]) -> None:
    for place in places:
        pid = _listener(place)
        if pid is not None:
            raise taken(Path(os.path.realpath(place)), str(pid or "").encode())


def _listener(place: Path) -> int | None:
    """The pid of this user's daemon that listens there, 0 for one unknown; None for nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(place))
            peer = peer_of(probe.fileno())
        except BlockingIOError:  # its queue is full
            return 0
        except OSError:
            return None
    return peer.pid if peer.uid == os.getuid() else None


def _is_same(place: Path, own: Path) -> bool:
    return os.path.realpath(place) == os.path.realpath(own)


def _is_at_home(place: Path, environ: Mapping[str, str]) -> bool:
    home = environ.get("HOME")
    return home is not None and place.is_relative_to(home)


def _link(place: Path, own: Path) -> Path | None:
    """A link to `own` at `place`; None where there can be none, which costs only that one place."""
    try:
        own_folder(place.parent)
        lock = os.open(
            f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            # A home may be shared: a daemon on another machine may listen there, and holds this.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            half = place.with_name(f"{place.name}.{os.getpid()}.half")
            half.unlink(missing_ok=True)
            half.symlink_to(own)
            if os.path.lexists(place) and not _is_socket_or_link(place):
                half.unlink()
                return None
            half.replace(place)
        finally:
            os.close(lock)
    except OSError as error:
        log.info("no link to the socket at home path=%s reason=%s", place, error)
        return None
    return place


def _is_socket_or_link(place: Path) -> bool:
    mode = os.lstat(place).st_mode
    return stat.S_ISSOCK(mode) or stat.S_ISLNK(mode)


def _remove_link(own: Path) -> None:
    """Remove what a daemon that died elsewhere has left at the place that is to be listened at."""
    if own.is_symlink() and os.path.basename(os.readlink(own)) == own.name:
        own.unlink()
