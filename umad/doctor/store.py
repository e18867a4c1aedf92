"""Checks the models that umad keeps: their records, their files, the index, downloads half way.

Headers and lengths are looked at, which takes milliseconds a model. Every byte is `umad verify`'s.
Other programs' models are theirs, and `umad ls` says which of them cannot be served.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.errors import ModelLoadFailed
from umad.models.found import file_facts
from umad.models.places.hugging_face import hub_caches
from umad.models.places.listing import files_below
from umad.models.store import Store, StoredModel, store_folder

CHECK = "store"
_GB = 1e9
# What a pull leaves of a file that is not whole (`umad.models.fetching.partial`).
_HALF = ".umad.incomplete"
# STORE/files/ollama/blobs, CACHE/models--org--repo/blobs
_DEPTH = 2


def check(around: Surroundings) -> list[Finding]:
    """Look at the store of this user."""
    store = Store(store_folder(around.environ, around.platform))
    models = store.models()
    found = [one for path in store.damaged() for one in _record(path)]
    found += [one for model in models for one in _model(model)]
    if not found:
        count = f"{len(models)} models are" if len(models) != 1 else "1 model is"
        found.append(good(CHECK, f"{count} kept, all whole" if models else "no model is kept yet"))
    if fault := store.index.fault():
        path = str(store.index.path)
        found.append(
            note(
                CHECK,
                f"the index beside the models is damaged ({fault}); it is made anew when a model "
                "is loaded, and last uses are lost",
                path,
                mend=f"rm {shlex.quote(path)}",
            )
        )
    return [*found, *_half_way(store, around)]


def _record(path: Path) -> Iterator[Finding]:
    yield wrong(
        CHECK,
        f"the record of a model is damaged, so it is not listed: {path}",
        str(path),
        path.name,
        mend=f"rm {shlex.quote(str(path))}, then pull the model again: what is here is not "
        "fetched twice",
    )


def _model(model: StoredModel) -> Iterator[Finding]:
    """Findings on one model's files; none where they are whole."""
    name, source = shlex.quote(model.name), shlex.quote(model.source)
    missing = model.files.missing()
    again = f"umad pull {source}" if model.source else f"umad rm {name}"
    if missing:
        path = missing[0]
        yield wrong(
            CHECK,
            f"{model.name} lacks its file {path}",
            str(path),
            path.name,
            model.name,
            model.source,
            mend=f"{again}, or, if it is not wanted: umad rm {name}",
        )
        return
    try:
        facts, problem = file_facts(model.files.main)
        # An adapter is served with the model that it was made for.
        problem = "" if facts.kind == "adapter" else problem
    except ModelLoadFailed as error:
        problem = error.message
    if problem:
        yield wrong(
            CHECK,
            f"{model.name} cannot be served: {problem}",
            problem,
            model.name,
            model.source,
            mend=f"umad rm {name}" + (f", then: {again}" if model.source else ""),
        )


def _half_way(store: Store, around: Surroundings) -> list[Finding]:
    """A note on what stopped downloads have left."""
    folders = (store.files_folder, *hub_caches(around.environ))
    halves = [
        path
        for folder in folders
        for path in files_below(folder, [], depth=_DEPTH)
        if path.name.endswith(_HALF)
    ]
    if not halves:
        return []
    n_bytes = sum(_taken_bytes(path) for path in halves)
    first = str(halves[0])
    return [
        note(
            CHECK,
            f"{n_bytes / _GB:.1f} GB are of downloads that were stopped, or are on their way",
            first,
            mend="umad pull MODEL goes on with one; to give one up: "
            f"rm {shlex.quote(first.removesuffix(_HALF))}.umad*.incomplete",
        )
    ]


def _taken_bytes(path: Path) -> int:
    """On the disk: a file that is on its way is sparse."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0
