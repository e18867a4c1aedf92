"""Keeps one daemon for each user among the places where clients look for it, and links them.

A login, cron, ssh and sudo give one user different variables, and so different default places for
the socket (`umad.socket_path.socket_places`). A daemon that was told of no socket looks at all of
them first, and leaves a link in the user's home, where every client looks. A socket that a service
manager has handed over is such a place, too. Not: the socket itself (`umad.daemon.socket_file`). A
socket that somebody names is that person's business alone.
"""

import fcntl
import logging
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from umad.daemon.socket_file import SocketFile, handed_out, is_owned, taken
from umad.errors import BadConfig
from umad.peer import peer_of
from umad.private_file import own_folder
from umad.socket_path import default_socket_path, socket_places

log = logging.getLogger(__name__)


def claim_socket(
    named: str | None,
    environ: Mapping[str, str],
    platform: str,
    handed: socket.socket | None = None,
) -> SocketFile:
    """The socket to listen on. named: the one of the settings. handed: the one that a service
    manager listens on already.

    Raises `AlreadyRunning` where this user has a daemon already, `BadConfig` where nobody can have
    the socket.
    """
    if handed is not None:
        return _adopt(handed, named, environ, platform)
    if named is not None:
        path = Path(named).expanduser()
        _refuse_manager(path)
        return SocketFile.claim(path)
    own = Path(default_socket_path(environ, platform))
    places = [Path(one) for one in socket_places(environ, platform, os.getuid())]
    _refuse_second(places)
    _remove_link(own)
    return _settled(SocketFile.claim(own), places, environ)


def refuse_other_daemon(named: str | None, environ: Mapping[str, str], platform: str) -> None:
    """Raise `AlreadyRunning` where this user's daemon, or another one on the `named` socket, runs.

    Only for a moment at which no service manager listens there: it would start a daemon.
    """
    if named is not None:
        _refuse_second([Path(named).expanduser()])
        return
    _refuse_second([Path(one) for one in socket_places(environ, platform, os.getuid())])


def _adopt(
    handed: socket.socket, named: str | None, environ: Mapping[str, str], platform: str
) -> SocketFile:
    found = SocketFile.adopt(handed)
    try:
        if named is not None:
            if not _is_same(Path(named).expanduser(), found.path):
                raise BadConfig(
                    f"the service manager listens on {found.path}, and the configuration names "
                    f"{named}: write the units again with umad service install",
                    field="socket",
                )
            return found
        places = [Path(one) for one in socket_places(environ, platform, os.getuid())]
    except BaseException:
        found.close()
        raise
    if not any(_is_same(one, found.path) for one in places):
        return found  # somebody's own choice, like a socket with a name
    return _settled(found, places, environ)


def _settled(found: SocketFile, places: Sequence[Path], environ: Mapping[str, str]) -> SocketFile:
    """The socket, once no other daemon of the user is left and there is a link at home."""
    try:
        # Once more: another one may have begun at the same moment in another place.
        _refuse_second([one for one in places if not _is_same(one, found.path)])
        for place in places:
            # What is there may be a link to this very socket, which a killed daemon has left.
            is_itself = _is_same(place, found.path) and not place.is_symlink()
            if place != found.path and not is_itself and _is_at_home(place, environ):
                found.link = _link(place, found.path)
    except BaseException:
        found.close()
        raise
    return found


def _refuse_second(places: Sequence[Path]) -> None:
    for place in places:
        pid = _listener(place)
        if pid is not None:
            real = Path(os.path.realpath(place))
            if is_owned(real):
                raise taken(real, str(pid or "").encode())
            raise handed_out(real)


def _refuse_manager(path: Path) -> None:
    """Refuse a path on which somebody listens who is no daemon: what lies there would be replaced,
    and a service manager would go on listening where no client comes.
    """
    if _listener(path) is not None and not is_owned(Path(os.path.realpath(path))):
        raise handed_out(path)


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
