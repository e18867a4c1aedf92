"""Removes a model that umad keeps: its record, and those of its files that nothing else needs.

Files of the store are deleted. In the hub's cache the link of a file goes, and its blob where no
other link leads to it, so that huggingface_hub finds its cache whole. A file that another model of
the store has stays, and so do models that other programs put there: the error says how to remove
those. The record goes first: a kill in between leaves files, and never a model without its files.
Not: whether a model is loaded; whoever calls has asked the daemon.
"""

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from umad.errors import BadRequest, Refused
from umad.models.files import is_projector_name, sorted_out
from umad.models.found import FoundModel, Place
from umad.models.ollama_layout import layout_in
from umad.models.places.hugging_face import repository_of
from umad.models.reference import parse
from umad.models.store import Store, StoredModel

# The hub's client notes there which commits there are, and which files are not in them.
_COMMITS = ("refs", ".no_exist")
# How a model is removed that another program keeps.
_THEIRS: Mapping[Place, str] = {
    "umad": "it ships with umad",
    "folder": "it lies in a folder of the configuration; delete the file {path}",
    "hugging face": "it lies in the hub's cache; remove it there: hf cache rm {repository}",
    "llama.cpp": "it lies in llama.cpp's cache; delete the file {path}",
    "ollama": "it is Ollama's; remove it there: ollama rm {name}",
    "lm studio": "it is LM Studio's; delete it there, under My Models",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The result of a removal."""

    # Bytes that the disk has got back.
    freed_bytes: int
    # Files that stay because another model has them, or because they are not umad's.
    kept: tuple[Path, ...]


def remove(model: FoundModel, store: Store) -> Removed:
    """Remove a model. Raises `Refused` where it is not umad's, or the store cannot be written."""
    if model.place != "store":
        raise Refused(f"{model.name} is not umad's to remove: {_advice(model)}", field="model")
    with store.alone():
        return _removed(model, store)


def _removed(model: FoundModel, store: Store) -> Removed:
    known = store.listed_as(model.name, model.files)
    stored = store.forget(model.name if known is None else known.name)
    shared = store.shared(stored)
    freed_bytes = 0
    kept: list[Path] = []
    failed: list[OSError] = []
    for path in dict.fromkeys((*stored.files.all, *_beside(stored, store))):
        if not stored.owns_files or path in shared:
            kept.append(path)
            continue
        try:
            freed = _delete(path, store, stored)
        except OSError as error:
            error.filename = error.filename or path
            failed.append(error)
            continue
        if freed is None:
            kept.append(path)
        else:
            freed_bytes += freed
    if failed:
        raise Refused(
            f"{model.name} is no longer a model of umad's, and {failed[0].filename} stays: it "
            f"cannot be deleted ({failed[0].strerror})"
        )
    return Removed(freed_bytes=freed_bytes, kept=tuple(kept))


def going(model: FoundModel, store: Store) -> frozenset[str]:
    """The files that a removal would delete, without links; none where it deletes nothing."""
    stored = store.listed_as(model.name, model.files) if model.place == "store" else None
    if stored is None or not stored.owns_files:
        return frozenset()
    shared = store.shared(stored)
    return frozenset(os.path.realpath(path) for path in stored.files.all if path not in shared)


def _beside(stored: StoredModel, store: Store) -> tuple[Path, ...]:
    """Files of a model that its record does not name: what a registry of Ollama's had beside it.
    They go with the last name of it.
    """
    if not stored.owns_files or any(one.source == stored.source for one in store.models()):
        return ()
    try:
        reference = parse(stored.source)
    except BadRequest:  # a record may say anything of where it is from
        return ()
    return layout_in(store).beside(reference) if reference.kind == "ollama" else ()


def _advice(model: FoundModel) -> str:
    path = model.files.main
    repository = next((found for one in path.parents if (found := repository_of(one.name))), "")
    return _THEIRS[model.place].format(
        name=shlex.quote(model.name),
        path=shlex.quote(str(path)),
        repository=shlex.quote(f"model/{repository}"),
    )


def _delete(path: Path, store: Store, stored: StoredModel) -> int | None:
    """Delete one file; the bytes that gave, or None where it is not umad's to delete."""
    if path.is_relative_to(store.files_folder) and ".." not in path.parts:
        freed = _size_of(path)
        path.unlink(missing_ok=True)
        _drop_empty(path.parent, above=store.files_folder)
        return freed
    repository = next((one for one in path.parents if repository_of(one.name)), None)
    if repository is None or not path.is_relative_to(repository / "snapshots"):
        return None
    if is_projector_name(path) and _others_see(path, repository, stored):
        return None
    return _delete_link(path, repository)


def _others_see(projector: Path, repository: Path, stored: StoredModel) -> bool:
    """True where another model of a repository in the hub's cache has the same projector."""
    models = sorted_out(_files_of(repository / "snapshots"))
    return any(
        one.projector is not None and one.projector == projector and one.main != stored.files.main
        for one in models
    )


def _delete_link(path: Path, repository: Path) -> int:
    """Remove a file from a repository of the hub's cache, and its blob with the last link to it."""
    blob = Path(os.path.realpath(path))
    # Where there are no links, the bytes lie under the name itself.
    freed = 0 if path.is_symlink() else _size_of(path)
    path.unlink(missing_ok=True)
    snapshots, blobs = repository / "snapshots", repository / "blobs"
    is_blob = blob.is_relative_to(Path(os.path.realpath(blobs)))
    if is_blob and all(os.path.realpath(one) != str(blob) for one in _files_of(snapshots)):
        freed = _size_of(blob)
        blob.unlink(missing_ok=True)
    _drop_empty(path.parent, above=snapshots)
    if not any(_files_of(snapshots)) and not any(_files_of(blobs)):
        _drop_repository(repository)
    return freed


def _files_of(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder, however deep: one that is overlooked would be lost."""
    for above, folders, names in os.walk(folder):
        paths = [Path(above, name) for name in (*names, *folders)]
        yield from (one for one in paths if one.is_symlink() or not one.is_dir())


def _drop_repository(repository: Path) -> None:
    """Remove a repository that has no file but the names of its commits. A folder that somebody
    writes into meanwhile stays.
    """
    for name in _COMMITS:
        for path in list(_files_of(repository / name)):
            path.unlink(missing_ok=True)
    for folder, _, _ in os.walk(repository, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _drop_empty(folder: Path, *, above: Path) -> None:
    """Remove a folder and those around it as far as they are empty, and `above` stays."""
    while folder != above and folder.is_relative_to(above):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if os.path.exists(folder):
            return
        folder = folder.parent


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
