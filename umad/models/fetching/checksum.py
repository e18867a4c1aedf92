"""Checks a file's content against the sum by which its source names it.

    sha256     of the bytes: large files of the hub (LFS, Xet), blobs of Ollama's registry
    git-sha1   of a header and the bytes, as git names a blob: small files of the hub

Pure. Not: where a sum comes from, or what is done with a file that is another one.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, Protocol

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


class Hash(Protocol):
    """A hash as hashlib makes it."""

    def update(self, data: bytes, /) -> None:
        """Go on with `data`."""
        ...

    def hexdigest(self) -> str:
        """The sum of all so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """The sum that a file's content must have."""

    kind: Literal["sha256", "git-sha1"]
    # In small letters.
    digits: str

    @classmethod
    def of_etag(cls, etag: str) -> "Checksum | None":
        """The sum that an ETag of the hub is; None for an ETag that is none."""
        if _SHA256.fullmatch(etag):
            return cls(kind="sha256", digits=etag)
        if _SHA1.fullmatch(etag):
            return cls(kind="git-sha1", digits=etag)
        return None

    @classmethod
    def of_digest(cls, digest: str) -> "Checksum | None":
        """The sum of a registry's digest, `sha256:…`; None for another kind."""
        kind, _, digits = digest.partition(":")
        if kind != "sha256" or not _SHA256.fullmatch(digits):
            return None
        return cls(kind="sha256", digits=digits)

    def start(self, size_bytes: int) -> Hash:
        """A hash to be fed the `size_bytes` of the file in their order."""
        if self.kind == "sha256":
            return hashlib.sha256()
        # Git's own names of blobs, which are no secret's guard.
        return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
