"""Reads and writes one conversation's KV cells in a file, and checks a file before it is believed.

    magic, length of the head (uint32), head (JSON), token ids (int32), digest of all that;
    then each slab, as llama.cpp saved it, and its digest

All little-endian. A digest is BLAKE2b over the digest before it and the bytes, so no part can come
from another file. The head's `about` says what the cells depend on: a format, a model's weights, a
cache's type, a version of llama.cpp. A file about anything else is refused, and so is a file that
is cut short or differs in a bit. llama.cpp is never given a file just to see whether it takes it.
Not: where files lie and which are removed (`sessions.folder`). Owner: the calling thread; one at a
time.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"umad session\x00\x01\r\n"
_DIGEST_BYTES = 16
_MOST_HEAD_BYTES = 2**20
_MOST_TOKENS = 2**24
_LENGTH_BYTES = 4

About = dict[str, Any]
# A slab's memory, uint8 (n,), and how many of its bytes are used.
Slab = tuple[NDArray[np.uint8], int]


class BadSessionFile(Exception):
    """The file must not be used. The text says why; it continues a sentence that
    begins with "it".
    """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """The facts that a file states about itself."""

    session: str
    # int32 (n,).
    tokens: NDArray[np.int32]
    # Bytes of each slab.
    slabs: tuple[int, ...]
    # Digest of everything before the slabs.
    digest: bytes
    # Where the first slab begins.
    slabs_at: int


def file_bytes(*, about: About, session: str, n_tokens: int, slabs: Sequence[Slab]) -> int:
    """The length of the file that `write` would make of this."""
    head = len(_head(about, session, n_tokens, slabs)) + _LENGTH_BYTES + len(MAGIC) + 4 * n_tokens
    return head + _DIGEST_BYTES + sum(n_bytes + _DIGEST_BYTES for _, n_bytes in slabs)


def write(
    file: BufferedWriter,
    *,
    about: About,
    session: str,
    tokens: NDArray[np.int32],
    slabs: Sequence[Slab],
) -> None:
    """Write the whole file. Raises `OSError`."""
    head = _head(about, session, tokens.size, slabs)
    begin = MAGIC + len(head).to_bytes(_LENGTH_BYTES, "little") + head + _le(tokens).tobytes()
    digest = _digest(b"", begin)
    file.write(begin)
    file.write(digest)
    for memory, n_bytes in slabs:
        data = memory[:n_bytes].data
        digest = _digest(digest, data)
        file.write(data)
        file.write(digest)


def read_head(file: BufferedReader, about: About) -> Head:
    """Read and check the beginning of a file. Raises `BadSessionFile`, `OSError`."""
    length = os.fstat(file.fileno()).st_size
    begin = file.read(len(MAGIC) + _LENGTH_BYTES)
    if not begin.startswith(MAGIC) or len(begin) != len(MAGIC) + _LENGTH_BYTES:
        raise BadSessionFile("is no session file of this version")
    n_head = int.from_bytes(begin[len(MAGIC) :], "little")
    if n_head > _MOST_HEAD_BYTES:
        raise BadSessionFile("has a head that is too long")
    text = file.read(n_head)
    session, n_tokens, slabs = _parsed(text, about)
    if 4 * n_tokens + sum(slabs) > length:
        raise BadSessionFile("is cut short")
    ids = file.read(4 * n_tokens)
    digest = file.read(_DIGEST_BYTES)
    if digest != _digest(b"", begin + text + ids):
        raise BadSessionFile("is damaged")
    slabs_at = file.tell()
    if length != slabs_at + sum(n_bytes + _DIGEST_BYTES for n_bytes in slabs):
        raise BadSessionFile("is cut short, or longer than it should be")
    return Head(
        session=session,
        tokens=np.frombuffer(ids, "<i4").astype(np.int32),
        slabs=slabs,
        digest=digest,
        slabs_at=slabs_at,
    )


def read_name(file: BufferedReader) -> str | None:
    """Read the name of a file's session, whatever model it is about; None where it names none.

    Nothing else is checked, because the file is to be removed. Raises `OSError`.
    """
    begin = file.read(len(MAGIC) + _LENGTH_BYTES)
    n_head = int.from_bytes(begin[len(MAGIC) :], "little")
    if not begin.startswith(MAGIC) or n_head > _MOST_HEAD_BYTES:
        return None
    try:
        session = json.loads(file.read(n_head))["session"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return session if isinstance(session, str) else None


def read_slabs(
    file: BufferedReader, head: Head, memories: Sequence[NDArray[np.uint8]]
) -> list[Slab]:
    """Read the first slabs, one into each of `memories`. Raises `BadSessionFile`, `OSError`."""
    if len(memories) > len(head.slabs):
        raise BadSessionFile("has fewer slabs than were asked for")
    file.seek(head.slabs_at)
    digest, found = head.digest, list[Slab]()
    for memory, n_bytes in zip(memories, head.slabs, strict=False):
        if n_bytes > memory.size:
            raise BadSessionFile("has slabs of another size")
        data = memory[:n_bytes].data
        if file.readinto(data) != n_bytes:
            raise BadSessionFile("is cut short")
        digest = _digest(digest, data)
        if file.read(_DIGEST_BYTES) != digest:
            raise BadSessionFile("is damaged")
        found.append((memory, n_bytes))
    return found


def _head(about: About, session: str, n_tokens: int, slabs: Sequence[Slab]) -> bytes:
    head = {
        "about": about,
        "session": session,
        "n_tokens": n_tokens,
        "slabs": [n_bytes for _, n_bytes in slabs],
    }
    return json.dumps(head, separators=(",", ":")).encode()


def _parsed(text: bytes, about: About) -> tuple[str, int, tuple[int, ...]]:
    try:
        head = json.loads(text)
        theirs = head["about"]
        session, n_tokens, slabs = head["session"], head["n_tokens"], tuple(head["slabs"])
        differing = [key for key in {**about, **theirs} if theirs.get(key) != about.get(key)]
        if differing:
            raise BadSessionFile(f"is of another {' and another '.join(differing)}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadSessionFile("has a head that cannot be read") from None
    if (
        not isinstance(session, str)
        or not _is_utf8(session)
        or type(n_tokens) is not int
        or not 0 < n_tokens <= _MOST_TOKENS
        or not all(type(n_bytes) is int and n_bytes > 0 for n_bytes in slabs)
    ):
        raise BadSessionFile("has a head that cannot be read")
    return session, n_tokens, slabs


def _is_utf8(text: str) -> bool:
    """True if the text can be encoded. JSON may contain halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _le(tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    return tokens.astype("<i4", copy=False)


def _digest(before: bytes, data: bytes | memoryview) -> bytes:
    # For more than two kilobytes hashlib releases the interpreter.
    hashed = hashlib.blake2b(before, digest_size=_DIGEST_BYTES)
    hashed.update(data)
    return hashed.digest()
