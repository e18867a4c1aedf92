"""Checks the places of the socket: folder, owner, permissions, and who listens."""

import os
import shlex
import stat
from pathlib import Path

from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.errors import BadConfig
from umad.socket_path import check_socket_path, socket_places

CHECK = "socket"
_FOLDER_MODE = 0o700


def check(around: Surroundings) -> list[Finding]:
    """Look at every place where a daemon of this user may listen."""
    named = around.socket or around.settings.socket
    try:
        if named is not None:
            path = os.path.expanduser(named)
            places: tuple[str, ...] = (check_socket_path(path, around.platform),)
        else:
            places = socket_places(around.environ, around.platform, os.getuid())
    except BadConfig as error:
        return [wrong(CHECK, error.message, error.message, mend="export UMAD_SOCKET=~/umad.sock")]
    found = [one for place in places for one in _place(Path(place))]
    if not found:
        own = Path(places[0]).parent
        found.append(good(CHECK, f"no folder yet; umad serve makes {own}, for you alone", str(own)))
    return found


def _place(place: Path) -> list[Finding]:
    folder = place.parent
    try:
        mode = folder.stat()
    except OSError:
        return []  # it is made when it is needed
    quoted = shlex.quote(str(folder))
    if not stat.S_ISDIR(mode.st_mode):
        return [
            wrong(CHECK, f"{folder} is no folder", str(folder), mend=f"mv {quoted} {quoted}.old")
        ]
    if mode.st_uid not in (os.getuid(), 0):
        return [
            wrong(
                CHECK,
                f"the folder of the socket belongs to another user (uid {mode.st_uid}): {folder}",
                str(folder),
                mend="export UMAD_SOCKET=~/umad.sock",
            )
        ]
    bits = stat.S_IMODE(mode.st_mode)
    if bits & (stat.S_IWGRP | stat.S_IWOTH) and not bits & stat.S_ISVTX:
        return [
            wrong(
                CHECK,
                f"others may write to the folder of the socket: {folder}",
                str(folder),
                mend=f"chmod go-w {quoted}",
            )
        ]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [
            wrong(
                CHECK,
                f"you may not write to the folder of the socket: {folder}",
                str(folder),
                mend=f"chmod u+rwx {quoted}",
            )
        ]
    return [*_file(place), _folder(folder, bits, quoted)]


def _folder(folder: Path, bits: int, quoted: str) -> Finding:
    if folder.name == "umad" and bits != _FOLDER_MODE:
        return note(
            CHECK,
            f"others may look into the folder of the socket: {folder} ({bits:04o})",
            str(folder),
            mend=f"chmod 700 {quoted}",
        )
    return good(CHECK, f"{folder} is yours alone to write to", str(folder))


def _file(place: Path) -> list[Finding]:
    try:
        found = os.lstat(place)
    except OSError:
        return []
    if stat.S_ISLNK(found.st_mode) and not os.path.exists(place):
        return [
            note(
                CHECK,
                f"{place} is a link to a daemon that has gone; the next one replaces it",
                str(place),
            )
        ]
    if not stat.S_ISSOCK(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        return [
            wrong(
                CHECK,
                f"{place} is there and is no socket",
                str(place),
                mend=f"mv {shlex.quote(str(place))} {shlex.quote(str(place))}.old",
            )
        ]
    return []
