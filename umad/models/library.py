"""Knows every model that can be served by name: the store's, other programs', and folders' files.

    models      all of them, each under a name of its own
    find        the one that a text means: a name, an alias, or a reference of a model that is here
    described   all of them with what their headers say; slow the first time

A name is the file's without `.gguf`, or Ollama's. Two models of one name have it by the order of
places; the later one gets its reference as its name, or its place behind it. Places are looked at
again when one of their folders has changed: a look costs a microsecond or two for each folder.
Nothing is ever fetched here, and no text becomes a path.

Not: downloads, nor who may know what is here (`umad.daemon.authority`). Owner: one process's event
loop or command; not for several threads at once.
"""

import contextlib
import difflib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from umad.errors import BadRequest, UnknownModel
from umad.models.catalogue import QUANTIZATION, Catalogue
from umad.models.facts import FileFacts
from umad.models.found import FoundModel, described
from umad.models.places.folder import ModelFolder
from umad.models.places.hugging_face import HubCache, hub_caches
from umad.models.places.listing import Listing, ModelPlace, listed
from umad.models.places.llama_cpp_cache import LlamaCppCache, llama_cpp_caches
from umad.models.places.lm_studio import LmStudioFolder, lm_studio_folders
from umad.models.places.ollama import OllamaFolder, ollama_folders
from umad.models.reference import ModelReference, parse
from umad.models.store import Store, store_folder
from umad.units import NS_PER_S

_QUOTED_CHARS = 128
_DYNAMIC = "UD-"
_MOST_LISTED = 8
_MOST_NEAR = 3
# Clocks of file systems tick every 1 to 10 ms, those of old ones every 2 s.
_SETTLED_NS = 2_500_000_000


class _StorePlace:
    """The store as a place among others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Files that umad fetched itself, wherever they lie.
        self.owned: frozenset[str] = frozenset()

    def find(self) -> Listing:
        stored = self._store.models()
        self.owned = frozenset(os.path.realpath(one.files.main) for one in stored if one.owns_files)
        models = tuple(
            listed(one.files, "store", name=one.name, source=one.source) for one in stored
        )
        return Listing(models=models, watched=(self._store.records_folder,))


@dataclass(frozen=True, slots=True)
class _Looked:
    """The listing of a place, and the times of its folders' last changes."""

    listing: Listing
    # None where they are too young to be trusted.
    stamps: tuple[int, ...] | None


class Library:
    """The models of this machine."""

    def __init__(
        self,
        places: Sequence[ModelPlace] = (),
        *,
        store: Store | None = None,
        catalogue: Catalogue | None = None,
        taken: Iterable[str] = (),
    ) -> None:
        """places: in the order in which they have names. taken: names that are others'."""
        self.store = store
        self.catalogue = catalogue or Catalogue()
        self._stored = None if store is None else _StorePlace(store)
        self._places = [*places] if self._stored is None else [self._stored, *places]
        self._taken = frozenset(taken)
        self._looked: dict[ModelPlace, _Looked] = {}
        self._models: dict[str, FoundModel] = {}

    def models(self) -> tuple[FoundModel, ...]:
        """Every model, by places; no two have one name."""
        return tuple(self._current().values())

    def was_seen(self, name: str) -> bool:
        """Whether a model had exactly that name at the last look. Looks at nothing."""
        return name in self._models

    def find(self, text: str, *, whole: bool = False) -> FoundModel | None:
        """The model that a name or a reference means, of those that are here; None where it means
        none of them. Raises `UnknownModel` where several may be meant.

        whole: only where the text says exactly which, for those who may not find out what is here.
        Then nothing is raised.
        """
        models = self._current()
        for name in (text, self.catalogue.meant(text)):
            if name is None:
                continue
            if name in models:
                return models[name]
            found = self._referred(name, models.values(), whole=whole)
            if found is not None:
                return found
        # The name of a split's first file, as it stands in the folder.
        return next((one for one in models.values() if one.files.main.stem == text), None)

    def unknown(self, text: str, *, others: Iterable[str] = ()) -> UnknownModel:
        """The error for a text that no model here is called by: how to fetch it where that is
        known, else near names. For who may know what is here. others: names besides the library's.
        """
        with contextlib.suppress(BadRequest):
            asked = parse(self.catalogue.meant(text) or text)
            entry = None
            if asked.kind == "catalogue" and self.catalogue.has_family(asked.name):
                try:
                    entry = self.catalogue.entry(asked.name)
                except UnknownModel as several:
                    return several
            elif asked.kind == "catalogue":
                entry = self.catalogue.get(asked.name)
            if entry is not None or asked.kind in ("hub", "ollama"):
                name = str(asked) if entry is None else entry.name
                return UnknownModel(
                    f"{name} is not on this machine; fetch it: umad pull {name}", field="model"
                )
        hints = []
        here = [*others, *self._current(), *self.catalogue.aliases, *self.catalogue.presets]
        if near := _near(text, here, cutoff=0.5):
            hints.append(f"near are {', '.join(near)}")
        if near := _near(text, self.catalogue.entries, cutoff=0.6):
            hints.append(f"umad pull knows {', '.join(near)}")
        hint = "; ".join(hints) or "umad ls lists the models that are here"
        return UnknownModel(f"no model is called {text[:_QUOTED_CHARS]!r}; {hint}", field="model")

    def described(self) -> Iterator[tuple[FoundModel, FileFacts | None]]:
        """Every model with what its header says. What was read before is remembered by the store's
        index, as long as the file is the same.
        """
        return self.described_of(self.models())

    def described_of(
        self, models: Sequence[FoundModel]
    ) -> Iterator[tuple[FoundModel, FileFacts | None]]:
        """The same for some models. Looks at no folder, so any thread may do it."""
        index = None if self.store is None else self.store.index
        noted = {} if index is None else index.facts(one.files.main for one in models)
        fresh: dict[Path, Mapping[str, Any]] = {}
        for one in models:
            kept = noted.get(one.files.main)
            if kept is not None and not one.problem:
                yield _restored(one, kept)
                continue
            model, facts = described(one)
            if facts is not None and not model.problem:
                fresh[one.files.main] = _kept(model, facts)
            yield model, facts
        if index is not None and fresh:
            index.note_facts(fresh)

    # -- looking --------------------------------------------------------------------------------

    def _current(self) -> Mapping[str, FoundModel]:
        changed = [self._look(place) for place in self._places]
        if any(changed):
            found = [one for place in self._places for one in self._looked[place].listing.models]
            if self._stored is not None:
                owned = self._stored.owned
                found = [one for one in found if not _is_listed_twice(one, owned)]
            self._models = _named(found, self._taken)
        return self._models

    def _look(self, place: ModelPlace) -> bool:
        """Look at a place where one of its folders has changed; return whether its models have."""
        before = self._looked.get(place)
        if before is not None and _stamps(before.listing.watched) == before.stamps:
            return False
        began_ns = round(datetime.now(UTC).timestamp() * NS_PER_S)
        listing = place.find()
        stamps = _stamps(listing.watched)
        # A folder that changed just now may change again within one tick of the file system's
        # clock, and nothing would tell. So it is looked at again.
        is_settled = max(stamps, default=0) < began_ns - _SETTLED_NS
        self._looked[place] = _Looked(listing, stamps if is_settled else None)
        return before is None or before.listing != listing

    # -- references -----------------------------------------------------------------------------

    def _referred(
        self, text: str, models: Iterable[FoundModel], *, whole: bool
    ) -> FoundModel | None:
        try:
            asked = parse(text)
        except BadRequest:
            return None
        if asked.kind == "catalogue":
            entry = self.catalogue.get(asked.name)
            if entry is None:
                return None
            asked = entry.reference()
        sources = [(one, _parsed(one.source)) for one in models if one.source]
        match asked.kind:
            case "ollama":
                return next((one for one, source in sources if source == asked), None)
            case "hub":
                of_it = [
                    (one, source)
                    for one, source in sources
                    if source is not None and _same_repository(source, asked)
                ]
                fitting = _fitting(asked, of_it)
                if len(fitting) < 2:
                    return (
                        fitting[0] if fitting and (asked.tag or asked.file or not whole) else None
                    )
                if whole:
                    return None
                names = ", ".join(one.name for one in fitting[:_MOST_LISTED])
                raise UnknownModel(
                    f"{text[:_QUOTED_CHARS]!r} may be any of {names}; say which", field="model"
                )
            case _:
                return None


def machine_library(
    environ: Mapping[str, str],
    *,
    folders: Iterable[str] = (),
    catalogue: Catalogue | None = None,
    taken: Iterable[str] = (),
    others: bool = True,
    has_store: bool = True,
    platform: str = sys.platform,
) -> Library:
    """The library of this machine and user. folders: of GGUF files, as the configuration has them.
    others: the models of other programs too. has_store: umad's own too.
    """
    places: list[ModelPlace] = [ModelFolder(_absolute(one)) for one in folders]
    if others:
        places += [HubCache(one) for one in hub_caches(environ)]
        places += [LlamaCppCache(one) for one in llama_cpp_caches(environ, platform)]
        places += [OllamaFolder(one) for one in ollama_folders(environ)]
        places += [LmStudioFolder(one) for one in lm_studio_folders(environ)]
    store = Store(store_folder(environ, platform)) if has_store else None
    return Library(places, store=store, catalogue=catalogue, taken=taken)


def _near(text: str, names: Iterable[str], *, cutoff: float) -> list[str]:
    """The names that a text may be a slip of, whatever the case of its letters."""
    folded = {one.casefold(): one for one in names}
    found = difflib.get_close_matches(text.casefold(), folded, n=_MOST_NEAR, cutoff=cutoff)
    return [folded[one] for one in found]


def _absolute(folder: str) -> Path:
    return Path(os.path.expanduser(folder)).absolute()


def _named(models: Iterable[FoundModel], taken: frozenset[str]) -> dict[str, FoundModel]:
    named: dict[str, FoundModel] = {}
    for one in models:
        first = named.get(one.name)
        if first is not None and _is_same(first, one):
            continue
        for name in _names_for(one):
            if name not in named and name not in taken:
                named[name] = one if name == one.name else replace(one, name=name)
                break
    return named


def _names_for(model: FoundModel) -> Iterator[str]:
    yield model.name
    if model.source:
        yield model.source
    behind = f"{model.name}@{model.place.replace(' ', '-')}"
    yield behind
    number = 2
    while True:
        yield f"{behind}-{number}"
        number += 1


def _is_listed_twice(model: FoundModel, owned: frozenset[str]) -> bool:
    """True where a place has a file that the store has a name for: it fetches into the hub's
    cache.
    """
    return model.place != "store" and os.path.realpath(model.files.main) in owned


def _is_same(one: FoundModel, other: FoundModel) -> bool:
    """True where two models are one file, found in two places."""
    return os.path.realpath(one.files.main) == os.path.realpath(other.files.main)


def _stamps(paths: Iterable[Path]) -> tuple[int, ...]:
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1


def _parsed(source: str) -> ModelReference | None:
    try:
        return parse(source)
    except BadRequest:
        return None


def _same_repository(one: ModelReference, other: ModelReference) -> bool:
    return one.kind == other.kind and one.repository.lower() == other.repository.lower()


def _fitting(
    asked: ModelReference, models: Sequence[tuple[FoundModel, ModelReference]]
) -> list[FoundModel]:
    """The models of a repository that may be meant: those of the file or quantization that was
    asked for, else of the default quantization, else all.
    """
    if asked.file:
        return [one for one, source in models if source.file == asked.file]
    wanted = asked.tag or QUANTIZATION
    exact = [one for one, _ in models if one.quantization == wanted]
    # unsloth's dynamic quantizations are of the same kind.
    near = [one for one, _ in models if one.quantization.removeprefix(_DYNAMIC) == wanted]
    return exact or near or ([] if asked.tag else [one for one, _ in models])


# -- what the index remembers ----------------------------------------------------------------------


def _kept(model: FoundModel, facts: FileFacts) -> Mapping[str, Any]:
    # Templates are long, and `show` reads the header anyway.
    return asdict(replace(facts, template=""))


def _restored(model: FoundModel, kept: Mapping[str, Any]) -> tuple[FoundModel, FileFacts | None]:
    try:
        facts = FileFacts(**kept)
    except TypeError:  # noted by another version
        return described(model)
    known = replace(
        model,
        quantization=facts.quantization or model.quantization,
        n_params=facts.n_params,
        kind=facts.kind,
    )
    return known, facts
