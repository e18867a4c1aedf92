"""Lays files out as the hub's own client does, so that every tool that knows its cache finds them.

    models--org--repo/blobs/ETAG               a file's bytes, by their checksum
    models--org--repo/snapshots/COMMIT/PATH    a link to them, by the name in the repository
    models--org--repo/refs/main                the commit that `main` was at
    .locks/models--org--repo/ETAG.lock         who fetches a blob has this lock; the client has too

A model's links are made when all its blobs are there, the first part's last: llama.cpp opens that
one. So a model is there whole or not at all.
Layout: huggingface.co/docs/huggingface_hub/guides/manage-cache. Not: reading the cache
(`umad.models.places.hugging_face`).
"""

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from umad.models.fetching.partial import discard, unfinished_in

_COMMIT = re.compile(r"[0-9a-f]{40}")
# Failures that say nothing about whether a file system has links.
_NOT_OF_LINKS = (errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.EROFS, errno.EIO)
_MOST_NAME_BYTES = 255
_QUOTED_CHARS = 128
_TAG = "CACHEDIR.TAG"
# The standard's own signature; backup programs leave out a folder that has it.
_TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of files of a hub.\n"
)


def is_commit(text: str) -> bool:
    """True for a text that names a commit, and no folder elsewhere."""
    return _COMMIT.fullmatch(text) is not None


class HubRepository:
    """One repository's folder in the cache."""

    def __init__(self, cache: Path, repository: str) -> None:
        name = "models--" + repository.replace("/", "--")
        self._cache = cache
        self.folder = cache / name
        self._locks = cache / ".locks" / name

    def blob(self, etag: str) -> Path:
        """The place of a file's bytes."""
        return self.folder / "blobs" / etag

    def lock(self, etag: str) -> Path:
        """The lock of whoever fetches them."""
        return self._locks / f"{etag}.lock"

    def snapshot(self, commit: str) -> Path:
        """The folder with a commit's names."""
        return self.folder / "snapshots" / commit

    def commit_of(self, revision: str) -> str:
        """The commit that a branch was at; empty where nobody fetched it."""
        try:
            said = (self.folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""
        return said if is_commit(said) else ""

    def drop_older(self, file: str, etag: str) -> None:
        """Remove what is left of other versions of a file that were never whole."""
        for final, marks in unfinished_in(self.folder / "blobs"):
            if marks.file != file or final.name == etag:
                continue
            lock = FileLock(self.lock(final.name), mode=0o664, thread_local=False)
            # One that is being fetched at this moment is left to whoever does.
            with contextlib.suppress(Timeout, OSError), lock.acquire(blocking=False):
                discard(final)

    def publish(self, commit: str, revision: str, files: Sequence[tuple[str, str]]) -> None:
        """Give the model its names. files: (path in the repository, ETag), in the order to link."""
        for path, etag in files:
            self._link(commit, path, etag)
        ref = self.folder / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        half = ref.with_name(f".{ref.name}.{uuid.uuid4().hex[:8]}")
        half.write_text(commit, encoding="ascii")
        half.replace(ref)
        tag = self._cache / _TAG
        if not tag.exists():
            with contextlib.suppress(OSError):
                tag.write_text(_TAG_TEXT, encoding="ascii")

    def pointer(self, commit: str, path: str) -> Path:
        """The link of a file of a commit. Raises `ValueError` for a name that leads out of it, or
        that no file can have.
        """
        inner = PurePosixPath(path)
        if inner.is_absolute() or ".." in inner.parts or "\0" in path:
            raise ValueError(f"{path!r} leads out of the repository")
        if any(len(os.fsencode(part)) > _MOST_NAME_BYTES for part in inner.parts):
            raise ValueError(f"{path[:_QUOTED_CHARS]!r}… has a name too long for a file")
        return self.snapshot(commit) / Path(*inner.parts)

    def _link(self, commit: str, path: str, etag: str) -> None:
        pointer, blob = self.pointer(commit, path), self.blob(etag)
        if os.path.realpath(pointer) == os.path.realpath(blob) or not blob.exists():
            return
        pointer.parent.mkdir(parents=True, exist_ok=True)
        half = pointer.with_name(f".{uuid.uuid4().hex[:8]}.link")
        try:
            half.symlink_to(os.path.relpath(blob, pointer.parent))
            half.replace(pointer)
        except OSError as error:
            half.unlink(missing_ok=True)
            if error.errno in _NOT_OF_LINKS:  # links of other commits need the blob
                raise
            # A file system without links: the client, too, has the bytes under the name there.
            blob.replace(pointer)
