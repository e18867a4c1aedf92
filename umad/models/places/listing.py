"""Describes the models that one place has, and reads its folders.

A folder may hold anything: another program's files, a link to itself, a million names. So folders
are read to a depth and a number that no tree of models has. Not: any one program's layout.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from umad.errors import BadRequest
from umad.models.files import ModelFiles, quantization_in, stem_of
from umad.models.found import FoundModel, Place
from umad.models.reference import parse

log = logging.getLogger(__name__)

# A cache of every GGUF repository anybody has had would not have so many entries in one folder.
MOST_ENTRIES = 10_000
# Names of files that say nothing of their model, as converters write them.
_NAMELESS = ("ggml-model", "model", "gguf-model", "weights", "gguf")
_REPOSITORY = "-gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The models of one place at one moment."""

    models: tuple[FoundModel, ...] = ()
    # Every path whose change may change the list: folders, and files that were read.
    watched: tuple[Path, ...] = ()


class ModelPlace(Protocol):
    """One place. It reads the disk, which may take milliseconds."""

    def find(self) -> Listing:
        """All models that lie there. Never raises for what it finds."""


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder by name; none where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            some = [entry for entry, _ in zip(found, range(MOST_ENTRIES + 1), strict=False)]
    except OSError:
        return
    if len(some) > MOST_ENTRIES:
        log.warning("only the first entries of a folder are looked at folder=%s", folder)
    yield from sorted(some[:MOST_ENTRIES], key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """True for an entry that is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def files_below(folder: Path, watched: list[Path], *, depth: int) -> Iterator[Path]:
    """Every file below a folder, to a depth. Folders that were read are added to `watched`."""
    watched.append(folder)
    for entry in entries(folder):
        path = folder / entry.name
        if not is_folder(entry):
            yield path
        elif depth > 0:
            yield from files_below(path, watched, depth=depth - 1)


def read_small(path: Path, most_bytes: int) -> bytes:
    """The beginning of a file. Raises `OSError`, also for a pipe, which would keep us waiting."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return file.read(most_bytes)


def first_folders(*folders: Path | None) -> tuple[Path, ...]:
    """Those of `folders` that are there, each once, whatever links lead to it."""
    seen: dict[Path, Path] = {}
    for folder in folders:
        # Not Path.is_dir, which raises where a folder above may not be read: Ollama's service has a
        # home of its own.
        if folder is not None and os.path.isdir(folder):
            seen.setdefault(Path(os.path.realpath(folder)), folder)
    return tuple(seen.values())


def path_in(environ: Mapping[str, str], variable: str) -> Path | None:
    """The folder that a variable names; None where it is unset or relative."""
    # Not Path.expanduser, which raises where there is no such user.
    path = Path(os.path.expanduser(environ.get(variable, "")))
    return path if path.is_absolute() else None


def home_of(environ: Mapping[str, str]) -> Path:
    """The user's home."""
    return Path(os.path.expanduser(environ.get("HOME") or "~"))


def listed(
    files: ModelFiles, place: Place, *, name: str, source: str = "", quantization: str | None = None
) -> FoundModel:
    """A model of a place. What is known before its header is read: sizes, and files that are
    missing.
    """
    missing = files.missing()
    problem = ""
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        problem = f"its file {missing[0].name}{more} {_why_missing(missing[0])}"
    elif not all(_is_text(str(path)) for path in files.all):
        problem = "the name of its file is no text in UTF-8; rename it"
    return FoundModel(
        # A name travels as UTF-8, and is written into databases.
        name=name.encode("utf-8", "backslashreplace").decode(),
        files=files,
        place=place,
        source=source,
        size_bytes=files.size_bytes(),
        quantization=quantization_in(files.main) if quantization is None else quantization,
        problem=problem,
    )


def _is_text(path: str) -> bool:
    """True for a path that is UTF-8. File systems of Linux take any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _why_missing(path: Path) -> str:
    try:
        os.stat(path)
    except PermissionError:
        return "lies in a folder that you may not read"
    except OSError:
        return "is not there; fetch it again"
    return "is no file"


def name_of(file: PurePath, repository: str = "") -> str:
    """A model's name by its file; by its repository where the file's name says nothing."""
    stem = stem_of(file)
    quantization = quantization_in(file)
    bare = stem[: -len(quantization)].rstrip("-._") if quantization else stem
    if repository and bare.lower() in ("", *_NAMELESS):
        base = repository[: -len(_REPOSITORY)] if _is_repository(repository) else repository
        return f"{base}-{quantization}" if quantization else base
    return stem


def _is_repository(name: str) -> bool:
    return name.lower().endswith(_REPOSITORY)


def hub_source(repository: str, file: PurePath, *, is_only: bool) -> str:
    """The reference that fetches a file of a hub's repository again; empty where the repository's
    name is none. is_only: no other file of it has the same quantization.
    """
    quantization = quantization_in(file)
    end = f":{quantization}" if quantization and is_only else f"/{file.as_posix()}"
    try:
        return str(parse(f"hf:{repository}{end}"))
    except BadRequest:
        return ""
