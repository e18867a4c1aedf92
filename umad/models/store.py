"""Keeps the record of every model that umad itself has fetched or named: its files, and where from.

    FOLDER/records/NAME.json    one model each; a name with capitals has a sum behind it, as there
                                are file systems for which "Fox" and "fox" are one name
    FOLDER/files/               files that lie nowhere else: Ollama pulls, quantized models
    FOLDER/models.sqlite3       what can be found out again (`umad.models.index`)
    FOLDER/lock                 held by whoever chooses a name, or asks which files others need

A record is written whole or not at all, so a kill at any moment leaves a model either known or not.
A store that cannot be written is read all the same; what would change it raises `Refused` with the
reason. Not: fetching, other programs' models (`umad.models.places`), nor
deleting files (`umad.models.removal`). Any thread and process may use one store at once; of two
that write one record, the later holds, so whoever looks before it writes does both `alone`.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import sys
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umad.errors import Refused, UnknownModel
from umad.models.files import ModelFiles
from umad.models.index import Index
from umad.models.places.listing import entries, home_of, path_in, read_small
from umad.private_file import own_folder, write_own

log = logging.getLogger(__name__)

_SUFFIX = ".json"
_MOST_RECORD_BYTES = 2**20
# A file's name has 255 bytes in most file systems, and a slash takes three of them here. The name
# of the file that a record is written to first is longer by its process.
_MOST_NAME_BYTES = 200
# Of the sum that tells names apart which their files would not.
_DIGITS = 16
_LOCK_FLAGS = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
# A record is written in milliseconds, and a large file is deleted in a second or two.
_LOCK_S = 20.0
_LOCK_AGAIN_S = 0.02
# What reading JSON raises that is no record: another type, a number without an end.
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """One model of the store."""

    # The name that requests use.
    name: str
    files: ModelFiles
    # The reference it was fetched by.
    source: str = ""
    # When, in seconds since 1970.
    fetched_s: int = 0
    licence: str = ""
    # SHA-256 of files in hexadecimal digits, by path, where they are known.
    digests: Mapping[Path, str] = field(default_factory=dict)
    # Its files are umad's to delete with it. False where another program put them there, and the
    # record is only a name of ours.
    owns_files: bool = True


def store_folder(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """umad's folder of models: `$UMAD_MODELS`, else in the platform's data folder."""
    given = path_in(environ, "UMAD_MODELS")
    if given is not None:
        return given
    home = home_of(environ)
    if platform == "darwin":
        return home / "Library" / "Application Support" / "umad" / "models"
    return (path_in(environ, "XDG_DATA_HOME") or home / ".local" / "share") / "umad" / "models"


class Store:
    """The models of one folder, which is made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Where files lie that no other program's layout has a place for.
        self.files_folder = folder / "files"
        # The folder whose change says that the models have changed.
        self.records_folder = folder / "records"
        self.index = Index(folder / "models.sqlite3")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else is alone with the store meanwhile, in this process or another. Raises
        `Refused` where the store cannot be written, or somebody takes too long.
        """
        try:
            own_folder(self.folder)
            fd = os.open(self.folder / "lock", _LOCK_FLAGS, 0o600)
        except OSError as error:
            raise self.refusal(error) from error
        try:
            self._lock(fd)
            yield
        finally:
            os.close(fd)

    def _lock(self, fd: int) -> None:
        until_s = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until_s:
                    raise Refused(
                        f"another process has been changing the store {self.folder} for "
                        f"{_LOCK_S:g} s; try again"
                    ) from None
                time.sleep(_LOCK_AGAIN_S)
            except OSError:
                return  # a file system without such locks, where nobody is alone
            else:
                return

    def models(self) -> tuple[StoredModel, ...]:
        """Every model, by name. A record that is damaged is left out, with a line in the log."""
        found = [
            self._read(self.records_folder / entry.name)
            for entry in entries(self.records_folder)
            if entry.name.endswith(_SUFFIX)
        ]
        return tuple(sorted((one for one in found if one), key=lambda one: one.name))

    def damaged(self) -> tuple[Path, ...]:
        """The records that no model can be read from."""
        return tuple(
            self.records_folder / entry.name
            for entry in entries(self.records_folder)
            if entry.name.endswith(_SUFFIX) and self._read(self.records_folder / entry.name) is None
        )

    def get(self, name: str) -> StoredModel | None:
        """The model of exactly that name."""
        path = self._record(name)
        return self._read(path) if os.path.isfile(path) else None

    def listed_as(self, name: str, files: ModelFiles) -> StoredModel | None:
        """The record of a model that a list has under `name`: a list gives it another name than its
        own where that is somebody else's.
        """
        found = self.get(name)
        if found is not None and found.files == files:
            return found
        return next((one for one in self.models() if one.files == files), None)

    def add(self, model: StoredModel) -> None:
        """Add a model, or put it in the place of the one of its name. Raises `Refused` where the
        store cannot be written.
        """
        data = json.dumps(self._to_json(model), indent=2).encode()
        try:
            write_own(self._record(model.name), data)
        except OSError as error:
            raise self.refusal(error) from error

    def forget(self, name: str) -> StoredModel:
        """Remove the record of a model; its files stay. Raises `UnknownModel`, or `Refused` where
        the store cannot be written.
        """
        model = self.get(name)
        if model is None:
            raise UnknownModel(f"no model of the store is called {name!r}", field="model")
        try:
            self._record(name).unlink(missing_ok=True)
        except OSError as error:
            raise self.refusal(error) from error
        return model

    def shared(self, model: StoredModel) -> frozenset[Path]:
        """Those of a model's files that other models of the store have too."""
        others = [one for one in self.models() if one.name != model.name]
        theirs = {path for one in others for path in one.files.all}
        return frozenset(theirs.intersection(model.files.all))

    def refusal(self, error: OSError) -> Refused:
        """The error for a store that cannot be written."""
        return Refused(
            f"the store {self.folder} cannot be written: {error.strerror}; "
            "UMAD_MODELS names another folder"
        )

    # -- records --------------------------------------------------------------------------------

    def _record(self, name: str) -> Path:
        # Names have slashes and colons, which a file's may not have.
        quoted = urllib.parse.quote(name, safe="")
        if len(quoted) > _MOST_NAME_BYTES or name != name.lower():
            digits = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
            quoted = f"{quoted[: _MOST_NAME_BYTES - _DIGITS - 1]}-{digits}"
        return self.records_folder / f"{quoted}{_SUFFIX}"

    def _read(self, path: Path) -> StoredModel | None:
        try:
            model = self._from_json(json.loads(read_small(path, _MOST_RECORD_BYTES)))
            if self._record(model.name) != path:
                raise ValueError(f"it is the record of {model.name!r}")
        except (OSError, *_DAMAGE) as error:
            log.warning("a record of a model is left out path=%s: %r", path, error)
            return None
        return model

    def _to_json(self, model: StoredModel) -> Mapping[str, Any]:
        files = model.files
        projector = files.projector
        return {
            "name": model.name,
            "source": model.source,
            "parts": self._texts(files.parts),
            "projector": None if projector is None else self._text(projector),
            "adapters": self._texts(files.adapters),
            "fetched_s": model.fetched_s,
            "licence": model.licence,
            "digests": {self._text(path): digest for path, digest in model.digests.items()},
            "owns_files": model.owns_files,
        }

    def _from_json(self, said: Any) -> StoredModel:
        """The model of a record. Raises one of `_DAMAGE` for another."""
        if not isinstance(said["name"], str) or not said["name"] or not said["parts"]:
            raise ValueError("it has no name, or no file")
        projector = said.get("projector")
        return StoredModel(
            name=said["name"],
            source=str(said.get("source", "")),
            files=ModelFiles(
                parts=tuple(map(self._path, said["parts"])),
                projector=None if projector is None else self._path(projector),
                adapters=tuple(map(self._path, said.get("adapters", ()))),
            ),
            fetched_s=int(said.get("fetched_s", 0)),
            licence=str(said.get("licence", "")),
            digests={self._path(one): str(it) for one, it in said.get("digests", {}).items()},
            owns_files=said.get("owns_files") is True,
        )

    def _text(self, path: Path) -> str:
        """A path as a record has it: relative where it is the store's own, which may be moved."""
        return str(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path)

    def _texts(self, paths: Iterable[Path]) -> list[str]:
        return [self._text(path) for path in paths]

    def _path(self, text: object) -> Path:
        if not isinstance(text, str) or not text or "\0" in text:
            raise TypeError("a path is no text")
        os.fsencode(text)  # what no file can be called is a `ValueError` here, and not later
        return self.folder / text
