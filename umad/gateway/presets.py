"""Finds the preset that a client names as its model.

`umad.cli.gateway` hands in how presets are read, because the gateway reads no models' files. A name
is compared as an alias is (`umad.gateway.aliases`): as it is written, then without the case of
letters and Ollama's tag for the newest. Not: what a preset changes (`umad.preset`).
"""

from collections.abc import Callable, Mapping
from pathlib import PurePath

from umad.preset import Preset

Read = Callable[[], Mapping[str, Preset]]
_NEWEST = ":latest"
_FILE = ".gguf"


def no_presets() -> Mapping[str, Preset]:
    """Nobody has written any down."""
    return {}


class Presets:
    """The presets of one gateway. read: those of now; it is asked for each request."""

    def __init__(self, read: Read = no_presets) -> None:
        self._read = read

    def all(self) -> tuple[Preset, ...]:
        """Every preset, as it was written down."""
        return tuple(self._read().values())

    def exact(self, name: str) -> Preset | None:
        """The preset of a name as it is written."""
        return self._read().get(name)

    def near(self, name: str) -> Preset | None:
        """The preset of a name without the case of letters and Ollama's tag for the newest."""
        folded = _folded(name)
        return next((one for key, one in self._read().items() if _folded(key) == folded), None)


def model_of(preset: Preset) -> str:
    """The model to ask the daemon for: a path as its name, since not everybody may name files."""
    is_file = preset.model.lower().endswith(_FILE)
    return PurePath(preset.model).stem if is_file else preset.model


def _folded(name: str) -> str:
    return name.casefold().removesuffix(_NEWEST)
