"""Finds the model and the LoRA adapters that a request means, and lists those a model may have.

A name is looked for as it stands first, because a file may have a `+` in its name. Otherwise what
stands before the first `+` is the model, and every other part an adapter (`umad.adapters`). An
adapter is found like a model: by its whole name for everybody, by a path only for admins. Whether
it fits the model says the engine, which reads it.

Not: what is in an adapter's file (`umad.models.adapters`). Owner: the daemon's event loop; the
headers of files are read by a thread of its pool.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.adapters import AdapterChoice, parted, split_name
from umad.asker import Asker
from umad.daemon.engine import Engine
from umad.daemon.names import ModelNames, find_model_file
from umad.daemon.supervisor import Supervisor
from umad.errors import BadRequest, ModelLoadFailed, UnknownModel, Unsupported
from umad.model_names import near_names
from umad.models.adapters import AdapterFacts, looks_like_adapter, read_adapter
from umad.request import GenerateRequest

_QUOTED_CHARS = 128
# (name, path, scale, the field that named it), as an engine is sent them.
Sent = tuple[str, str, float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """The engine of a request, and the adapters that it is to use."""

    engine: Engine
    adapters: tuple[Sent, ...] = ()


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a look at a file found, and the file's size and time of change by then."""

    stamp: tuple[int, int]
    # None where it is no adapter, or a broken one.
    facts: AdapterFacts | None


class AdapterNames:
    """The adapters of one daemon."""

    def __init__(self, supervisor: Supervisor, names: ModelNames) -> None:
        self._supervisor = supervisor
        self._names = names
        self._looked: dict[Path, _Looked] = {}
        # Adapters get numbers in the order in which they were first listed, and keep them: clients
        # of llama-server ask for adapters by number.
        self._listed: dict[str, None] = {}
        # Those that some request has named. Like the models that are loaded, they are no secret.
        self._used: set[str] = set()

    def meant(self, request: GenerateRequest, asker: Asker) -> Meant:
        """The engine and the adapters that a request means. Raises `UnknownModel`, `BadRequest`, or
        the error that made the model fail.
        """
        engine, named = self._engine(request.model, asker, keep_alive_s=request.keep_alive_s)
        if named and request.lora:
            raise BadRequest(
                "adapters are named in model or in lora, and here in both", field="lora"
            )
        field = "model" if named else "lora"
        chosen = named or request.lora or ()
        sent: list[Sent] = []
        for one in chosen:
            if one.scale:
                name = one.name if one.number is None else self._numbered(one.number, asker)
                sent.append((name, self._path(name, field, asker), one.scale, field))
        if request.lora is None:
            # They are part of the model, as its maker made it.
            sent += [(path.name, str(path), 1.0, "model") for path in engine.own_adapters]
        return Meant(engine=engine, adapters=tuple(sent))

    def engine_of(self, model: str | None, asker: Asker) -> Engine:
        """The engine of a request for which adapters make no difference, such as for tokens of a
        text. Raises as `meant` does.
        """
        return self._engine(model, asker)[0]

    def plain_engine(
        self, model: str | None, asker: Asker, *, keep_alive_s: float | None = None
    ) -> Engine:
        """The engine of a request that is served without adapters. Raises `Unsupported` where it
        names some.
        """
        engine, named = self._engine(model, asker, keep_alive_s=keep_alive_s)
        if named:
            raise Unsupported(
                "vectors are computed without adapters: name the model alone", field="model"
            )
        return engine

    def base(self, model: str, asker: Asker) -> str:
        """The name of the model that is to be loaded for `model`, which may name adapters."""
        base, adapters = parted(model)
        if not adapters or self._supervisor.get(model) is not None:
            return model
        try:
            is_one = self._names.find(model, whole=not asker.is_admin) is not None
        except UnknownModel:
            is_one = True  # it may be several, and loading it says which
        if not is_one and asker.is_admin:
            with contextlib.suppress(UnknownModel, ModelLoadFailed):
                find_model_file(model)
                is_one = True
        return model if is_one else base

    def estimated(self, model: str, asker: Asker) -> tuple[str, tuple[Path, ...]]:
        """The name of the model, and the files of the adapters, in a text that names both. Raises
        `BadRequest`.
        """
        base = self.base(model, asker)
        if base == model:
            return model, ()
        chosen = [one.name for one in split_name(model)[1] if one.scale]
        return base, tuple(Path(self._path(name, "model", asker)) for name in chosen)

    async def rows(self, model: str | None, asker: Asker) -> Sequence[Mapping[str, Any]]:
        """The adapters that were made for the architecture of a model. Users are told of those
        that have been used: what else lies in the folders is not theirs to find out.
        """
        engine, _ = self._engine(model, asker)
        architecture = (await engine.told()).get("architecture")
        files = {one.name: one.path for one in self._names.all().values()}
        await asyncio.to_thread(self._look, tuple(files.values()))
        found = {
            name: looked.facts
            for name, path in files.items()
            if (looked := self._looked.get(path)) is not None and looked.facts is not None
        }
        for name in sorted(found):
            self._listed.setdefault(name)
        return [
            _row(number, name, found[name], files[name], asker)
            for number, name in enumerate(self._listed)
            if name in found
            and found[name].architecture == architecture
            and (asker.is_admin or name in self._used)
        ]

    def _engine(
        self, model: str | None, asker: Asker, *, keep_alive_s: float | None = None
    ) -> tuple[Engine, tuple[AdapterChoice, ...]]:
        if model is None or "+" not in model:
            return self._supervisor.find(model, asker, keep_alive_s=keep_alive_s), ()
        if self._is_of_loaded(model):
            base, adapters = split_name(model)
            return self._supervisor.find(base, asker, keep_alive_s=keep_alive_s), adapters
        try:
            return self._supervisor.find(model, asker, keep_alive_s=keep_alive_s), ()
        except UnknownModel:
            base, adapters = split_name(model)
            return self._supervisor.find(base, asker, keep_alive_s=keep_alive_s), adapters

    def _is_of_loaded(self, model: str) -> bool:
        """True for a loaded model's name with adapters behind it, as most requests have it. It is
        found with one look at the folders, and without reckoning which names would be near.
        """
        base, adapters = parted(model)
        if not adapters or self._supervisor.get(model) is not None:
            return False
        is_loaded = self._supervisor.get(base) is not None
        return is_loaded and self._names.find(model, whole=True) is None

    def _numbered(self, number: int, asker: Asker) -> str:
        """The name of the adapter that was listed with a number. Raises `BadRequest`."""
        name = next((one for at, one in enumerate(self._listed) if at == number), None)
        if name is None or not (asker.is_admin or name in self._used):
            raise BadRequest(
                f"no adapter has the number {number}; list them, and ask again", field="lora"
            )
        return name

    def _path(self, name: str, field: str, asker: Asker) -> str:
        """The file of an adapter. Raises `BadRequest` for a name that nothing has."""
        try:
            file = self._names.find(name, whole=not asker.is_admin)
            if file is None and asker.is_admin:
                file = find_model_file(name)
        except (UnknownModel, ModelLoadFailed):
            file = None
        if file is not None:
            self._used.add(file.name)
            return str(file.path)
        near = near_names(name, self._listed) if asker.is_admin else ()
        hint = f"; near are {', '.join(near)}" if near else ""
        raise BadRequest(f"no adapter is called {name[:_QUOTED_CHARS]!r}{hint}", field=field)

    def _look(self, paths: Iterable[Path]) -> None:
        """Look at files that are new or have changed. Blocks for the disk; one thread at a time is
        enough, and more do no harm.
        """
        for path in paths:
            stamp = _stamp(path)
            known = self._looked.get(path)
            if known is None or known.stamp != stamp:
                self._looked[path] = _Looked(stamp, _facts(path))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _facts(path: Path) -> AdapterFacts | None:
    if not looks_like_adapter(path):
        return None
    try:
        return read_adapter(path)[0]
    except ModelLoadFailed:
        return None


def _row(
    number: int, name: str, facts: AdapterFacts, path: Path, asker: Asker
) -> Mapping[str, Any]:
    """What `adapters` tells of one. Only an admin is told where it lies."""
    row: dict[str, Any] = {
        "id": number,
        "name": name,
        "architecture": facts.architecture,
        "base": facts.base or None,
        "rank": facts.rank,
        "size_bytes": facts.size_bytes,
        "invocation_tokens": list(facts.invocation),
    }
    return {**row, "path": str(path)} if asker.is_admin else row
