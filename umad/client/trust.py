"""Checks, before a client sends its first byte, that a trusted user listens on the socket.

A prompt goes to whichever process listens. The kernel names its user, who must be this user, root,
or the user that was configured (a service's). Not: the daemon's own check (`umad.daemon.identity`).
"""

import os
import pwd
import shlex
import stat
from collections.abc import Mapping

from umad.errors import BadConfig, Refused
from umad.peer import peer_of

OWNER_VARIABLE = "UMAD_SOCKET_OWNER"
_ROOT = 0
_UID_CHARS = 10


def trusted_owners(named: str | None, environ: Mapping[str, str]) -> frozenset[int]:
    """The users whose daemons are trusted.

    named: one more user, by name or number; None for the variable's value. Raises `BadConfig` where
    there is no such user.
    """
    own = {os.geteuid(), _ROOT}
    if owner := named or environ.get(OWNER_VARIABLE):
        own.add(_uid(owner))
    return frozenset(own)


def check_folder(path: str, owners: frozenset[int]) -> None:
    """Raise `Refused` where others may replace the socket at `path`, or the file it links to.

    A missing folder is no error here; connect(2) reports it.
    """
    for folder in {os.path.dirname(os.path.abspath(path)), os.path.dirname(os.path.realpath(path))}:
        try:
            found = os.stat(folder)
        except OSError:
            continue
        if found.st_uid not in owners:
            raise Refused(
                f"the socket's folder {folder} belongs to {_user(found.st_uid)}, so nothing was "
                f"sent; set UMAD_SOCKET, or {OWNER_VARIABLE} to that user if you trust it"
            )
        # In a sticky folder only a socket's owner may replace the socket.
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
            raise Refused(
                f"others may write to the socket's folder, so nothing was sent: "
                f"chmod go-w {shlex.quote(folder)}"
            )


def check_peer(fd: int, path: str, owners: frozenset[int]) -> None:
    """Raise `Refused` where the listening process belongs to an untrusted user.

    fd: connected. Raises `OSError` where the process has gone.
    """
    uid = peer_of(fd).uid
    if uid not in owners:
        raise Refused(
            f"{_user(uid)} listens on {path}, so nothing was sent; run a daemon of your own, or "
            f"set {OWNER_VARIABLE} to that user if you trust it"
        )


def _uid(owner: str) -> int:
    if owner.isascii() and owner.isdecimal() and len(owner) <= _UID_CHARS:
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise BadConfig(
            f"{OWNER_VARIABLE} names {owner!r}, and there is no such user", field="socket_owner"
        ) from None


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid {uid}"
