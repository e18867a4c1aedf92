"""Does what a job is for: fetches a model, or writes a smaller copy of one into the store.

The process of a job does it, and `umad pull` where no daemon runs. A copy lies in the store:

    FOLDER/files/quantized/MARK/NAME-TYPE.gguf

MARK tells one source from another of the same name, and from itself after a change. So a copy that
is there already is the right one, and nothing is written twice. Blocks; can be ended at any moment
by an exception in its thread, and leaves then what a next try goes on from.
Not: the list of jobs (`umad.jobs.book`).
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from umad import nano
from umad.engine.quantizer import Quantization
from umad.errors import BadRequest, InternalError, ModelLoadFailed
from umad.jobs.job import JobProgress, Order, PartProgress, PullOrder, QuantizeOrder, Step
from umad.models.fetching import FetchLimits, FetchPlan, FetchProgress, fetch
from umad.models.files import ModelFiles, stem_of
from umad.models.found import FoundModel, described
from umad.models.reference import parse
from umad.models.store import Store, StoredModel
from umad.private_file import own_folder
from umad.quantization import QuantizeProgress, QuantizeWish, SizeTold, without_type

Tell = Callable[[JobProgress], None]
_FOLDER = "quantized"
_MARK_DIGITS = 12


def carry_out(order: Order, store: Store, tell: Tell) -> Mapping[str, Any]:
    """Do what is asked; returns the facts of the model that was made. tell: called often; what it
    is given is how far this is. Raises the `UmadError` that prevents it.
    """
    match order:
        case PullOrder():
            return pull(order, store, tell).as_map()
        case QuantizeOrder():
            source = Path(order.source)
            projector = Path(order.projector) if order.projector else None
            files = ModelFiles(parts=(source,), projector=projector)
            return quantize(
                files, store, tell, model=order.model, wish=order.wish, name=order.name
            ).as_map()
        case _:
            raise InternalError("a load is the daemon's")


# -- fetching --------------------------------------------------------------------------------------


def pull(order: PullOrder, store: Store, tell: Tell) -> FoundModel:
    """Fetch a model, and quantize it where that was asked for."""
    given = {
        "parts": order.parts,
        "bytes_per_s": order.bytes_per_s,
        "keep_free_bytes": order.keep_free_bytes,
    }
    limits = FetchLimits(**{name: one for name, one in given.items() if one is not None})
    told = _Fetching(tell)
    found = fetch(
        parse(order.reference),
        on_plan=told.plan,
        on_progress=told.progress,
        limits=limits,
        store=store,
        taken=(nano.NAME,),
        whole=order.quantize is not None,
    )
    if order.quantize is None:
        return found
    if found.problem:
        raise ModelLoadFailed(f"{found.name} cannot be quantized: {found.problem}", field="model")
    kept = store.get(found.name)
    return quantize(
        found.files,
        store,
        tell,
        model=found.name,
        wish=order.quantize,
        licence="" if kept is None else kept.licence,
    )


@dataclass(slots=True)
class _Fetching:
    """Makes a job's progress of what a fetch tells, file by file."""

    _tell: Tell
    _now: JobProgress = field(default_factory=lambda: JobProgress(step="fetching"))

    def plan(self, plan: FetchPlan) -> None:
        """What comes."""
        self._now = replace(
            self._now,
            parts=tuple(
                PartProgress(name=name, done=0, total=size, digest=plan.digests.get(name, ""))
                for name, size in plan.files
            ),
            missing_bytes=plan.missing_bytes,
            source=plan.source,
            note=plan.note,
        )
        self._tell(self._now)

    def progress(self, told: FetchProgress) -> None:
        """How far one file is."""
        self._now = replace(
            self._now,
            parts=tuple(
                one
                if one.name != told.file
                else replace(
                    one,
                    done=told.done_bytes,
                    total=told.total_bytes,
                    per_s=told.bytes_per_s,
                    remaining_s=told.remaining_s,
                )
                for one in self._now.parts
            ),
        )
        self._tell(self._now)


# -- quantizing ------------------------------------------------------------------------------------


def quantize(
    source: ModelFiles,
    store: Store,
    tell: Tell,
    *,
    model: str,
    wish: QuantizeWish,
    name: str = "",
    licence: str = "",
) -> FoundModel:
    """Write a smaller copy of a model into the store, under a name of its own.

    model: the source's name. name: the copy's, unless it is to be the source's with the type behind
    it. Raises as `Quantization.run`.
    """
    told = Quantization(source.main, source.main, wish).size()
    folder = store.files_folder / _FOLDER / _mark(source.main)
    target = folder / f"{without_type(stem_of(source.main))}-{told.kind.upper()}.gguf"
    called = _name(name, f"{without_type(model)}-{told.kind.upper()}", target, store)

    def at(step: Step, done: int, total: int) -> None:
        part = PartProgress(name=target.name, done=done, total=total)
        tell(JobProgress(step=step, parts=(part,), note=told.words()))

    if not target.exists():
        try:
            own_folder(folder)
        except OSError as error:
            raise store.refusal(error) from error

        def on_progress(progress: QuantizeProgress) -> None:
            is_written = progress.done == progress.total
            at("checking" if is_written else "quantizing", progress.done, progress.total)

        def on_size(_: SizeTold) -> None:
            at("quantizing", 0, 0)

        work = Quantization(source.main, target, told.kind)
        try:
            work.run(on_size=on_size, on_progress=on_progress)
        except BadRequest:
            if not target.exists():
                raise
            # Another job has made it meanwhile, under another name of it.
    with store.alone():
        kept = StoredModel(
            # Somebody may have taken the name meanwhile.
            name=_name(name, called, target, store),
            files=ModelFiles(parts=(target,), projector=source.projector),
            licence=licence,
            fetched_s=round(datetime.now(UTC).timestamp()),
        )
        store.add(kept)
    return described(
        FoundModel(
            name=kept.name,
            files=kept.files,
            place="store",
            size_bytes=kept.files.size_bytes(),
        )
    )[0]


def _mark(source: Path) -> str:
    """A text that no other file has, nor this one after a change."""
    path = os.path.realpath(source)
    try:
        found = os.stat(path)
    except OSError as error:
        raise ModelLoadFailed(f"{source}: {error.strerror}", field="model") from error
    known = f"{path}|{found.st_size}|{found.st_mtime_ns}"
    return hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:_MARK_DIGITS]


def _name(wanted: str, otherwise: str, target: Path, store: Store) -> str:
    """The name of a copy: the one that is wanted, else one that no other model of the store has."""

    def is_free(name: str) -> bool:
        other = store.get(name)
        return other is None or other.files.main == target

    if wanted:
        if not is_free(wanted):
            raise BadRequest(f"{wanted} is a model already; remove it first", field="name")
        return wanted
    names = [otherwise, *(f"{otherwise}-{number}" for number in range(2, 100))]
    return next((one for one in names if is_free(one)), names[-1])
