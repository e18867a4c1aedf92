"""Finds models in Ollama's folder.

    manifests/HOST/NAMESPACE/MODEL/TAG       JSON: the layers of a model, by digest
    blobs/sha256-HEX                         a layer: the GGUF, a projector, a template, a licence

Some blobs hold a model as Ollama's own engine wants it, which llama.cpp refuses:
`umad.models.facts` says so when the header is read. A digest is digits only, so that no manifest
leads out of `blobs`.
Layout: github.com/ollama/ollama, server/modelpath.go and manifest.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.errors import BadRequest
from umad.models.files import ModelFiles
from umad.models.found import FoundModel
from umad.models.places.listing import (
    Listing,
    entries,
    first_folders,
    home_of,
    is_folder,
    listed,
    path_in,
    read_small,
)
from umad.models.reference import LATEST, parse

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_LAYER = "application/vnd.ollama.image."
_MOST_BYTES = 2**20
# HOST/NAMESPACE/MODEL/TAG
_DEPTH = 4
_SYSTEM = Path("/usr/share/ollama/.ollama/models")


def ollama_folders(environ: Mapping[str, str], system: Path = _SYSTEM) -> tuple[Path, ...]:
    """The folders that are there: the user's, and that of Ollama's service."""
    return first_folders(
        path_in(environ, "OLLAMA_MODELS"), home_of(environ) / ".ollama" / "models", system
    )


class OllamaFolder:
    """One folder of Ollama's models."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self) -> Listing:
        """Every tag of every model that has a GGUF."""
        watched: list[Path] = [self._folder / "blobs"]
        found = [
            model
            for words, manifest in _manifests(self._folder / "manifests", watched)
            if (model := self._model(words, manifest)) is not None
        ]
        return Listing(models=tuple(found), watched=tuple(watched))

    def _model(self, words: tuple[str, ...], manifest: Path) -> FoundModel | None:
        try:
            reference = parse("ollama:" + "/".join(words[:3]) + f":{words[3]}")
        except BadRequest:
            return None
        source = str(reference)
        name = source.removeprefix("ollama:").removesuffix(f":{LATEST}")
        try:
            layers = _layers(manifest)
        except (OSError, ValueError, RecursionError):
            problem = "its manifest is damaged; pull it again with Ollama"
            return FoundModel(
                name=name,
                files=ModelFiles(parts=(manifest,)),
                place="ollama",
                source=source,
                problem=problem,
            )
        parts = tuple(self._blob(one) for one in layers if one.kind == "model")
        if not parts:
            return None  # of safetensors, or in Ollama's cloud: no file is here
        projectors = [self._blob(one) for one in layers if one.kind == "projector"]
        adapters = tuple(self._blob(one) for one in layers if one.kind == "adapter")
        files = ModelFiles(
            parts=parts[:1],
            projector=projectors[0] if projectors else None,
            adapters=adapters,
        )
        return listed(files, "ollama", name=name, source=source, quantization="")

    def _blob(self, layer: "_Layer") -> Path:
        return self._folder / "blobs" / f"sha256-{layer.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """One file of a model."""

    # "model", "projector", "adapter", "template", …
    kind: str
    # Of its bytes, in hexadecimal digits.
    digest: str


def _manifests(
    folder: Path, watched: list[Path], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Path]]:
    watched.append(folder)
    for entry in entries(folder):
        words, path = (*above, entry.name), folder / entry.name
        if len(words) < _DEPTH:
            if is_folder(entry):
                yield from _manifests(path, watched, words)
        elif not entry.name.startswith("."):
            watched.append(path)  # a newer one of the same tag takes its place
            yield words, path


def _layers(manifest: Path) -> tuple[_Layer, ...]:
    """The layers of a manifest. Raises `OSError` or `ValueError` for one that is damaged."""
    said: Any = json.loads(read_small(manifest, _MOST_BYTES))
    rows = said.get("layers") if isinstance(said, dict) else None
    if not isinstance(rows, list):
        raise ValueError("it has no layers")
    layers: list[_Layer] = []
    for row in rows:
        digest = _DIGEST.fullmatch(str(row.get("digest"))) if isinstance(row, dict) else None
        if digest is None:
            raise ValueError("a layer has no digest")
        kind = str(row.get("mediaType")).removeprefix(_LAYER)
        layers.append(_Layer(kind=kind, digest=digest[1]))
    return tuple(layers)
