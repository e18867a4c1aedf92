"""Asks a registry of Ollama's for a model, and lays it out as Ollama does.

    GET /v2/NAMESPACE/MODEL/manifests/TAG       JSON: the layers, by digest
    GET /v2/NAMESPACE/MODEL/blobs/sha256:HEX    a layer; registries send on to another host

    ROOT/blobs/sha256-HEX                       a layer
    ROOT/manifests/HOST/NAMESPACE/MODEL/TAG     the manifest, written when all its layers are there

A model has layers that are none: its template, its system prompt, parameters, licences. They are
kept as they came, and `facts_of` reads them.
Protocol: github.com/opencontainers/distribution-spec; media types: github.com/ollama/ollama,
server/images.go. Not: Ollama's own folder (`umad.models.places.ollama`), nor fetching the bytes
(`umad.models.fetching.download`).
"""

import ipaddress
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from umad.errors import AccessNeeded, FetchFailed, UnknownModel
from umad.models.fetching.checksum import Checksum
from umad.models.fetching.remote import USER_AGENT, RemoteFile, host_of, words_of
from umad.models.files import ModelFiles
from umad.models.places.listing import read_small
from umad.models.reference import OLLAMA_HOST, ModelReference

_LAYER = "application/vnd.ollama.image."
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
# Real manifests have some kilobytes; a licence, a template, a list of messages some dozen.
_MOST_MANIFEST_BYTES = 2**20
_MOST_FACT_BYTES = 2**20
_MOST_LAYERS = 256
# What is fetched. A layer of another kind, such as a tensor of Ollama's own formats, is of no use.
_FILES = ("model", "projector", "adapter")
_FACTS = ("template", "system", "params", "license", "messages")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One blob of a model."""

    # "model", "projector", "adapter", "template", "system", "params", "license", "messages".
    kind: str
    checksum: Checksum
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaModel:
    """What a registry has under one tag."""

    reference: ModelReference
    layers: tuple[Layer, ...]
    # As it came; its bytes are what Ollama would write.
    manifest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaFacts:
    """What a model's maker says beside the model. Ollama's own template language is not Jinja."""

    template: str = ""
    system: str = ""
    # Sampling and the like, under Ollama's names.
    params: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    messages: Sequence[Any] = ()


class OllamaRegistry:
    """One registry, asked in one line of time."""

    def __init__(self, host: str, client: httpx2.Client, *, timeout_s: float = 15.0) -> None:
        scheme = "http" if _is_loopback(host) else "https"
        self._url = f"{scheme}://{host}"
        self._client = client
        self._timeout_s = timeout_s

    def find(self, reference: ModelReference) -> OllamaModel:
        """The model of a reference. Raises `UnknownModel`, `AccessNeeded` or `FetchFailed`."""
        url = f"{self._url}/v2/{reference.repository}/manifests/{reference.tag}"
        manifest = self._read(url, reference)
        try:
            layers = _layers(json.loads(manifest))
        except (ValueError, RecursionError) as error:
            raise FetchFailed(
                f"{host_of(url)} sent no manifest of Ollama's for {reference}: {error}"
            ) from None
        kinds = [one.kind for one in layers]
        if "model" not in kinds:
            raise UnknownModel(
                f"{reference} has no GGUF file, and umad runs no other: its weights are of another "
                "format, or stay in Ollama's cloud",
                field="model",
            )
        if kinds.count("model") > 1:
            raise UnknownModel(
                f"{reference} is cut into {kinds.count('model')} files in Ollama's own way; "
                "look for it on the hub: umad search",
                field="model",
            )
        return OllamaModel(reference=reference, layers=layers, manifest=manifest)

    def remote(self, model: OllamaModel, layer: Layer) -> RemoteFile:
        """Where a layer's bytes come from."""
        name = f"{model.reference.name}:{model.reference.tag}"
        return RemoteFile(
            name=name if layer.kind == "model" else f"{name} ({layer.kind})",
            url=f"{self._url}/v2/{model.reference.repository}/blobs/sha256:{layer.checksum.digits}",
            size_bytes=layer.size_bytes,
            checksum=layer.checksum,
        )

    def _read(self, url: str, reference: ModelReference) -> bytes:
        headers = {"User-Agent": USER_AGENT, "Accept": f"{_MANIFEST}, application/json"}
        host = host_of(url)
        try:
            with self._client.stream(
                "GET", url, headers=headers, timeout=self._timeout_s, follow_redirects=True
            ) as response:
                if response.status_code == 200:
                    return _bounded(response)
                raise _refusal(response.status_code, reference, host)
        except httpx2.TimeoutException as error:
            raise FetchFailed(
                f"{host} did not answer within {self._timeout_s:.0f} s; try again"
            ) from error
        except httpx2.TransportError as error:
            raise FetchFailed(
                f"{host} cannot be reached ({words_of(error)}): is there a network?"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise FetchFailed(
                f"{host} does not answer as a registry does: {words_of(error)}"
            ) from (error)


def _refusal(status: int, reference: ModelReference, host: str) -> UnknownModel | FetchFailed:
    if status in (400, 404):
        page = "ollama.com/library lists models and tags" if host == OLLAMA_HOST else "look there"
        return UnknownModel(f"{host} has no {reference}: {page}", field="model")
    if status in (401, 403):
        return AccessNeeded(
            f"{host} gives {reference} to its own users only: pull it with Ollama, and umad serves "
            "it from there"
        )
    again = "has had too many requests: pull again later" if status == 429 else "pull again later"
    return FetchFailed(f"{host} answered {status}; {again}")


def _bounded(response: httpx2.Response) -> bytes:
    data = b""
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > _MOST_MANIFEST_BYTES:
            raise FetchFailed(f"{response.url.host} sent a manifest that never ends")
    return data


def _layers(said: Any) -> tuple[Layer, ...]:
    """The layers of a manifest that are of use. Raises `ValueError` for what is none."""
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
        checksum = Checksum(kind="sha256", digits=digest[1])
        layers.append(Layer(kind=kind, checksum=checksum, size_bytes=size))
    return tuple(layers)


def _is_loopback(host: str) -> bool:
    """Whether a registry is on this machine, where nobody listens in between."""
    name = host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class OllamaLayout:
    """A folder laid out as Ollama's."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def blob(self, layer: Layer) -> Path:
        """Where a layer lies."""
        return self._root / "blobs" / f"sha256-{layer.checksum.digits}"

    def lock(self, layer: Layer) -> Path:
        """The lock of whoever fetches it."""
        return self._root / "locks" / f"{layer.checksum.digits}.lock"

    def files(self, model: OllamaModel) -> ModelFiles:
        """The files of a model."""

        def of(kind: str) -> tuple[Path, ...]:
            return tuple(self.blob(one) for one in model.layers if one.kind == kind)

        return ModelFiles(
            parts=of("model"),
            projector=next(iter(of("projector")), None),
            adapters=of("adapter"),
        )

    def publish(self, model: OllamaModel) -> None:
        """Write the manifest: the model is whole."""
        path = self._manifest(model.reference)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{uuid.uuid4().hex[:8]}.half")
        half.write_bytes(model.manifest)
        half.replace(path)

    def facts_of(self, reference: ModelReference) -> OllamaFacts | None:
        """What the maker of a model that was fetched says; None where nothing is known of it."""
        try:
            layers = _layers(
                json.loads(read_small(self._manifest(reference), _MOST_MANIFEST_BYTES))
            )
            texts = [
                (one.kind, read_small(self.blob(one), _MOST_FACT_BYTES).decode("utf-8", "replace"))
                for one in layers
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

    def _manifest(self, reference: ModelReference) -> Path:
        return self._root.joinpath(
            "manifests", reference.host, reference.owner, reference.name, reference.tag
        )


def _json(text: str, otherwise: Any) -> Any:
    """What a text says, where it is of the kind of `otherwise`."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
    return said if isinstance(said, type(otherwise)) else otherwise
