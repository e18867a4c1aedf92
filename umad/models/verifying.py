"""Verifies that a model's files are as they were published: their bytes, or at least their shape.

Where a file's SHA-256 is known, all its bytes are read: from the record of the store, from the name
of a blob of the hub's cache, or from that of Ollama's. Else its header and its length are held
against one another, which finds a file that is cut short and none that has a wrong byte.
Reads a gigabyte in about a second, and writes nothing.
"""

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from umad.errors import ModelLoadFailed
from umad.models.files import ModelFiles
from umad.models.found import file_facts
from umad.models.gguf import read_header

_BLOB = re.compile(r"(?:sha256-)?([0-9a-f]{64})")
_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The result for one file."""

    path: Path
    # "bytes" were compared with a checksum, or the "shape" alone was looked at.
    by: Literal["bytes", "shape"]
    # Empty for a file that is whole.
    problem: str


def known_digest(path: Path, digests: Mapping[Path, str]) -> str | None:
    """The SHA-256 that a file should have; None where nobody has written it down."""
    if path in digests:
        return digests[path]
    real = Path(os.path.realpath(path))  # `resolve` raises for a loop of links
    found = _BLOB.fullmatch(real.name) if real.parent.name == "blobs" else None
    return None if found is None else found[1]


def verify(
    files: ModelFiles,
    digests: Mapping[Path, str],
    *,
    on_bytes: Callable[[int], None] = lambda n_bytes: None,
) -> Iterator[Verified]:
    """Look at every file of a model. on_bytes: called with the bytes that were read, as they
    are.
    """
    for path in files.all:
        digest = known_digest(path, digests)
        problem = "" if os.path.isfile(path) else "it is not there"
        if not problem and digest is not None:
            problem = _wrong_bytes(path, digest, on_bytes)
        if not problem:
            problem = _wrong_shape(path, files)
        yield Verified(path=path, by="shape" if digest is None else "bytes", problem=problem)


def _wrong_bytes(path: Path, digest: str, on_bytes: Callable[[int], None]) -> str:
    real = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                real.update(chunk)
                on_bytes(len(chunk))
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if real.hexdigest() != digest:
        # The blob, and not the link to it: a pull finds a blob by its name and length.
        real_path = shlex.quote(os.path.realpath(path))
        return f"its bytes are not those that were published; delete {real_path} and fetch it again"
    return ""


def _wrong_shape(path: Path, files: ModelFiles) -> str:
    try:
        if path == files.main:
            file_facts(path)
        elif path not in files.parts:
            header = read_header(path)
            if header.needed_bytes > header.file_bytes:
                return f"it is cut short: {header.file_bytes} of {header.needed_bytes} bytes"
    except ModelLoadFailed as error:
        return error.message
    return ""
