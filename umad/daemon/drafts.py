"""Finds the files that may be a model's draft, as the option `draft` says.

    a path or a name   that file, for the models that are named beside it
    auto               for any model: those here that are clearly smaller, the smallest first

Not: whether one fits (the engine compares vocabularies). Owner: the daemon's event loop.
"""

import os
from pathlib import Path

from umad.config import Settings
from umad.daemon.names import ModelFile, ModelNames
from umad.engine.launch import is_named_beside
from umad.errors import UnknownModel
from umad.models.drafts import AUTO, smaller_ones
from umad.models.whisper import is_speech_file


class DraftFiles:
    """The drafts of one daemon's models."""

    def __init__(self, settings: Settings, names: ModelNames) -> None:
        self._settings = settings
        self._names = names

    def of(self, file: ModelFile) -> tuple[Path, ...]:
        """The files that may be the draft of a model, in the order in which they are tried."""
        asked = self._settings.engine.draft
        if asked is None:
            return ()
        if asked != AUTO:
            if not is_named_beside(self._settings, file.name):
                return ()
            return (self._named(asked),)
        others = [one for one in self._names.all().values() if not one.problem]
        return smaller_ones(
            file.sized().size_bytes,
            [(one.path, one.sized().size_bytes) for one in others if not is_speech_file(one.path)],
        )

    def _named(self, asked: str) -> Path:
        try:
            found = self._names.find(asked)
        except UnknownModel:  # several may be meant
            found = None
        # The engine says what is wrong with a path that leads nowhere. It works in another folder.
        return Path(os.path.abspath(os.path.expanduser(asked))) if found is None else found.path
