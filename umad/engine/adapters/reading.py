"""Reads the adapters that a request names: checks their headers, and takes their digests.

A file is read once for as long as it stays the same: by its inode, size and time of change. The
digest covers the whole file, because two adapters that were trained in the same way have the same
header and size. Errors name the adapter as the request did, never its place on the disk.
Threads: any; two that read one file at the same time read it twice, and agree.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from umad.engine.adapters.adapter_set import (
    AdapterFile,
    AdapterSet,
    AdapterShelf,
    Identity,
    identity_of,
)
from umad.errors import BadRequest, ModelLoadFailed, Unsupported
from umad.models.adapters import read_adapter

# Half of BLAKE2b: nobody has two adapters of one digest by chance. Whoever makes two on purpose
# fools only the requests that name them.
_DIGEST_BYTES = 16
_PIECE_BYTES = 2**20
_REMEMBERED = 256
_BYTES_PER_MB = 1e6
# (name, path, scale, the field that named it), as the daemon sends them.
Asked = tuple[str, str, float, str]


class AdapterReader:
    """Reads adapters for one engine. shelf: None where the backend serves none."""

    def __init__(self, shelf: AdapterShelf | None) -> None:
        self._shelf = shelf
        self._read: OrderedDict[Identity, AdapterFile] = OrderedDict()

    def set_of(self, asked: Sequence[Asked]) -> AdapterSet | None:
        """The set of the adapters that a request names; None for none. Blocks for the disk.

        Raises `BadRequest`, which names the adapter and says why it cannot be used, and
        `Unsupported` where this model is served without adapters.
        """
        wanted = [(name, Path(path), scale, field) for name, path, scale, field in asked if scale]
        if not wanted:
            return None
        first = wanted[0][3]
        if self._shelf is None:
            raise Unsupported("this model is served without adapters", field=first)
        parts: list[tuple[AdapterFile, float]] = []
        names: dict[str, str] = {}
        for name, path, scale, field in wanted:
            try:
                file = self._file(name, path, self._shelf)
            except BadRequest as error:
                error.field = field
                raise
            other = names.setdefault(file.digest, name)
            if other != name:
                raise BadRequest(
                    f"the adapters {other!r} and {name!r} are the same file; name it once",
                    field=field,
                )
            parts.append((file, scale))
        if len(parts) > 1 and any(file.invocation for file, _ in parts):
            activated = next(file.name for file, _ in parts if file.invocation)
            raise BadRequest(
                f"{activated!r} is an activated adapter (aLoRA), which is used alone", field=first
            )
        chosen = AdapterSet.of(parts)
        if chosen.size_bytes > self._shelf.capacity_bytes:
            why = _too_large(chosen.size_bytes, self._shelf.capacity_bytes)
            raise BadRequest(f"the adapters cannot be used together: {why}", field=first)
        return chosen

    def _file(self, name: str, path: Path, shelf: AdapterShelf) -> AdapterFile:
        """Raises `BadRequest` without a field."""
        try:
            identity = identity_of(path)
            known = self._read.get(identity)
            if known is None:
                known = _read_file(name, path, shelf, identity)
                if identity_of(path) != identity:
                    raise _unusable(name, "its file was written while it was read; ask again")
                self._read[identity] = known
                if len(self._read) > _REMEMBERED:
                    self._read.popitem(last=False)
        except OSError as error:
            raise _unusable(name, f"its file cannot be read: {error.strerror}") from None
        return replace(known, name=name)


def _read_file(name: str, path: Path, shelf: AdapterShelf, identity: Identity) -> AdapterFile:
    try:
        facts, header = read_adapter(path)
    except ModelLoadFailed as error:
        raise _unusable(name, error.message.replace(str(path), "its file")) from None
    why = shelf.misfit(header)
    if why:
        raise _unusable(name, why)
    if facts.size_bytes > shelf.capacity_bytes:
        raise _unusable(name, _too_large(facts.size_bytes, shelf.capacity_bytes))
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    left = header.needed_bytes
    with path.open("rb") as file:
        # What stands behind the last matrix is nobody's: a file may be as long as it likes.
        while left > 0 and (piece := file.read(min(left, _PIECE_BYTES))):
            digest.update(piece)
            left -= len(piece)
    return AdapterFile(
        name=name,
        path=path,
        digest=digest.hexdigest(),
        identity=identity,
        size_bytes=facts.size_bytes,
        invocation=facts.invocation,
    )


def _too_large(size_bytes: int, capacity_bytes: int) -> str:
    size, room = size_bytes / _BYTES_PER_MB, capacity_bytes / _BYTES_PER_MB
    return f"{size:.0f} MB are needed, and there are {room:.0f} MB for adapters (adapter_bytes)"


def _unusable(name: str, why: str) -> BadRequest:
    return BadRequest(f"the adapter {name!r} cannot be used: {why}")
