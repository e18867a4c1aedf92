"""Makes files and folders that only this user may use, and checks a file before it is read.

    read_named    a file the user named (configuration; keys, which are secret)
    read_own      a file umad made (what it measured, conversations it saved)
    write_own     replaces such a file, whole or not at all
    own_folder    makes the folder of such files

A file that another user may write could hold anything, and a file that another user may read is not
secret. Both are refused with the command that repairs it. All checks look at the descriptor that is
then read, because a name may lead elsewhere a moment later. Root is trusted, because it can do
anything.
Every error is an `OSError` whose `strerror` is written for people. Not: the content of a file.
"""

import errno
import grp
import os
import pwd
import shlex
import stat
from pathlib import Path

_ROOT = 0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


def read_named(path: Path, most_bytes: int, *, secret: bool = False) -> bytes:
    """At most `most_bytes` of a file that the user named; a pipe or device is read as it is."""
    _check_link(path)
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISREG(found.st_mode):
            _check_owner(found, path)
            _check_writers(found, path)
            if secret:
                _check_readers(found, path)
        return file.read(most_bytes)


def read_own(path: Path, most_bytes: int) -> bytes:
    """At most `most_bytes` of a file that umad made."""
    with open(open_own(path), "rb") as file:
        return file.read(most_bytes)


def open_own(path: Path) -> int:
    """A descriptor to read a file that umad made. Refuses links, pipes and other users' files."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _refused("it is no file", path)
        _check_owner(found, path)
        _check_writers(found, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_own(path: Path, data: bytes) -> None:
    """Replace a file by one that only this user may read; its folder is made where need be."""
    own_folder(path.parent)
    half = path.with_name(f"{path.name}.{os.getpid()}.half")
    half.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(os.open(half, flags, _FILE_MODE), "wb") as file:
            file.write(data)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def append_own(path: Path, data: bytes) -> None:
    """Add to a file that the user named; a missing file is made for this user alone."""
    with open(open_append(path), "ab") as file:
        file.write(data)


def open_append(path: Path) -> int:
    """A descriptor that adds to a file that the user named; a missing one is made for this user
    alone.
    """
    _check_link(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, _FILE_MODE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # without O_NONBLOCK this would wait for a reader
            raise _refused("it is a socket, or a pipe that nobody reads", path) from error
        raise
    try:
        os.set_blocking(fd, True)
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode):
            _check_owner(found, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def own_folder(folder: Path) -> None:
    """Make a folder that only this user may enter; an existing one must not be another user's."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    found = os.stat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise _refused("it is no folder", folder)
    _check_owner(found, folder)
    _check_writers(found, folder)


def _check_link(path: Path) -> None:
    """Accept a link like the file it leads to, unless another user made the link."""
    found = os.lstat(path) if os.path.lexists(path) else None
    if found is not None and stat.S_ISLNK(found.st_mode):
        _check_owner(found, path)


def _check_owner(found: os.stat_result, path: Path) -> None:
    if found.st_uid not in (os.geteuid(), _ROOT):
        raise _refused(f"it belongs to another user (uid {found.st_uid})", path)


def _check_writers(found: os.stat_result, path: Path) -> None:
    others = found.st_mode & _OTHERS_WRITE
    if others == stat.S_IWGRP and _is_own_group(found.st_gid):
        return
    if others:
        raise _refused("others may write to it", path, f"chmod go-w {shlex.quote(str(path))}")


def _check_readers(found: os.stat_result, path: Path) -> None:
    others = found.st_mode & (_OTHERS_READ | _OTHERS_WRITE)
    # A service manager hands secrets over in this way: the file is root's, and the service's group
    # may read it.
    if found.st_uid == _ROOT != os.geteuid() and others == stat.S_IRGRP:
        return
    if others:
        raise _refused("others may read it", path, f"chmod 600 {shlex.quote(str(path))}")


def _is_own_group(gid: int) -> bool:
    """Whether the group has this user alone, as many systems give every user such a group."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    is_own = user.pw_gid == gid and user.pw_name == group.gr_name
    return is_own and set(group.gr_mem) <= {user.pw_name}


def _refused(why: str, path: Path, mend: str = "") -> PermissionError:
    return PermissionError(errno.EACCES, f"{why}: {mend}" if mend else why, str(path))
