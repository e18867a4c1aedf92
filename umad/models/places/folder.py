"""Finds models in a folder of GGUF files that the configuration names (`model_folder`)."""

from dataclasses import replace
from pathlib import Path

from umad.models.files import sorted_out, stem_of
from umad.models.places.listing import Listing, entries, listed


class ModelFolder:
    """One folder. Files in folders below it are not looked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self) -> Listing:
        """Every model in the folder."""
        paths = [self._folder / entry.name for entry in entries(self._folder)]
        models = [
            # Whose a projector is that lies among models nobody says.
            listed(replace(one, projector=None), "folder", name=stem_of(one.main))
            for one in sorted_out(paths)
        ]
        return Listing(models=tuple(models), watched=(self._folder,))
