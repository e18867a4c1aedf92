"""Checks the room on the disks that umad writes to: cache, models, sessions, answers, scorecard."""

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from umad.cache_path import cache_folder
from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.models.places.hugging_face import fetch_cache
from umad.models.store import store_folder

CHECK = "disk"
_GB = 1e9
# Below this a download or a session may fail; below the other, umad's small files do.
_LITTLE_BYTES, _NOTHING_BYTES = 5 * 10**9, 50 * 10**6

_FORGET = "umad forget --all removes saved sessions"
_REMOVE = "umad ls shows sizes, umad rm MODEL removes one"
_MENDS = {"models": _REMOVE, "models of the hub": _REMOVE}

Free = Callable[[Path], int]


def check(around: Surroundings) -> list[Finding]:
    """Look at each place once."""
    return findings(around, lambda path: int(psutil.disk_usage(str(path)).free))


def findings(around: Surroundings, free: Free) -> list[Finding]:
    """free: the bytes that this user may still write at a path that exists."""
    found: list[Finding] = []
    for what, path in _places(around):
        existing = next((one for one in (path, *path.parents) if os.path.exists(one)), Path("/"))
        try:
            free_bytes = free(existing)
        except OSError as error:
            found.append(note(CHECK, f"the disk of {what} cannot be asked: {error.strerror}"))
            continue
        if existing == path and not os.access(path, os.W_OK):
            found.append(
                wrong(
                    CHECK,
                    f"you may not write to the folder of {what}: {path}",
                    str(path),
                    mend=f"chmod u+w {shlex.quote(str(path))}",
                )
            )
        elif free_bytes < _NOTHING_BYTES:
            found.append(
                wrong(
                    CHECK,
                    f"{free_bytes / 1e6:.0f} MB are left for {what}",
                    mend=f"free some room: {_MENDS.get(what, _FORGET)}",
                )
            )
        elif free_bytes < _LITTLE_BYTES:
            found.append(note(CHECK, f"{free_bytes / _GB:.1f} GB are left for {what}"))
        elif what == "sessions" and free_bytes < around.settings.engine.session_bytes:
            found.append(
                note(
                    CHECK,
                    f"session_bytes allows {around.settings.engine.session_bytes / _GB:.1f} GB, "
                    f"and {free_bytes / _GB:.1f} GB are left",
                    mend="a smaller --session-bytes",
                )
            )
        else:
            found.append(good(CHECK, f"{free_bytes / _GB:.1f} GB are left for {what}"))
    return found


def _places(around: Surroundings) -> Iterator[tuple[str, Path]]:
    settings = around.settings
    yield "measurements", cache_folder(around.environ, around.platform)
    yield "models", store_folder(around.environ, around.platform)
    yield "models of the hub", fetch_cache(around.environ)
    if settings.engine.session_dir is not None:
        yield "sessions", Path(settings.engine.session_dir).expanduser()
    if settings.http.store is not None:
        yield "responses", Path(settings.http.store).expanduser().parent
    if settings.logging.scorecard_csv is not None:
        yield "the scorecard", Path(settings.logging.scorecard_csv).expanduser().parent
