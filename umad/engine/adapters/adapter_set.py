"""Holds the adapters of one request as a set with a key, and the seam to the memory they lie in.

The key says exactly what the cells of a request were computed with: the digest of each adapter's
file and its scale. Everything that is kept of a request is kept under it: prefixes, parked cells,
checkpoints, and files of sessions. It is the same in every engine and after every restart.
Values, and one Protocol.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from umad.models.gguf import GgufHeader

# Place, device, inode, size, and time of the last change.
Identity = tuple[str, int, int, int, int]


def identity_of(path: Path) -> Identity:
    """What changes whenever a file is written or replaced. Raises `OSError`."""
    found = os.stat(path)
    return str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFile:
    """One adapter's file, read and checked."""

    # The name that the request used.
    name: str
    path: Path
    # Of the whole file, in hexadecimal digits.
    digest: str
    # The file's, when the digest was taken.
    identity: Identity
    # What it takes in memory.
    size_bytes: int
    # The tokens from which on it acts; none for an adapter that acts on everything.
    invocation: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSet:
    """The adapters of one request, at least one, each with its scale."""

    parts: tuple[tuple[AdapterFile, float], ...]
    # The same for the same adapters and scales, in whatever order they were asked for.
    key: str

    @classmethod
    def of(cls, parts: Iterable[tuple[AdapterFile, float]]) -> "AdapterSet":
        """The set of these adapters."""
        ordered = tuple(sorted(parts, key=lambda part: part[0].digest))
        return cls(
            parts=ordered,
            # `repr` of a float is exact, so two scales that differ at all have two keys.
            key="+".join(f"{file.digest}@{scale!r}" for file, scale in ordered),
        )

    @property
    def invocation(self) -> tuple[int, ...]:
        """The invocation of an activated adapter, which is alone in its set; else none."""
        return self.parts[0][0].invocation

    @property
    def size_bytes(self) -> int:
        """What all of them take in memory."""
        return sum(file.size_bytes for file, _ in self.parts)


class AdapterShelf(Protocol):
    """The adapters that a backend has in memory. Each request holds its set while it is live."""

    @property
    def capacity_bytes(self) -> int:
        """The most memory that adapters may take."""
        ...

    @property
    def on(self) -> str:
        """The key of the set that steps are computed under now; "" for none."""
        ...

    def misfit(self, adapter: GgufHeader) -> str:
        """Why an adapter cannot be used with this model; empty where it can. Any thread."""
        ...

    def take(self, rid: int, adapters: AdapterSet | None) -> None:
        """Have a request's set in memory from now on; None for a request without adapters. On the
        step thread; reading a file that is not there yet takes some milliseconds for each ten
        megabytes, once.

        Raises `BadRequest` for a file that llama.cpp refuses, and `QueueFull` where live requests
        hold all the memory there is for adapters.
        """
        ...

    def leave(self, rid: int) -> None:
        """A request has ended. Its adapters stay until their memory is needed. Step thread."""
        ...

    def apply(self, key: str) -> None:
        """Compute the next steps under the set of that key, which a live request holds; "" for
        none. Step thread."""
        ...

    def spare(self) -> None:
        """The machine is short of memory: free what no live request uses. Step thread."""
        ...


class NoAdapters:
    """The shelf of a backend that serves no adapters. `AdapterReader` has refused them before."""

    capacity_bytes = 0
    on = ""

    def misfit(self, adapter: GgufHeader) -> str:
        """Says that none is served."""
        return "this model is served without adapters"

    def take(self, rid: int, adapters: AdapterSet | None) -> None:
        """Does nothing."""

    def leave(self, rid: int) -> None:
        """Does nothing."""

    def apply(self, key: str) -> None:
        """Does nothing."""

    def spare(self) -> None:
        """Does nothing."""
