"""Keeps the answers of libraries that were looked at, so that a start does not wait for a second.

An answer holds as long as none of the library's files changes: the library's own, and those of ggml
that it loads. What changes during the look is not remembered. A refusal is not kept, because what
mends it may lie elsewhere (a driver, a missing file). Not: the look (`asking`). Owner: the process
that starts; the last one to write wins.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.private_file import read_own, write_own

log = logging.getLogger(__name__)

MAX_LIBRARIES = 32
_MAX_FILE_BYTES = 2**18


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedLibrary:
    """A library that fits."""

    path: Path
    # What it says of itself, such as "0.5.0-dev".
    version: str
    ggml: str
    # ggml's names of its devices.
    devices: tuple[str, ...]
    # Its own file, and those of ggml that it loaded.
    files: tuple[Path, ...]

    def covers(self, loaded: Iterable[Path]) -> bool:
        """Whether the answer is about all these files of a process that has loaded the library."""
        return set(loaded) <= set(self.files)

    def words(self) -> str:
        """The library in half a line."""
        known = f"llama.cpp {self.version}, ggml {self.ggml}"
        return f"{self.path} ({known}; {', '.join(self.devices)})"

    def as_map(self) -> dict[str, Any]:
        """For JSON; `of_map` is its inverse."""
        return {
            "path": str(self.path),
            "version": self.version,
            "ggml": self.ggml,
            "devices": list(self.devices),
            "files": [str(one) for one in self.files],
        }

    @classmethod
    def of_map(cls, values: Mapping[str, Any]) -> "AcceptedLibrary":
        """Raises `ValueError`, `KeyError` or `TypeError` where it is none."""
        return cls(
            path=Path(_text(values["path"])),
            version=_text(values["version"]),
            ggml=_text(values["ggml"]),
            devices=tuple(map(_text, _list(values["devices"]))),
            files=tuple(Path(_text(one)) for one in _list(values["files"])),
        )


class AcceptedLibraries:
    """Remembers answers in a file. ask: has the library looked at now; raises `BadConfig`."""

    def __init__(self, path: Path, *, binding: str, ask: Callable[[Path], AcceptedLibrary]) -> None:
        """binding: what an answer depends on besides the library's files."""
        self._path = path
        self._binding = binding
        self._ask = ask

    def known(self, library: Path) -> AcceptedLibrary:
        """The remembered answer, else a new one. Raises `BadConfig`, which says what does not
        fit.
        """
        kept = self._read().get(str(library))
        if kept is not None:
            found, stamps = kept
            if stamps == self._stamps(found.files):
                return found
        return self.anew(library)

    def anew(self, library: Path) -> AcceptedLibrary:
        """A new answer, whatever is remembered. Raises `BadConfig` as `known`."""
        before, begun_ns = _stamp(library), time.time_ns()
        found = self._ask(library)
        # A package manager may have replaced them under the look: the answer is of the old files.
        if before == _stamp(library) and all(_is_older(one, begun_ns) for one in found.files):
            self._write(library, found)
        return found

    def _stamps(self, files: Sequence[Path]) -> list[str]:
        return [self._binding, *map(_stamp, files)]

    def _read(self) -> dict[str, tuple[AcceptedLibrary, list[str]]]:
        try:
            kept = json.loads(read_own(self._path, _MAX_FILE_BYTES))
            return {
                _text(name): (AcceptedLibrary.of_map(one["found"]), list(one["stamps"]))
                for name, one in kept.items()
            }
        except FileNotFoundError:
            return {}
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
        ) as error:
            log.warning("file of libraries is not read path=%s reason=%r", self._path, error)
            return {}

    def _write(self, library: Path, found: AcceptedLibrary) -> None:
        kept = {name: one for name, one in self._read().items() if name != str(library)}
        kept[str(library)] = (found, self._stamps(found.files))
        rows = {
            name: {"found": one.as_map(), "stamps": stamps}
            for name, (one, stamps) in list(kept.items())[-MAX_LIBRARIES:]
        }
        try:
            write_own(self._path, json.dumps(rows, indent=1).encode())
        except OSError as error:
            log.warning("library cannot be remembered path=%s reason=%s", self._path, error)


def _stamp(path: Path) -> str:
    """Tells one state of a file from another. A link counts as what it leads to."""
    try:
        found = os.stat(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return f"{path}: {found.st_size} bytes of {found.st_mtime_ns} in {found.st_ino}"


def _is_older(path: Path, moment_ns: int) -> bool:
    """Whether nothing was done to a file since. Its time of change is the system's own, where that
    of its content may be one that an archive brought.
    """
    try:
        return os.stat(path).st_ctime_ns <= moment_ns
    except OSError:
        return False


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list")
    return value
