"""Finds the file that a model's name means, and the name that a file gets.

Not: the ways in which clients write a name (`umad.model_names`), nor which models lie on this
machine (`umad.models.library`). A text from somebody who may use only names is never used as a
path.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from umad import nano
from umad.errors import ModelLoadFailed, UnknownModel
from umad.model_names import KnownModel, resolve
from umad.models.files import stem_of
from umad.models.found import FoundModel, file_facts
from umad.models.library import Library, machine_library
from umad.models.whisper import is_speech_name

NANO = "nano"
_QUOTED_CHARS = 128
_HAS_TAG = re.compile(r":\w")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model that can be opened."""

    # The name that requests use.
    name: str
    path: Path
    # Why it cannot be opened after all; empty where nothing is known against it.
    problem: str = ""
    # All its files together; 0 where it is not known yet.
    size_bytes: int = 0
    # LoRA adapters that belong to it (Ollama), and act unless a request says otherwise.
    adapters: tuple[Path, ...] = ()
    # What makes rows of images and sounds for it; None where none is known.
    projector: Path | None = None
    # It is one of the library's, which remembers when its models were used.
    is_of_library: bool = False
    # What the engines of other models took when this one was loaded. It is told to every process of
    # its engine, so that one that was started again has the same pool as before.
    beside_bytes: int = 0

    def sized(self) -> "ModelFile":
        """The same with the size of its file, where that is not known yet."""
        try:
            return self if self.size_bytes else replace(self, size_bytes=self.path.stat().st_size)
        except OSError:
            return self

    def modified_s(self) -> int | None:
        """When the file was last written, in seconds since 1970; None where it has gone."""
        try:
            return int(self.path.stat().st_mtime)
        except OSError:
            return None


class ModelNames:
    """The names by which anybody may load a model.

    These are `nano`, the models of the configuration, and those of the library: umad's store, the
    folders of the configuration, and other programs' models. models: names and paths. library: by
    default that of `folders` alone.
    """

    def __init__(
        self,
        models: Iterable[str] = (),
        folders: Iterable[str] = (),
        *,
        library: Library | None = None,
    ) -> None:
        self._named = {NANO: ModelFile(name=NANO, path=nano.path())}
        for model in models:
            if model != NANO and _is_path(Path(model)):
                path = Path(os.path.expanduser(model)).absolute()
                file = _file_at(path)
                self._named.setdefault(file.name, file)
        self._library = library or folders_library(folders)

    def find(self, name: str, *, whole: bool = False) -> ModelFile | None:
        """The file of `name`, which is a name, an alias, or a reference of a model that is here;
        None where nothing has that name. whole: only a text that says exactly which one.

        All places are always looked at completely, so the time of the search tells nothing about
        `name`. Raises `UnknownModel` where a reference may mean several.
        """
        found = self._library.find(name, whole=whole)
        # An alias may name nano, or a model of the configuration.
        named = self._named.get(name) or self._named.get(self._library.catalogue.meant(name) or "")
        return named or (None if found is None else _file_of(found))

    def was_seen(self, name: str) -> bool:
        """Whether a model had exactly that name at the last look. Looks at nothing."""
        return name in self._named or self._library.was_seen(name)

    def near(self, name: str) -> ModelFile | None:
        """The file of a model whose whole name a client has written in its own way
        (`umad.model_names`). Raises `UnknownModel` where several may be meant.
        """
        files = self.all()
        found = resolve(name, [KnownModel(name=one) for one in files], whole=True)
        if found is None:
            return None
        if _HAS_TAG.search(name):
            # A tag may name another size or quantization than the header does.
            found = resolve(name, [_known(files[found.name])], whole=True)
        return None if found is None else files[found.name]

    def all(self) -> Mapping[str, ModelFile]:
        """Every file that may be loaded by name. Folders that have changed are read again."""
        return {one.name: _file_of(one) for one in self._library.models()} | self._named

    def unknown(self, name: str) -> UnknownModel:
        """The error for a name that nothing has, for an admin: near names, or how to fetch it."""
        return self._library.unknown(name, others=self._named)

    def note_use(self, file: ModelFile) -> None:
        """Remember that a file was loaded. Blocks for the disk; never raises."""
        if file.is_of_library and self._library.store is not None:
            self._library.store.index.note_use(file.name)


def folders_library(folders: Iterable[str]) -> Library:
    """The library of some folders of GGUF files, and of nothing else."""
    return machine_library({}, folders=folders, others=False, has_store=False)


def _known(file: ModelFile) -> KnownModel:
    """A file's size and quantization by its header. Reads that."""
    try:
        facts, _ = file_facts(file.path)
    except ModelLoadFailed:
        return KnownModel(name=file.name)
    return KnownModel(name=file.name, n_params=facts.n_params, quantization=facts.quantization)


def _file_of(model: FoundModel) -> ModelFile:
    return ModelFile(
        name=model.name,
        path=model.files.main,
        problem=model.problem,
        size_bytes=model.size_bytes,
        adapters=model.files.adapters,
        projector=model.files.projector,
        is_of_library=True,
    )


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
    return _file_at(path)


def _file_at(path: Path) -> ModelFile:
    """The model of a file under its own name."""
    return ModelFile(name=stem_of(path) if is_speech_name(path) else path.stem, path=path)


def is_scheme(model: str) -> bool:
    """True for a text that names a model elsewhere, and no path: `hf:org/repo`."""
    return model.lower().startswith(("hf:", "ollama:", "http:", "https:"))


def _is_path(path: Path) -> bool:
    """A single word that is no name of a model's file is a name, and no path."""
    return path.suffix.lower() == ".gguf" or is_speech_name(path) or len(path.parts) > 1
