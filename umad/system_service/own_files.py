"""Writes and removes the files of a service: those that umad has written, and no others.

A file is umad's own when it has `MARK` in it. One without it, or a link, is somebody's: it is part
of a package, of a system described in files, or written by hand. Not: what stands in them.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from umad.errors import BadConfig
from umad.private_file import write_own

MARK = b"umad service install"
# A longer file is not umad's.
_MOST_BYTES = 2**16


def write_files(files: Mapping[Path, bytes]) -> list[Path]:
    """Write what is not there already, and return which those were. All or none is refused:
    `BadConfig` where one is somebody else's.
    """
    changed = changed_files(files)
    for path in changed:
        try:
            write_own(path, files[path])
        except OSError as error:
            raise BadConfig(f"{path} cannot be written: {error.strerror}") from error
    return changed


def changed_files(files: Mapping[Path, bytes]) -> list[Path]:
    """Those that `write_files` would write. `BadConfig` where one is somebody else's."""
    before = {path: _read(path) for path in files}
    return [path for path, data in files.items() if before[path] != data]


def present_files(paths: Sequence[Path]) -> list[Path]:
    """Those that are there. `BadConfig` where one is somebody else's."""
    return [path for path in paths if _read(path) is not None]


def remove_files(paths: Sequence[Path]) -> bool:
    """Remove those that are there; False where none was. All or none is refused: `BadConfig` where
    one is somebody else's.
    """
    found = present_files(paths)
    for path in found:
        try:
            path.unlink()
        except OSError as error:
            raise BadConfig(f"{path} cannot be removed: {error.strerror}") from error
    return bool(found)


def _read(path: Path) -> bytes | None:
    """What stands in a file of umad's own; None where there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link
            raise _not_ours(path) from error
        raise BadConfig(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _not_ours(path)
    with open(fd, "rb") as file:
        data = file.read(_MOST_BYTES)
    if MARK not in data:
        raise _not_ours(path)
    return data


def _not_ours(path: Path) -> BadConfig:
    return BadConfig(
        f"{path} was not written by umad service install: remove it, or use what it is part of"
    )
