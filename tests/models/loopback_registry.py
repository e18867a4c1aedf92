"""A registry of Ollama's on loopback, and the storage it sends its clients on to. Not a test."""

import hashlib
import json
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.models.loopback_servers import LoopbackServers


class LoopbackRegistry:
    """What `registry.ollama.ai` does for a client that pulls."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[str, bytes] = {}
        # Every path that was asked for.
        self.seen: list[str] = []
        # What is answered to every question for a manifest instead of one.
        self.status: int | None = None

    def __enter__(self) -> "LoopbackRegistry":
        registry = Starlette(
            routes=[
                Route("/v2/{name:path}/manifests/{tag}", self._manifest),
                Route("/v2/{name:path}/blobs/{digest}", self._send_on),
            ]
        )
        storage = Starlette(routes=[Route("/{digest}", self._blob)])
        self._servers = LoopbackServers(registry, storage)
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.stop()

    @property
    def host(self) -> str:
        """Host and port, as a reference has them."""
        return self._servers.host(0)

    def add(self, name: str, layers: Mapping[str, bytes], *, vendor: str = "ollama") -> None:
        """A model. name: namespace/model:tag; layers: by kind, those with a `#` at their end once
        more of the same.
        """
        rows = []
        for kind, data in layers.items():
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self._blobs[digest] = data
            media = f"application/vnd.{vendor}.image.{kind.rstrip('#')}"
            rows.append({"mediaType": media, "digest": digest, "size": len(data)})
        self.put(name, json.dumps({"schemaVersion": 2, "config": {}, "layers": rows}).encode())

    def put(self, name: str, manifest: bytes) -> None:
        """A manifest, whatever it says."""
        self._manifests[name] = manifest

    async def _manifest(self, request: Request) -> Response:
        self.seen.append(request.url.path)
        if self.status is not None:
            return Response(status_code=self.status)
        found = self._manifests.get(f"{request.path_params['name']}:{request.path_params['tag']}")
        if found is None:
            return JSONResponse({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status_code=404)
        return Response(found, media_type="application/vnd.docker.distribution.manifest.v2+json")

    async def _send_on(self, request: Request) -> Response:
        self.seen.append(request.url.path)
        return RedirectResponse(f"http://{self._servers.host(1)}/{request.path_params['digest']}")

    async def _blob(self, request: Request) -> Response:
        data = self._blobs[request.path_params["digest"]]
        first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
        piece = data[int(first) : int(last) + 1]
        return Response(
            piece,
            status_code=206,
            headers={"Content-Range": f"bytes {first}-{last}/{len(data)}"},
        )
