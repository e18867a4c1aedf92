"""Finds the file that a model's name means, and the name that a file gets.

Not: the ways in which clients write a name (`umad.model_names`), nor downloading or describing
models (`umad.models`). It asks the file system only whether a file
exists. A text from somebody who may use only names is never used as a path.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from umad import nano
from umad.errors import ModelLoadFailed, UnknownModel
from umad.model_names import KnownModel, resolve

NANO = "nano"
_QUOTED_CHARS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model that can be opened."""

    # The name that requests use.
    name: str
    path: Path

    def modified_s(self) -> int | None:
        """When the file was last written, in seconds since 1970; None where it has gone."""
        try:
            return int(self.path.stat().st_mtime)
        except OSError:
            return None


class ModelNames:
    """The names by which anybody may load a model.

    These are `nano`, the models of the configuration, and the files in its folders. models: names
    and paths. folders: the folders that hold GGUF files.
    """

    def __init__(self, models: Iterable[str] = (), folders: Iterable[str] = ()) -> None:
        self._named = {NANO: ModelFile(name=NANO, path=nano.path())}
        for model in models:
            if model != NANO and _is_path(Path(model)):
                path = Path(os.path.expanduser(model)).absolute()
                self._named.setdefault(path.stem, ModelFile(name=path.stem, path=path))
        self._folders = tuple(Path(os.path.expanduser(one)).absolute() for one in folders)

    def find(self, name: str) -> ModelFile | None:
        """The file of `name`; None where nothing has that name.

        All folders are always searched completely, so the time of the search tells nothing about
        `name`.
        """
        return self.all().get(name)

    def near(self, name: str) -> ModelFile | None:
        """The file of a model whose whole name a client has written in its own way
        (`umad.model_names`). Raises `UnknownModel` where several may be meant.
        """
        files = self.all()
        found = resolve(name, [KnownModel(name=one) for one in files], whole=True)
        return None if found is None else files[found.name]

    def all(self) -> Mapping[str, ModelFile]:
        """Every file that may be loaded by name. The folders are read again each time."""
        files: dict[str, ModelFile] = {}
        for folder in self._folders:
            try:
                paths = sorted(folder.iterdir())
            except OSError:
                continue
            for path in paths:
                if path.suffix.lower() == ".gguf":
                    files.setdefault(path.stem, ModelFile(name=path.stem, path=path))
        return files | self._named


def not_by_name(model: str) -> UnknownModel:
    """The error for a text that is no name. It is the same for a path whether a file is there or
    not.
    """
    return UnknownModel(
        f"no model is called {model[:_QUOTED_CHARS]!r}; /v1/models lists those that are loaded, "
        "others are loaded by their names in the configuration, or by an admin",
        field="model",
    )


def find_model_file(model: str) -> ModelFile:
    """The file of `nano` or of a path to a GGUF.

    Raises `ModelLoadFailed` where a path leads to no file, `UnknownModel` for any other name.
    """
    if model == NANO:
        return ModelFile(name=NANO, path=nano.path())
    try:
        path = Path(model).expanduser()
    except RuntimeError as error:  # ~somebody, and there is no such user
        raise ModelLoadFailed(f"no such file: {model}", field="model") from error
    if not _is_path(path):
        raise UnknownModel(
            f"no model is called {model!r}; give the path of a GGUF file, or {NANO}", field="model"
        )
    path = path.absolute()
    try:
        found, is_there = path.is_file(), path.exists()
    except OSError as error:  # a name longer than the system's, a loop of links
        raise ModelLoadFailed(f"{error.strerror}: {path}", field="model") from error
    if not found:
        what = "a folder or device, not a GGUF file" if is_there else "no such file"
        raise ModelLoadFailed(f"{what}: {path}", field="model")
    return ModelFile(name=path.stem, path=path)


def _is_path(path: Path) -> bool:
    """A single word that does not end in .gguf is a name, and no path."""
    return path.suffix.lower() == ".gguf" or len(path.parts) > 1
