"""Keeps the presets that were saved over a socket or HTTP, in one file beside the store.

The file has the form of a user's own models.yaml, with nothing in it but presets. umad writes it
whole or not at all, and nobody else does; a preset that a person has written down comes first.
Not: what a preset changes. Any process may write; within one, one thread has an object of this.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from umad.errors import BadConfig, Refused
from umad.models.catalogue import Catalogue
from umad.models.catalogue_file import read_catalogue
from umad.models.store import Store
from umad.preset import Preset
from umad.private_file import read_own, write_own

log = logging.getLogger(__name__)

FILE = "presets.yaml"
_MOST_BYTES = 2**20
_MOST_PRESETS = 1000


class SavedPresets:
    """The saved presets of one store, read again whenever the file has changed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._store = Store(folder)
        self._stamp: tuple[int, int, int] | None = None
        self._presets: Mapping[str, Preset] = {}

    def current(self) -> Mapping[str, Preset]:
        """Those of now, by name. A file that cannot be read has none, and the log says why."""
        stamp = self._stamp_now()
        if stamp is None:
            self._stamp, self._presets = None, {}
        elif stamp != self._stamp:
            self._stamp = stamp
            try:
                text = read_own(self._path, _MOST_BYTES).decode("utf-8", "replace")
                self._presets = read_catalogue(text, str(self._path)).presets
            except (OSError, BadConfig) as error:
                log.warning("saved presets cannot be read path=%s: %s", self._path, error)
                self._presets = {}
        return self._presets

    def save(self, preset: Preset) -> None:
        """Keep a preset, in the place of one of its name. Raises `Refused`."""
        with self._store.alone():
            self._write({**self.current(), preset.name: preset})

    def remove(self, name: str) -> bool:
        """Forget a preset; whether there was one. Raises `Refused`."""
        with self._store.alone():
            left = {one: it for one, it in self.current().items() if one != name}
            if len(left) == len(self._presets):
                return False
            self._write(left)
            return True

    def _write(self, presets: Mapping[str, Preset]) -> None:
        if len(presets) > _MOST_PRESETS:
            raise Refused(f"{_MOST_PRESETS} presets are saved already; remove one", field="name")
        said = {
            one.name: {
                name: value for name, value in asdict(one).items() if value and name != "name"
            }
            for one in presets.values()
        }
        # Not JSON, though that is YAML too: there an emoji is two escapes, which are two characters
        # in YAML, and no text.
        data = yaml.safe_dump({"presets": said}, sort_keys=False).encode()
        if len(data) > _MOST_BYTES:
            raise Refused("the saved presets would be too long together", field="system")
        try:
            write_own(self._path, data)
        except OSError as error:
            raise Refused(f"{self._path} cannot be written: {error.strerror}") from error

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def with_saved(catalogue: Catalogue, folder: Path) -> Catalogue:
    """`catalogue` with the saved presets of a store's folder behind its own."""
    saved = SavedPresets(folder).current()
    return replace(catalogue, presets={**saved, **catalogue.presets}) if saved else catalogue
