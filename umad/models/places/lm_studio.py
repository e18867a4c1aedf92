"""Finds models in LM Studio's folder.

    ~/.lmstudio-home-pointer                 LM Studio's home, where it is not ~/.lmstudio
    HOME/settings.json                       "downloadsFolder": where models lie, if not in
    HOME/models/publisher/model/x.gguf       a model; projectors and splits beside it

Publisher and model are the hub's, from which LM Studio fetches.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from umad.models.files import quantization_in, sorted_out
from umad.models.found import FoundModel
from umad.models.places.listing import (
    Listing,
    entries,
    files_below,
    first_folders,
    home_of,
    hub_source,
    is_folder,
    listed,
    name_of,
    read_small,
)

_MOST_BYTES = 2**20
_DEPTH = 2


def lm_studio_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The folders of models that are there."""
    home = home_of(environ)
    pointed = _text(home / ".lmstudio-home-pointer").strip()
    own = Path(pointed) if pointed.startswith("/") else home / ".lmstudio"
    return first_folders(
        _downloads(own / "settings.json"), own / "models", home / ".cache" / "lm-studio" / "models"
    )


class LmStudioFolder:
    """One folder of LM Studio's models."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self) -> Listing:
        """Every model of every publisher."""
        watched = [self._folder]
        found: list[FoundModel] = []
        for publisher in entries(self._folder):
            if is_folder(publisher):
                found += _models_of(self._folder / publisher.name, watched)
        return Listing(models=tuple(found), watched=tuple(watched))


def _models_of(publisher: Path, watched: list[Path]) -> Iterator[FoundModel]:
    watched.append(publisher)
    for entry in entries(publisher):
        if not is_folder(entry):
            continue
        folder = publisher / entry.name
        models = sorted_out(files_below(folder, watched, depth=_DEPTH))
        counted = Counter(quantization_in(one.main) for one in models)
        for one in models:
            is_only = counted[quantization_in(one.main)] == 1
            inner = one.main.relative_to(folder)
            repository = f"{publisher.name}/{entry.name}"
            yield listed(
                one,
                "lm studio",
                name=name_of(inner, entry.name),
                source=hub_source(repository, inner, is_only=is_only),
            )


def _downloads(settings: Path) -> Path | None:
    try:
        said = json.loads(_text(settings) or "{}")
    except (ValueError, RecursionError):
        return None
    folder = said.get("downloadsFolder") if isinstance(said, dict) else None
    return Path(folder) if isinstance(folder, str) and folder.startswith("/") else None


def _text(path: Path) -> str:
    try:
        return read_small(path, _MOST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):  # a path with a NUL in it
        return ""
