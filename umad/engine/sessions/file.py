"""Reads and writes one conversation's memory in a file, and checks a file before it is believed.

    magic, length of the head (uint32), head (JSON), token ids (int32), digest of each part;
    digest of all that; then the parts, as llama.cpp saved them: slabs of cells, then states

All little-endian. A digest is BLAKE2b. The one before the parts covers theirs, so no part can come
from another file or stand in another's place, and a part can be read without those before it. The
head's `about` says what the parts depend on: a format, a model's weights, a cache's type, a version
of llama.cpp. A file about anything else is refused, and so is a file that is cut short or differs
in a bit. llama.cpp is never given a file just to see whether it takes it.

A model with recurrent layers, or with windows at their size, has states beside its cells: each is
true after exactly so many tokens, and the head says after how many. A model of recurrent layers
alone has no slabs.
Not: where files lie and which are removed (`sessions.folder`). Owner: the calling thread; one at a
time.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = b"umad session\x00\x01\r\n"
_DIGEST_BYTES = 16
_MOST_HEAD_BYTES = 2**20
_MOST_TOKENS = 2**24
_LENGTH_BYTES = 4

About = dict[str, Any]
# A part's memory, uint8 (n,), and how many of its bytes are used.
Slab = tuple[NDArray[np.uint8], int]
# After how many tokens a state was taken, and the state.
StateAt = tuple[int, Slab]


class BadSessionFile(Exception):
    """The file must not be used. The text says why; it continues a sentence that
    begins with "it".
    """


class Part(NamedTuple):
    """A slab or a state within a file."""

    # Where it begins, in bytes.
    at: int
    n_bytes: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """The facts that a file states about itself."""

    session: str
    # int32 (n,).
    tokens: NDArray[np.int32]
    slabs: tuple[Part, ...]
    # By the number of tokens after which it was taken; ascending.
    states: dict[int, Part]


def file_bytes(
    *,
    about: About,
    session: str,
    n_tokens: int,
    slabs: Sequence[Slab],
    states: Sequence[StateAt] = (),
) -> int:
    """The length of the file that `write` would make of this."""
    head = len(MAGIC) + _LENGTH_BYTES + len(_head(about, session, n_tokens, slabs, states))
    parts = [n_bytes for _, n_bytes in _parts(slabs, states)]
    return head + 4 * n_tokens + _DIGEST_BYTES * (len(parts) + 1) + sum(parts)


def write(
    file: BufferedWriter,
    *,
    about: About,
    session: str,
    tokens: NDArray[np.int32],
    slabs: Sequence[Slab],
    states: Sequence[StateAt] = (),
) -> None:
    """Write the whole file. states: ascending. Raises `OSError`."""
    head = _head(about, session, tokens.size, slabs, states)
    begin = MAGIC + len(head).to_bytes(_LENGTH_BYTES, "little") + head + _le(tokens).tobytes()
    parts = _parts(slabs, states)
    # The digests are written last, though they stand first, so that each part is read from memory
    # once for both: its digest and its bytes.
    file.seek(len(begin) + _DIGEST_BYTES * (len(parts) + 1))
    for memory, n_bytes in parts:
        data = memory[:n_bytes].data
        begin += _digest(data)
        file.write(data)
    file.seek(0)
    file.write(begin + _digest(begin))


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
    session, n_tokens, slabs, states = _parsed(text, about)
    sizes = [*slabs, *(n_bytes for _, n_bytes in states)]
    if 4 * n_tokens + _DIGEST_BYTES * len(sizes) + sum(sizes) > length:
        raise BadSessionFile("is cut short")
    ids = file.read(4 * n_tokens)
    digests = file.read(_DIGEST_BYTES * len(sizes))
    if file.read(_DIGEST_BYTES) != _digest(begin + text + ids + digests):
        raise BadSessionFile("is damaged")
    at, parts = file.tell(), list[Part]()
    for number, n_bytes in enumerate(sizes):
        digest = digests[_DIGEST_BYTES * number : _DIGEST_BYTES * (number + 1)]
        parts.append(Part(at, n_bytes, digest))
        at += n_bytes
    if at != length:
        raise BadSessionFile("is cut short, or longer than it should be")
    return Head(
        session=session,
        tokens=np.frombuffer(ids, "<i4").astype(np.int32),
        slabs=tuple(parts[: len(slabs)]),
        states=dict(zip((place for place, _ in states), parts[len(slabs) :], strict=True)),
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
    return [
        _read_part(file, part, memory) for part, memory in zip(head.slabs, memories, strict=False)
    ]


def read_state(file: BufferedReader, head: Head, n_tokens: int, memory: NDArray[np.uint8]) -> Slab:
    """Read the state after `n_tokens` tokens. Raises `BadSessionFile`, `OSError`."""
    part = head.states.get(n_tokens)
    if part is None:
        raise BadSessionFile("has no state of the place that was asked for")
    return _read_part(file, part, memory)


def _read_part(file: BufferedReader, part: Part, memory: NDArray[np.uint8]) -> Slab:
    if part.n_bytes > memory.size:
        raise BadSessionFile("has parts of another size")
    file.seek(part.at)
    data = memory[: part.n_bytes].data
    if file.readinto(data) != part.n_bytes:
        raise BadSessionFile("is cut short")
    if _digest(data) != part.digest:
        raise BadSessionFile("is damaged")
    return memory, part.n_bytes


def _parts(slabs: Sequence[Slab], states: Sequence[StateAt]) -> list[Slab]:
    return [*slabs, *(state for _, state in states)]


def _head(
    about: About,
    session: str,
    n_tokens: int,
    slabs: Sequence[Slab],
    states: Sequence[StateAt],
) -> bytes:
    head = {
        "about": about,
        "session": session,
        "n_tokens": n_tokens,
        "slabs": [n_bytes for _, n_bytes in slabs],
        "states": [[place, n_bytes] for place, (_, n_bytes) in states],
    }
    return json.dumps(head, separators=(",", ":")).encode()


def _parsed(
    text: bytes, about: About
) -> tuple[str, int, tuple[int, ...], tuple[tuple[int, int], ...]]:
    try:
        head = json.loads(text)
        theirs = head["about"]
        differing = [key for key in {**about, **theirs} if theirs.get(key) != about.get(key)]
        if differing:
            raise BadSessionFile(f"is of another {' and another '.join(differing)}")
        session, n_tokens, slabs = head["session"], head["n_tokens"], tuple(head["slabs"])
        states = tuple((place, n_bytes) for place, n_bytes in head.get("states", ()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadSessionFile("has a head that cannot be read") from None
    places = [place for place, _ in states]
    if (
        not isinstance(session, str)
        or not _is_utf8(session)
        or not all(type(n) is int and n > 0 for n in (n_tokens, *places))
        or not len(slabs) <= n_tokens <= _MOST_TOKENS
        or not all(type(n_bytes) is int and n_bytes > 0 for n_bytes in slabs)
        or not all(type(n_bytes) is int and n_bytes > 0 for _, n_bytes in states)
        or places != sorted(set(places))
        or max(places, default=0) > n_tokens
    ):
        raise BadSessionFile("has a head that cannot be read")
    return session, n_tokens, slabs, states


def _is_utf8(text: str) -> bool:
    """True if the text can be encoded. JSON may contain halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _le(tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    return tokens.astype("<i4", copy=False)


def _digest(data: bytes | memoryview) -> bytes:
    # For more than two kilobytes hashlib releases the interpreter.
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
