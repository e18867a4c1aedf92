"""Finds GGUF models in the cache of the Hugging Face hub, whoever put them there.

    hub/models--org--repo/refs/main                  the commit that `main` was at
    hub/models--org--repo/snapshots/COMMIT/x.gguf    a link to ../../blobs/SHA256
    hub/models--org--repo/blobs/SHA256

huggingface_hub, llama.cpp (`llama-server -hf`) and umad share it. llama.cpp has it in `LLAMA_CACHE`
where that is set. Layout: huggingface.co/docs/huggingface_hub/guides/manage-cache.
Not: fetching, nor removing (`umad.models.removal`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from umad.models.files import is_model_name, quantization_in, sorted_out
from umad.models.found import FoundModel
from umad.models.places.listing import (
    Listing,
    entries,
    files_below,
    first_folders,
    home_of,
    hub_source,
    listed,
    name_of,
    path_in,
    read_small,
)

_PREFIX = "models--"
# Repositories with many quantizations have one folder for each.
_DEPTH = 3
_COMMIT_CHARS = 40


def hub_caches(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The caches that are there, in the order in which programs look. The first that is set is
    where they fetch to; files in the others are served too.
    """
    home, hf_home = home_of(environ), path_in(environ, "HF_HOME")
    xdg = path_in(environ, "XDG_CACHE_HOME")
    return first_folders(
        path_in(environ, "LLAMA_CACHE"),
        path_in(environ, "HF_HUB_CACHE"),
        path_in(environ, "HUGGINGFACE_HUB_CACHE"),
        None if hf_home is None else hf_home / "hub",
        None if xdg is None else xdg / "huggingface" / "hub",
        home / ".cache" / "huggingface" / "hub",
    )


def fetch_cache(environ: Mapping[str, str]) -> Path:
    """The cache that the hub's client, and a pull, fetch to; it may not be there yet."""
    home, hf_home = home_of(environ), path_in(environ, "HF_HOME")
    xdg = path_in(environ, "XDG_CACHE_HOME")
    return (
        path_in(environ, "HF_HUB_CACHE")
        or path_in(environ, "HUGGINGFACE_HUB_CACHE")
        or (None if hf_home is None else hf_home / "hub")
        or (xdg or home / ".cache") / "huggingface" / "hub"
    )


class HubCache:
    """One cache of the hub."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self) -> Listing:
        """Every model of every repository, each file once: at `main` where it is there, else at
        another commit.
        """
        watched = [self._folder]
        found: list[FoundModel] = []
        for entry in entries(self._folder):
            repository = repository_of(entry.name)
            if repository is not None:
                found += _models(self._folder / entry.name, repository, watched)
        return Listing(models=tuple(found), watched=tuple(watched))


def repository_of(folder: str) -> str | None:
    """`org/repo` of a folder's name in the cache; None for another folder."""
    if not folder.startswith(_PREFIX):
        return None
    parts = folder.removeprefix(_PREFIX).split("--")
    return "/".join(parts) if len(parts) == 2 and all(parts) else None


def _models(folder: Path, repository: str, watched: list[Path]) -> Iterator[FoundModel]:
    files: dict[PurePath, Path] = {}
    for snapshot in _snapshots(folder, watched):
        for path in files_below(snapshot, watched, depth=_DEPTH):
            files.setdefault(path.relative_to(snapshot), path)
    by_path = {path: inner for inner, path in files.items()}
    models = sorted_out(by_path)
    counted = Counter(quantization_in(one.main) for one in models if is_model_name(one.main))
    for one in models:
        inner = by_path.get(one.main, PurePath(one.main.name))
        is_only = counted[quantization_in(one.main)] == 1
        yield listed(
            one,
            "hugging face",
            name=name_of(inner, repository.partition("/")[2]),
            source=hub_source(repository, inner, is_only=is_only),
        )


def _snapshots(folder: Path, watched: list[Path]) -> Iterator[Path]:
    """The folders of the commits, that of `main` first."""
    snapshots, refs = folder / "snapshots", folder / "refs"
    watched += [snapshots, refs / "main"]
    main = _commit(refs / "main")
    names = [entry.name for entry in entries(snapshots)]
    yield from (snapshots / name for name in sorted(names, key=lambda name: name != main))


def _commit(ref: Path) -> str:
    try:
        return read_small(ref, _COMMIT_CHARS).decode("ascii", "replace")
    except OSError:
        return ""
