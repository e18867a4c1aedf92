"""A hub on loopback, for the real `huggingface_hub` client: its API, its redirects, and its faults.

Two servers with real sockets in one thread. The hub lists repositories and sends clients on to the
storage, which is another host to them (another port), with addresses that are signed. As at
huggingface.co: large files have a sha256 for an ETag, the bytes come from the storage, and a gated
repository is listed for everybody and read by nobody without a token.

A thread or a process that a test gave up may still ask when the next test runs, or be sent what
lies in a socket. So each `hold_after` and each `reset` begins an era: bodies that are older are cut
off, and addresses that are older are good for nothing. What is held back belongs to the download
that begins then, to the byte.

    with LoopbackHub() as hub:
        hub.add("org/repo", {"model-Q4_K_M.gguf": data})
        …HF_ENDPOINT=hub.url…
"""

import asyncio
import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.models.loopback_servers import LoopbackServers

CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request."""

    # "hub" or "storage".
    by: str
    method: str
    path: str
    # First byte and the one behind the last; None where no range was asked for.
    range: tuple[int, int] | None
    token: str | None


@dataclass(slots=True, kw_only=True)
class Repository:
    """What the hub has of one repository."""

    files: dict[str, bytes]
    # Files that git keeps itself: small, and with git's own sum.
    plain: frozenset[str] = frozenset()
    gated: bool = False
    private: bool = False
    licence: str = "apache-2.0"
    # The repository that it was made from, as its card says.
    base: str = ""
    tags: list[str] = field(default_factory=lambda: ["gguf"])

    @property
    def commit(self) -> str:
        """Another one whenever a file is another."""
        names = sorted(
            (name, hashlib.sha256(data).hexdigest()) for name, data in self.files.items()
        )
        return hashlib.sha1(json.dumps(names).encode(), usedforsecurity=False).hexdigest()

    def etag(self, path: str) -> str:
        """The sum by which a file is named."""
        data = self.files[path]
        if path in self.plain:
            header = b"blob %d\0" % len(data)
            return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()
        return hashlib.sha256(data).hexdigest()


class Dropped(Exception):
    """The connection is to be cut in the middle of a body."""


class LoopbackHub:
    """The hub and its storage. Its faults are attributes, to be set before or during a download."""

    def __init__(self) -> None:
        self._servers: LoopbackServers | None = None
        self.bodies = 0
        self._era = 0
        # Held for the era and for what is counted in it: tests call from their own thread.
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything, and have no fault."""
        with self._lock:
            self._era += 1
            self._forget()

    def _forget(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.seen: list[Seen] = []
        # The token that reads gated and private repositories.
        self.token = "hf_let_me_in"
        # Bytes of bodies that the storage has sent.
        self.sent_bytes = 0
        self.knows_ranges = True
        # What the storage answers to its next requests, instead of bytes.
        self.statuses: deque[int] = deque()
        self.retry_after: str | None = None
        # Each body of the storage is cut off after so many bytes.
        self.cut_after: int | None = None
        # This byte of every file comes wrong.
        self.corrupt_at: int | None = None
        # Bytes behind which the storage waits, until `release`.
        self._hold_at: int | None = None
        # A signed address is good for so many requests.
        self.signed_for: int | None = None
        self._signatures: dict[str, int] = {}
        # The headers of a range say that the file has so many bytes.
        self.says_bytes: int | None = None
        # The list says so of the commit, and the answers for files of their ETags.
        self.says_commit: str | None = None
        self.says_etag: str | None = None
        # Ranges begin so many bytes behind the one that was asked for.
        self.shift = 0

    # -- what it has -------------------------------------------------------------------------------

    def add(self, repository: str, files: Mapping[str, bytes], **more: Any) -> Repository:
        """A repository, or new files in the place of an old one's."""
        made = Repository(files=dict(files), **more)
        self.repositories[repository] = made
        return made

    def hold_after(self, n_bytes: int) -> None:
        """Send so many bytes more, and then none. Call it before a download begins."""
        with self._lock:
            self._era += 1
            self._hold_at = self.sent_bytes + n_bytes

    def release(self) -> None:
        """Go on sending."""
        self._hold_at = None

    def settle(self) -> None:
        """Wait until no body is on its way, not even to a process that is gone."""
        until = time.monotonic() + 60
        while self.bodies:
            assert time.monotonic() < until, "a body is sent to somebody who does not read it"
            time.sleep(0.005)

    def ranges(self, by: str = "storage") -> list[tuple[int, int]]:
        """The ranges that were asked for."""
        return [one.range for one in self.seen if one.by == by and one.range is not None]

    # -- its life ----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The hub's address: `HF_ENDPOINT`."""
        assert self._servers is not None
        return f"http://{self._servers.host(0)}"

    @property
    def storage_url(self) -> str:
        """The storage's: another host."""
        assert self._servers is not None
        return f"http://{self._servers.host(1)}"

    def __enter__(self) -> "LoopbackHub":
        hub = Starlette(
            routes=[
                Route("/api/models", self._list),
                Route("/api/models/{repository:path}", self._info),
                Route("/{owner}/{name}/resolve/{revision}/{path:path}", self._resolve),
            ]
        )
        storage = Starlette(routes=[Route("/blobs/{owner}/{name}/{path:path}", self._blob)])
        self._servers = LoopbackServers(hub, storage)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        assert self._servers is not None
        self._servers.stop()

    # -- the hub -----------------------------------------------------------------------------------

    def _see(self, by: str, request: Request) -> Seen:
        said = request.headers.get("Range", "")
        asked = None
        if said.startswith("bytes="):
            first, _, last = said.removeprefix("bytes=").partition("-")
            asked = (int(first), int(last) + 1)
        seen = Seen(
            by=by,
            method=request.method,
            path=request.url.path,
            range=asked,
            token=request.headers.get("Authorization"),
        )
        self.seen.append(seen)
        return seen

    def _may(self, request: Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.token}"

    async def _list(self, request: Request) -> Response:
        self._see("hub", request)
        words = request.query_params.get("search", "").lower().split()
        wanted = set(request.query_params.getlist("filter"))
        rows = [
            {"id": name, "modelId": name, "tags": one.tags, "downloads": 1, "likes": 1}
            for name, one in self.repositories.items()
            if all(word in name.lower() for word in words)
            and wanted <= set(one.tags)
            and not one.private
        ]
        return JSONResponse(rows[: int(request.query_params.get("limit", "100"))])

    async def _info(self, request: Request) -> Response:
        self._see("hub", request)
        name, _, _ = request.path_params["repository"].partition("/revision/")
        one = self.repositories.get(name)
        if one is None or (one.private and not self._may(request)):
            return _no_repository(request)
        siblings = [
            {
                "rfilename": path,
                "size": len(data),
                "blobId": "0" * 40,
                **(
                    {}
                    if path in one.plain
                    else {"lfs": {"sha256": one.etag(path), "size": len(data), "pointerSize": 134}}
                ),
            }
            for path, data in one.files.items()
        ]
        return JSONResponse(
            {
                "id": name,
                "modelId": name,
                "sha": self.says_commit or one.commit,
                "gated": "auto" if one.gated else False,
                "private": one.private,
                "tags": one.tags,
                "cardData": {"license": one.licence}
                | ({"base_model": [one.base]} if one.base else {}),
                "siblings": siblings,
            }
        )

    async def _resolve(self, request: Request) -> Response:
        self._see("hub", request)
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        path = request.path_params["path"]
        one = self.repositories.get(name)
        if one is None or (one.private and not self._may(request)):
            return _no_repository(request)
        if one.gated and not self._may(request):
            status = 403 if request.headers.get("Authorization") else 401
            return _error(status, "GatedRepo", f"Access to model {name} is restricted.")
        if request.path_params["revision"] not in ("main", one.commit):
            return _error(404, "RevisionNotFound", "Invalid rev id")
        if path not in one.files:
            return _error(404, "EntryNotFound", "Entry not found")
        data, etag = one.files[path], self.says_etag or one.etag(path)
        headers = {"X-Repo-Commit": one.commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if path in one.plain:
            return Response(data, headers=headers)
        signature = f"{self._era}-{len(self._signatures)}"
        self._signatures[signature] = 0
        headers |= {
            "X-Linked-Etag": f'"{etag}"',
            "X-Linked-Size": str(len(data)),
            "Location": f"{self.storage_url}/blobs/{name}/{quote(path)}?signature={signature}",
        }
        return Response(status_code=302, headers=headers)

    # -- the storage -------------------------------------------------------------------------------

    async def _blob(self, request: Request) -> Response:
        signature = request.query_params.get("signature", "")
        era = int(signature.partition("-")[0] or 0)
        if era != self._era:
            return Response(status_code=403)
        seen = self._see("storage", request)
        if self.statuses:
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return Response(status_code=self.statuses.popleft(), headers=headers)
        self._signatures[signature] = self._signatures.get(signature, 10**9) + 1
        if self.signed_for is not None and self._signatures[signature] > self.signed_for:
            return Response(status_code=403)
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        data = self.repositories[name].files[request.path_params["path"]]
        if seen.range is None or not self.knows_ranges:
            headers = {"Content-Length": str(len(data))}
            return StreamingResponse(self._bytes(request, era, data, 0, len(data)), headers=headers)
        start, end = seen.range[0] + self.shift, min(seen.range[1], len(data))
        if start >= len(data):
            return Response(status_code=416)
        total = len(data) if self.says_bytes is None else self.says_bytes
        return StreamingResponse(
            self._bytes(request, era, data, start, end),
            status_code=206,
            headers={
                "Content-Range": f"bytes {start}-{end - 1}/{total}",
                "Content-Length": str(end - start),
            },
        )

    async def _bytes(
        self, request: Request, era: int, data: bytes, start: int, end: int
    ) -> AsyncIterator[bytes]:
        self.bodies += 1
        try:
            async for piece in self._pieces(request, era, data, start, end):
                yield piece
        finally:
            self.bodies -= 1

    async def _pieces(
        self, request: Request, era: int, data: bytes, start: int, end: int
    ) -> AsyncIterator[bytes]:
        at, cut_at = start, None if self.cut_after is None else start + self.cut_after
        while at < end and not await request.is_disconnected():
            # Several bodies share what may be sent.
            with self._lock:
                if era != self._era:
                    raise Dropped
                upto = min(at + CHUNK_BYTES, end)
                if cut_at is not None:
                    upto = min(upto, cut_at)
                if self._hold_at is not None:
                    upto = min(upto, at + self._hold_at - self.sent_bytes)
                self.sent_bytes += max(0, upto - at)
            if upto <= at:
                if cut_at is not None and at >= cut_at:
                    raise Dropped
                await asyncio.sleep(0.01)
                continue
            piece = data[at:upto]
            if self.corrupt_at is not None and at <= self.corrupt_at < upto:
                wrong = self.corrupt_at - at
                piece = piece[:wrong] + bytes([piece[wrong] ^ 1]) + piece[wrong + 1 :]
            yield piece
            at = upto


def _no_repository(request: Request) -> Response:
    status = 404 if request.headers.get("Authorization") else 401
    return _error(status, "RepoNotFound", "Invalid username or password.")


def _error(status: int, code: str, message: str) -> Response:
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return JSONResponse({"error": message}, status_code=status, headers=headers)
