"""Finds models in llama.cpp's own cache, as it was before it used the hub's.

    org_repo_file.gguf                   a file of a repository; projectors likewise
    manifest=org=repo=tag.json           what the hub said of it
    file.gguf                            a file fetched by its address

Names are joined by `_`, which may stand in them too, so the manifest says where one ends.
Layout: common/download.cpp and common/arg.cpp of llama.cpp before September 2025.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from umad.models.files import quantization_in, sorted_out
from umad.models.found import FoundModel
from umad.models.places.listing import (
    Listing,
    entries,
    first_folders,
    home_of,
    hub_source,
    listed,
    name_of,
    path_in,
)

_MANIFEST = re.compile(r"manifest=([^=]+)=([^=]+)=.*\.json")
# Without a manifest: repositories of such files nearly all end so.
_LIKELY = re.compile(r"([^_]+)_(.+?-gguf)_(.+\.gguf)", re.IGNORECASE)


def llama_cpp_caches(environ: Mapping[str, str], platform: str) -> tuple[Path, ...]:
    """The caches that are there."""
    home = home_of(environ)
    xdg = path_in(environ, "XDG_CACHE_HOME")
    return first_folders(
        path_in(environ, "LLAMA_CACHE"),
        home / "Library" / "Caches" / "llama.cpp" if platform == "darwin" else None,
        None if xdg is None else xdg / "llama.cpp",
        home / ".cache" / "llama.cpp",
    )


class LlamaCppCache:
    """One cache of llama.cpp's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self) -> Listing:
        """Every model in the folder itself."""
        names = [entry.name for entry in entries(self._folder)]
        repositories = [
            (found[1], found[2]) for name in names if (found := _MANIFEST.fullmatch(name))
        ]
        of_repository: dict[tuple[str, str], list[str]] = {}
        for name in names:
            if name.lower().endswith(".gguf"):
                of_repository.setdefault(_repository(name, repositories), []).append(name)
        models = [one for key, files in of_repository.items() for one in self._models(key, files)]
        return Listing(models=tuple(models), watched=(self._folder,))

    def _models(self, repository: tuple[str, str], names: list[str]) -> Iterator[FoundModel]:
        prefix = "_".join(repository) + "_" if repository[0] else ""
        found = sorted_out([self._folder / name for name in names])
        counted = Counter(quantization_in(one.main) for one in found)
        for one in found:
            inner = PurePath(one.main.name.removeprefix(prefix))
            # Files fetched by address have nothing to do with one another.
            files = one if prefix else replace(one, projector=None)
            is_only = counted[quantization_in(inner)] == 1
            yield listed(
                files,
                "llama.cpp",
                name=name_of(inner, repository[1]),
                source=hub_source("/".join(repository), inner, is_only=is_only) if prefix else "",
            )


def _repository(name: str, known: list[tuple[str, str]]) -> tuple[str, str]:
    """(org, repo) of a file's name; empty texts where it has none."""
    fitting = [one for one in known if name.startswith(f"{one[0]}_{one[1]}_")]
    if fitting:
        return max(fitting, key=lambda one: len(one[1]))
    likely = _LIKELY.fullmatch(name)
    return ("", "") if likely is None else (likely[1], likely[2])
