"""Which file a model's name means, and which name a file gets.

Not: downloading or describing models (`umad.models`). Touches the file system only to ask whether
a file is there.
"""

import difflib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from umad import nano
from umad.errors import ModelLoadFailed, UnknownModel

NANO = "nano"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model that can be opened. name: what requests call it."""

    name: str
    path: Path


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
    if path.suffix.lower() != ".gguf" and len(path.parts) == 1:
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


def load_command(model: str) -> str:
    """What to type; a name is whatever somebody called a file, or asked for."""
    return f"umad load {shlex.quote(model)}"


def unknown_model(model: str, known: Iterable[str]) -> UnknownModel:
    """The error for a name that no loaded model has; it names the nearest that one has."""
    near = difflib.get_close_matches(model, list(known), n=3, cutoff=0.0)
    if not near:
        return UnknownModel(
            f"{model!r} is not loaded, nor is any other; load it: {load_command(model)}",
            field="model",
        )
    return UnknownModel(
        f"{model!r} is not loaded; loaded are {', '.join(near)}; load it: {load_command(model)}",
        field="model",
    )
