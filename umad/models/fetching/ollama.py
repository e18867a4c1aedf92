"""Asks a registry of Ollama's for a model.

    GET /v2/NAMESPACE/MODEL/manifests/TAG       JSON: the layers, by digest
    GET /v2/NAMESPACE/MODEL/blobs/sha256:HEX    a layer; registries send on to another host

Protocol: github.com/opencontainers/distribution-spec. Not: where the layers go
(`umad.models.ollama_layout`), nor fetching the bytes (`umad.models.fetching.download`).
"""

import ipaddress
from dataclasses import dataclass

import httpx2

from umad.errors import AccessNeeded, FetchFailed, UnknownModel
from umad.models.fetching.checksum import Checksum
from umad.models.fetching.remote import USER_AGENT, RemoteFile, host_of, words_of
from umad.models.ollama_layout import MOST_MANIFEST_BYTES, Layer, layers_of
from umad.models.reference import OLLAMA_HOST, ModelReference

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaModel:
    """A model as a registry has it under one tag."""

    reference: ModelReference
    layers: tuple[Layer, ...]
    # As it came; its bytes are what Ollama would write.
    manifest: bytes


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
            layers = layers_of(manifest)
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
        """The file that a layer is, as a download takes it."""
        name = f"{model.reference.name}:{model.reference.tag}"
        return RemoteFile(
            name=name if layer.kind == "model" else f"{name} ({layer.kind})",
            url=f"{self._url}/v2/{model.reference.repository}/blobs/sha256:{layer.digits}",
            size_bytes=layer.size_bytes,
            checksum=Checksum(kind="sha256", digits=layer.digits),
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
        if len(data) > MOST_MANIFEST_BYTES:
            raise FetchFailed(f"{response.url.host} sent a manifest that never ends")
    return data


def _is_loopback(host: str) -> bool:
    """True for a registry on this machine, where nobody listens in between."""
    name = host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
