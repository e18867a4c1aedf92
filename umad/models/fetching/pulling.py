"""Fetches the model that a reference means, and has the store keep it.

The order is: what is to be fetched (asked of the hub or a registry), room for all of it, file after
file, the names, the store's record. A process that is killed anywhere in between leaves what it has
for the next one, and no name of a model that is not whole.
Not: how a file comes (`umad.models.fetching.download`), nor what is printed (`umad.cli.pull`).
Owner: the thread that calls.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from umad.clock import Clock, MonotonicClock
from umad.errors import FetchFailed
from umad.models.catalogue import Catalogue
from umad.models.fetching.download import Download
from umad.models.fetching.hub import MAIN, Hub, HubAccess, HubModel
from umad.models.fetching.limits import FetchLimits, RateLimit
from umad.models.fetching.ollama import OllamaRegistry
from umad.models.fetching.partial import read_marks
from umad.models.fetching.progress import FetchProgress, Pace
from umad.models.fetching.remote import RemoteFile
from umad.models.fetching.room import check_room
from umad.models.files import ModelFiles, quantization_in, stem_of
from umad.models.found import FoundModel, described
from umad.models.gguf import parts, read_header
from umad.models.meant import meant_by
from umad.models.ollama_layout import layout_in
from umad.models.places.listing import hub_source, name_of
from umad.models.reference import LATEST, ModelReference
from umad.models.store import Store, StoredModel, store_folder
from umad.models.whisper import is_speech_file
from umad.private_file import own_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPlan:
    """The plan of a fetch, before its first byte."""

    # The model, exactly: a reference that means the same next year.
    source: str
    # Names and sizes, in the order in which they come.
    files: tuple[tuple[str, int], ...]
    # Of all files together, those that are not here yet.
    missing_bytes: int
    # What was chosen though nobody asked for it; empty where it was asked for.
    note: str = ""
    # The sums that the files' contents will have, by name, where they are SHA-256.
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ways:
    """The limits, the store and the listeners of one fetch."""

    limits: FetchLimits
    rate: RateLimit
    store: Store
    on_plan: Callable[[FetchPlan], None]
    on_progress: Callable[[FetchProgress], None]
    taken: frozenset[str] = frozenset()
    # Whole weights are wanted of a repository, for whoever quantizes them.
    whole: bool = False
    clock: Clock = field(default_factory=MonotonicClock)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """One file, and where it goes."""

    remote: RemoteFile
    final: Path
    lock: Path
    # Where it lies on a file system without links.
    named: Path | None = None

    @property
    def is_named(self) -> bool:
        """The bytes lie under the file's name itself."""
        path = self.named
        if path is None or path.is_symlink() or not os.path.isfile(path):
            return False
        return path.stat().st_size == self.remote.size_bytes

    def missing_bytes(self) -> int:
        size_bytes = self.remote.size_bytes
        if self.is_named:
            return 0
        if os.path.isfile(self.final) and self.final.stat().st_size == size_bytes:
            return 0
        marks = read_marks(self.final)
        if marks is None or marks.digits != self.remote.checksum.digits:
            return size_bytes
        return size_bytes - marks.done_bytes


def fetch(
    reference: ModelReference,
    *,
    on_progress: Callable[[FetchProgress], None],
    on_plan: Callable[[FetchPlan], None] = lambda plan: None,
    limits: FetchLimits | None = None,
    catalogue: Catalogue | None = None,
    store: Store | None = None,
    taken: Collection[str] = (),
    whole: bool = False,
) -> FoundModel:
    """Fetch a model, or what is missing of it, and return it. Blocks until it is here.

    Raises `UnknownModel`, `AccessNeeded`, `DiskFull`, `FetchFailed` or `Refused`, each in one line.
    on_progress: called in this thread, some times a second. taken: names that the model may not
    have, because they mean another one. whole: of a repository's files that of F16, BF16 or F32,
    unless the reference names another.
    """
    used = limits or FetchLimits()
    ways = _Ways(
        limits=used,
        rate=RateLimit(used.bytes_per_s),
        store=store or Store(store_folder(os.environ)),
        on_plan=on_plan,
        on_progress=on_progress,
        taken=frozenset(taken),
        whole=whole,
    )
    wanted = meant_by(reference, catalogue or Catalogue(), whole=whole)
    try:
        # Before gigabytes come: a store that takes no record takes none afterwards either.
        own_folder(ways.store.records_folder)
    except OSError as error:
        raise ways.store.refusal(error) from error
    match wanted.kind:
        case "hub":
            return _from_hub(wanted, ways)
        case "ollama":
            return _from_registry(wanted, ways)
        case _:
            return _from_disk(wanted, ways)


# -- the hub ---------------------------------------------------------------------------------------


def _from_hub(reference: ModelReference, ways: _Ways) -> FoundModel:
    hub = Hub(HubAccess.of_client())
    model = hub.find(
        reference.repository, wanted=reference.tag, file=reference.file, whole=ways.whole
    )
    folder = hub.repository(model.repository)
    source = _hub_source(model)
    for one in model.files:
        folder.drop_older(one.path, one.etag)
    wanted = [
        _Wanted(
            remote=one.remote,
            final=folder.blob(one.etag),
            lock=folder.lock(one.etag),
            named=folder.pointer(model.commit, one.path),
        )
        for one in model.files
    ]
    has_fetched = _bring(source, wanted, ways, hub.client, note=_note(model))
    # llama.cpp opens the first part, so its name comes last.
    linked = [(one.path, one.etag) for one in reversed(model.files)]
    if linked:
        try:
            folder.publish(model.commit, MAIN, linked)
        except OSError as error:
            raise _unwritten(error, folder.folder) from error

    def here(path: Path) -> Path:
        return folder.pointer(model.commit, path.as_posix())

    chosen = model.choice.files
    files = ModelFiles(
        parts=tuple(map(here, chosen.parts)),
        projector=None if chosen.projector is None else here(chosen.projector),
    )
    digests = {
        folder.pointer(model.commit, one.path): one.etag
        for one in model.files
        if one.remote.checksum.kind == "sha256"
    }
    return _kept(
        StoredModel(
            name=name_of(chosen.main, reference.name),
            files=files,
            source=source,
            licence=model.licence,
            digests=digests,
            # What another program had put into the cache is not umad's to remove.
            owns_files=has_fetched or _owns(ways.store, files),
        ),
        ways,
    )


def _owns(store: Store, files: ModelFiles) -> bool:
    return any(one.owns_files for one in store.models() if one.files.main == files.main)


def _hub_source(model: HubModel) -> str:
    """The reference of exactly this model. Two models of one quantization were refused, unless one
    was named by its file; so the quantization says which.
    """
    main = model.choice.files.main
    return hub_source(model.repository, main, is_only=model.choice.is_only)


def _note(model: HubModel) -> str:
    if not model.choice.is_makeshift:
        return ""
    return (
        f"{model.repository} has no Q4_K_M, which umad takes unless told otherwise; "
        f"{model.choice.quantization} is taken"
    )


# -- a registry of Ollama's ------------------------------------------------------------------------


def _from_registry(reference: ModelReference, ways: _Ways) -> FoundModel:
    layout = layout_in(ways.store)
    with httpx2.Client() as client:
        registry = OllamaRegistry(reference.host, client)
        model = registry.find(reference)
        wanted = [
            _Wanted(
                remote=registry.remote(model, one), final=layout.blob(one), lock=layout.lock(one)
            )
            for one in model.layers
        ]
        _bring(str(reference), wanted, ways, client)
    try:
        layout.publish(reference, model.manifest)
    except OSError as error:
        raise ways.store.refusal(error) from error
    files = layout.files(model.layers)
    digests = {layout.blob(one): one.digits for one in model.layers}
    facts = layout.facts_of(reference)
    return _kept(
        StoredModel(
            name=str(reference).removeprefix("ollama:").removesuffix(f":{LATEST}"),
            files=files,
            source=str(reference),
            licence="" if facts is None else facts.licence,
            digests={path: digest for path, digest in digests.items() if path in files.all},
        ),
        ways,
    )


# -- a file ----------------------------------------------------------------------------------------


def _from_disk(reference: ModelReference, ways: _Ways) -> FoundModel:
    """The store only learns its name: a file that is here is served where it lies."""
    path = Path(os.path.expanduser(reference.name)).absolute()
    every = (path,) if is_speech_file(path) else parts(path, read_header(path))
    files = ModelFiles(parts=every)
    sizes = [(one.name, one.stat().st_size) for one in files.parts if os.path.isfile(one)]
    ways.on_plan(FetchPlan(source=str(path), files=tuple(sizes), missing_bytes=0))
    stored = StoredModel(name=stem_of(path), files=files, source=str(path), owns_files=False)
    found = _found(stored)
    if found.problem and found.kind != "adapter":
        raise FetchFailed(f"{path} cannot be served: {found.problem}")
    return _kept(stored, ways)


# -- all of them -----------------------------------------------------------------------------------


def _bring(
    source: str,
    wanted: Sequence[_Wanted],
    ways: _Ways,
    client: httpx2.Client,
    note: str = "",
) -> bool:
    """Fetch every file; whether one was missing. Room for all is looked for before the first."""
    missing_bytes = sum(one.missing_bytes() for one in wanted)
    sizes = tuple((one.remote.name, one.remote.size_bytes) for one in wanted)
    digests = {
        one.remote.name: one.remote.checksum.digits
        for one in wanted
        if one.remote.checksum.kind == "sha256"
    }
    plan = FetchPlan(source=source, files=sizes, missing_bytes=missing_bytes, note=note)
    ways.on_plan(replace(plan, digests=digests))
    if missing_bytes:
        try:
            check_room(
                wanted[0].final.parent,
                what=source,
                needed_bytes=missing_bytes,
                keep_free_bytes=ways.limits.keep_free_bytes,
            )
        except OSError as error:
            raise _unwritten(error, wanted[0].final.parent) from error
    for one in wanted:
        if one.is_named:
            whole = Pace(one.remote.name, one.remote.size_bytes)
            ways.on_progress(whole.read(one.remote.size_bytes, ways.clock.now_ns()))
            continue
        Download(
            one.remote,
            one.final,
            one.lock,
            client=client,
            limits=ways.limits,
            rate=ways.rate,
            clock=ways.clock,
            on_progress=ways.on_progress,
        ).run()
    gone = next((one for one in wanted if one.missing_bytes()), None)
    if gone is not None:
        raise FetchFailed(f"{gone.remote.name} was removed while the rest came; pull it again")
    return missing_bytes > 0


def _kept(model: StoredModel, ways: _Ways) -> FoundModel:
    """Have the store keep a model, under a name that no other model has."""
    store = ways.store
    with store.alone():
        for name in (model.name, model.source):
            other = store.get(name)
            if name in ways.taken:
                continue
            if other is None or other.source == model.source or other.files == model.files:
                break
        kept = replace(model, name=name, fetched_s=round(datetime.now(UTC).timestamp()))
        store.add(kept)
    return _found(kept)


def _found(model: StoredModel) -> FoundModel:
    found = FoundModel(
        name=model.name,
        files=model.files,
        place="store",
        source=model.source,
        size_bytes=model.files.size_bytes(),
        quantization=quantization_in(model.files.main),
    )
    return described(found)[0]


def _unwritten(error: OSError, folder: Path) -> FetchFailed:
    where = error.filename or folder
    return FetchFailed(f"{where} cannot be written: {error.strerror or error}")
