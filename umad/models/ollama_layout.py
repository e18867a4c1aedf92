"""Lays out models of Ollama's registry as Ollama does, and reads what their makers say of them.

    ROOT/blobs/sha256-HEX                       a layer
    ROOT/manifests/HOST/NAMESPACE/MODEL/TAG     the manifest, written when all its layers are there

A model has layers that are no models: its template, its system prompt, parameters, licences. They
are kept as they came. umad's own root lies in the store (`layout_in`); in Ollama's own folder
`facts_beside` reads, and nothing is written there.
Media types: github.com/ollama/ollama, server/images.go. Not: fetching
(`umad.models.fetching.ollama`), nor finding Ollama's models (`umad.models.places.ollama`).
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umad.errors import BadRequest
from umad.models.files import ModelFiles
from umad.models.found import FoundModel
from umad.models.places.listing import files_below, read_small
from umad.models.reference import ModelReference, parse
from umad.models.store import Store

_LAYER = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
# Real manifests have some kilobytes; a licence, a template, a list of messages some dozen.
MOST_MANIFEST_BYTES = 2**20
_MOST_FACT_BYTES = 2**20
_MOST_LAYERS = 256
# What is fetched. A layer of another kind, such as a tensor of Ollama's own formats, is of no use.
_FILES = ("model", "projector", "adapter")
_FACTS = ("template", "system", "params", "license", "messages")
# HOST/NAMESPACE/MODEL/TAG, below `manifests`.
_DEPTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One blob of a model."""

    # "model", "projector", "adapter", "template", "system", "params", "license", "messages".
    kind: str
    # Of its SHA-256, in hexadecimal.
    digits: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaFacts:
    """The texts of a model's maker beside the model. Ollama's template language is not Jinja."""

    template: str = ""
    system: str = ""
    # Sampling and the like, under Ollama's names.
    params: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    messages: Sequence[Any] = ()

    @property
    def licence(self) -> str:
        """The licence in one line: the text's heading says which one it is."""
        first = self.licences[0].strip() if self.licences else ""
        return first.partition("\n")[0].strip()


def layers_of(manifest: bytes) -> tuple[Layer, ...]:
    """The layers of a manifest that are of use. Raises `ValueError` for what is none, and
    `RecursionError` for what is nested without an end.
    """
    said: Any = json.loads(manifest)
    rows = said.get("layers") if isinstance(said, dict) else None
    if not isinstance(rows, list) or len(rows) > _MOST_LAYERS:
        raise ValueError("it lists no layers")
    layers: list[Layer] = []
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError("a layer is no object")
        kind = str(row.get("mediaType")).removeprefix(_LAYER)
        if kind not in (*_FILES, *_FACTS):
            continue
        digest, size = _DIGEST.fullmatch(str(row.get("digest"))), row.get("size")
        if digest is None or not isinstance(size, int) or size < 0:
            raise ValueError("a layer has no digest or no size")
        if kind in _FACTS and size > _MOST_FACT_BYTES:
            raise ValueError(f"its {kind} has {size} bytes")
        layers.append(Layer(kind=kind, digits=digest[1], size_bytes=size))
    return tuple(layers)


class OllamaLayout:
    """A folder laid out as Ollama's."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def blob(self, layer: Layer) -> Path:
        """The file of a layer."""
        return self._root / "blobs" / f"sha256-{layer.digits}"

    def lock(self, layer: Layer) -> Path:
        """The lock of whoever fetches it."""
        return self._root / "locks" / f"{layer.digits}.lock"

    def files(self, layers: Sequence[Layer]) -> ModelFiles:
        """The files of a model with these layers."""

        def of(kind: str) -> tuple[Path, ...]:
            return tuple(self.blob(one) for one in layers if one.kind == kind)

        return ModelFiles(
            parts=of("model"),
            projector=next(iter(of("projector")), None),
            adapters=of("adapter"),
        )

    def publish(self, reference: ModelReference, manifest: bytes) -> None:
        """Write the manifest: the model is whole."""
        path = self._manifest(reference)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{uuid.uuid4().hex[:8]}.half")
        half.write_bytes(manifest)
        half.replace(path)

    def facts_of(self, reference: ModelReference) -> OllamaFacts | None:
        """The texts beside a model that was fetched; None where nothing is known of it."""
        try:
            texts = [
                (one.kind, read_small(self.blob(one), _MOST_FACT_BYTES).decode("utf-8", "replace"))
                for one in self._layers(self._manifest(reference))
                if one.kind in _FACTS
            ]
        except (OSError, ValueError, RecursionError):
            return None
        said = dict(texts)
        return OllamaFacts(
            template=said.get("template", ""),
            system=said.get("system", ""),
            params=_json(said.get("params", ""), {}),
            licences=tuple(text for kind, text in texts if kind == "license"),
            messages=_json(said.get("messages", ""), []),
        )

    def beside(self, reference: ModelReference) -> tuple[Path, ...]:
        """The files that only this model has beside its weights: its manifest, and texts and locks
        that no other manifest needs.
        """
        path = self._manifest(reference)
        others = [
            one for one in files_below(self._root / "manifests", [], depth=_DEPTH) if one != path
        ]
        needed = {layer.digits for one in others for layer in self._known(one)}
        alone = [one for one in self._known(path) if one.digits not in needed]
        texts = [self.blob(one) for one in alone if one.kind in _FACTS]
        return (path, *texts, *(self.lock(one) for one in alone))

    def _known(self, manifest: Path) -> tuple[Layer, ...]:
        """The layers of a manifest; none where it is damaged or not there."""
        try:
            return self._layers(manifest)
        except (OSError, ValueError, RecursionError):
            return ()

    def _layers(self, manifest: Path) -> tuple[Layer, ...]:
        return layers_of(read_small(manifest, MOST_MANIFEST_BYTES))

    def _manifest(self, reference: ModelReference) -> Path:
        return self._root.joinpath(
            "manifests", reference.host, reference.owner, reference.name, reference.tag
        )


def layout_in(store: Store) -> OllamaLayout:
    """The folder of a store for models of Ollama's registry."""
    return OllamaLayout(store.files_folder / "ollama")


def facts_beside(model: FoundModel) -> OllamaFacts | None:
    """The texts beside a model of Ollama's, wherever it lies; None for any other model."""
    try:
        reference = parse(model.source)
    except BadRequest:  # it has no source, or a record says anything
        return None
    if reference.kind != "ollama":
        return None
    # ROOT/blobs/sha256-HEX
    return OllamaLayout(model.files.main.parent.parent).facts_of(reference)


def _json(text: str, otherwise: Any) -> Any:
    """The value of a JSON text, where it is of the kind of `otherwise`."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
    return said if isinstance(said, type(otherwise)) else otherwise
