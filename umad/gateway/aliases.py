"""Maps model names that agents have built in to local models.

A pattern is a shell wildcard (`gpt-*`). The first pattern that fits wins. A name that no pattern
fits goes to the daemon unchanged, which finds the model that is meant (`umad.model_names`). Pure.
"""

from fnmatch import fnmatchcase
from pathlib import PurePath

_WILD = frozenset("*?[")
_NEWEST = ":latest"


def _name_of(local: str) -> str:
    """A model's path as its name: callers who may not name files may use an alias of a file."""
    return PurePath(local).stem if local.lower().endswith(".gguf") else local


class Aliases:
    """Maps names to local models.

    `pairs` are (pattern, local model), in the order of the configuration.
    """

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self._pairs = tuple((pattern, _name_of(local)) for pattern, local in pairs)

    def exact(self, model: str) -> str | None:
        """The local model for `model` as it is written; None where no pattern fits."""
        for pattern, local in self._pairs:
            if fnmatchcase(model, pattern):
                return local
        return None

    def near(self, model: str) -> str | None:
        """The local model for `model` without the case of letters and Ollama's tag for the newest;
        None where no pattern fits.
        """
        folded = model.casefold().removesuffix(_NEWEST)
        for pattern, local in self._pairs:
            if fnmatchcase(folded, pattern.casefold().removesuffix(_NEWEST)):
                return local
        return None

    def plain(self) -> tuple[tuple[str, str], ...]:
        """The aliases without a wildcard, which lists of models can show."""
        return tuple(pair for pair in self._pairs if not _WILD & set(pair[0]))
