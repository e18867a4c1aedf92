"""Keeps the table of models: finds, loads and unloads engines by name.

Not: keeping one engine alive (`umad.daemon.keeper`), nor handling its news
(`umad.daemon.completions`).
Owner: the daemon's event loop.
"""

import asyncio
import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import replace

from umad.asker import MACHINE_USER, Asker
from umad.clock import Clock
from umad.config import LimitSettings
from umad.daemon.authority import told_to
from umad.daemon.engine import Engine
from umad.daemon.engine_events import EngineEvents
from umad.daemon.engine_process import Launcher
from umad.daemon.engine_state import EngineState
from umad.daemon.keeper import Keeper
from umad.daemon.names import (
    ModelFile,
    ModelNames,
    find_model_file,
    is_scheme,
    not_by_name,
)
from umad.errors import BadRequest, ModelLoadFailed, ShuttingDown, UnknownModel
from umad.estimate import engine_bytes
from umad.model_names import KnownModel, quantization_of, resolve, unknown_model
from umad.protocol.errors import error_of

_LEAVING = (EngineState.DRAINING, EngineState.STOPPED)


class Supervisor:
    """The engines of one daemon, by model name, in order of loading."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        limits: LimitSettings,
        clock: Clock,
        events: EngineEvents,
        inherited: tuple[int, ...] = (),
        names: ModelNames | None = None,
    ) -> None:
        """names: the names by which models are known; without it only `nano`."""
        self._names = names or ModelNames()
        self._launcher = launcher
        self._limits = limits
        self._clock = clock
        self._events = events
        self._inherited = inherited
        self._keepers: dict[str, Keeper] = {}
        self._stopping = False

    def __iter__(self) -> Iterator[Engine]:
        return (
            keeper.engine
            for keeper in self._keepers.values()
            if keeper.engine.state is not EngineState.STOPPED
        )

    def get(self, name: str) -> Engine | None:
        """The engine of exactly that name, whatever its state."""
        keeper = self._keepers.get(name)
        return None if keeper is None else keeper.engine

    def find(self, model: str | None, asker: Asker = MACHINE_USER) -> Engine:
        """The engine that serves `model`, found by its name as clients write it
        (`umad.model_names`), or for an admin also by its path.

        None means the first one loaded. Raises `UnknownModel`, or the error that made the model
        fail.
        """
        present = [engine for engine in self if engine.state not in _LEAVING]
        if model is None:
            found = next((e for e in present if e.error is None), None) or next(iter(present), None)
            if found is None:
                raise UnknownModel("no model is loaded; load one: umad load nano", field="model")
        else:
            found = _meant(model, present, asker) or self._referred(model, present, asker)
            if found is None:
                raise self._not_loaded(model, present, asker)
        if found.error is not None:
            # A new exception each time, because an exception keeps the frames it was raised
            # through.
            error = error_of(found.error.code, found.error.message, found.error.field)
            raise told_to(asker, error, found.name)
        # A suspended one is started again; its requests wait as for one that loads.
        self._keepers[found.name].load()
        return found

    def suspend(self, name: str, reason: str) -> bool:
        """End the process of an idle engine, which its next request starts again. Return False
        where it is not ready or not idle. reason: shown to people.
        """
        keeper = self._keepers.get(name)
        return keeper is not None and keeper.suspend(reason)

    def start(self, model: str, asker: Asker = MACHINE_USER) -> Engine:
        """Begin to load a model, or continue with the engine of that name. Returns at once.

        Raises `UnknownModel`, `ModelLoadFailed` or `BadRequest` where there is nothing to start.
        """
        if self._stopping:
            raise ShuttingDown("the daemon is shutting down and loads no more models")
        file = self._file(model, asker)
        if file.problem:
            raise ModelLoadFailed(f"{file.name} cannot be loaded: {file.problem}", field="model")
        keeper = self._keepers.get(file.name)
        if keeper is not None and keeper.engine.state is not EngineState.STOPPED:
            if keeper.engine.path != file.path and not asker.is_admin:
                raise not_by_name(model)
            if keeper.engine.path != file.path:
                raise BadRequest(
                    f"another file is loaded as {file.name}: {keeper.engine.path}; "
                    f"unload it first: umad unload {shlex.quote(file.name)}",
                    field="model",
                )
            keeper.load()
            return keeper.engine
        # The new engine goes to the end of the table, so remove a stopped one of the same name.
        self._keepers.pop(file.name, None)
        file = replace(file, beside_bytes=self.taken_bytes(besides=file.name))
        self._keepers[file.name] = keeper = Keeper(
            Engine(file.name, file.path, modified_s=file.modified_s()),
            file,
            launcher=self._launcher,
            limits=self._limits,
            clock=self._clock,
            events=self._events,
            inherited=self._inherited,
        )
        if file.is_of_library:
            asyncio.get_running_loop().run_in_executor(None, self._names.note_use, file)
        return keeper.engine

    def file(self, model: str, asker: Asker = MACHINE_USER) -> ModelFile:
        """The file that `start` would open. Raises `UnknownModel` or `ModelLoadFailed`."""
        return self._file(model, asker)

    def taken_bytes(self, *, besides: str) -> int:
        """The memory that the engines of all models but one take, as far as it is known: one that
        is being loaded has told nothing yet.
        """
        return sum(engine_bytes(one.facts) for one in self if one.name != besides)

    async def load(self, model: str, asker: Asker = MACHINE_USER) -> Engine:
        """Load a model and wait until it is ready. Raises the error that prevented it."""
        leaving = self._keepers.get(self._file(model, asker).name)
        if leaving is not None and leaving.engine.state is EngineState.DRAINING:
            await leaving.ended()
        engine = self.start(model, asker)
        await asyncio.shield(engine.loaded)
        return engine

    async def unload(self, model: str) -> None:
        """Stop the engine of a model, given the model's name or path; its requests end with an
        error.

        Raises `UnknownModel`.
        """
        present = list(self)
        engine = _meant(model, present, MACHINE_USER)
        if engine is None:
            raise unknown_model(model, [one.name for one in present])
        keeper = self._keepers[engine.name]
        keeper.unload(UnknownModel(f"{keeper.engine.name} was unloaded", field="model"))
        await keeper.ended()

    async def stop(self) -> None:
        """Stop every engine and wait until the processes are gone. Bounded."""
        self._begin_to_stop()
        for keeper in self._keepers.values():
            await keeper.ended()

    def kill(self) -> None:
        """End every process now; `stop` must still reap them."""
        self._begin_to_stop()
        for keeper in self._keepers.values():
            keeper.kill()

    def _begin_to_stop(self) -> None:
        self._stopping = True
        for keeper in self._keepers.values():
            keeper.unload(ShuttingDown("the daemon has shut down"))

    def _referred(self, model: str, present: list[Engine], asker: Asker) -> Engine | None:
        """The loaded engine of a model that is asked for by an alias, by its name in the catalogue
        or by its reference.
        """
        try:
            file = self._names.find(model, whole=not asker.is_admin)
        except UnknownModel:
            return None
        return next((one for one in present if file is not None and one.name == file.name), None)

    def _file(self, model: str, asker: Asker) -> ModelFile:
        known = self._keepers.get(model)
        is_loaded = known is not None and known.engine.state not in _LEAVING
        if known is not None and (is_loaded or asker.is_admin):
            return ModelFile(name=known.engine.name, path=known.engine.path)
        named = self._names.find(model, whole=not asker.is_admin)
        if named is not None:
            return named
        if asker.is_admin:
            try:
                return find_model_file(model)
            except (UnknownModel, ModelLoadFailed) as error:
                # No file is called so. It may be a name, written as clients write it.
                near = self._near(model, asker)
                if near is not None:
                    return near
                if isinstance(error, UnknownModel) or is_scheme(model):
                    raise self._names.unknown(model) from None
                raise
        near = self._near(model, asker)
        if near is None:
            raise not_by_name(model)
        return near

    def _near(self, model: str, asker: Asker) -> ModelFile | None:
        """The file of a loaded model, or of one that may be loaded, by its name as clients write
        it. A user has to give the whole name of a model that is not loaded, because what is in the
        folders is not theirs to find out. Raises `UnknownModel` where several may be meant.
        """
        present = {one.name: one for one in self if one.state not in _LEAVING}
        known = [_known(one, asker) for one in present.values()]
        if not asker.is_admin:
            found = resolve(model, known)
            if found is None:
                return self._names.near(model)
        else:
            names = [one for one in self._names.all() if one not in present]
            found = resolve(model, [*known, *(KnownModel(name=one) for one in names)])
            if found is None or found.name not in present:
                return None if found is None else self._names.find(found.name)
        return ModelFile(name=found.name, path=present[found.name].path)

    def _not_loaded(self, model: str, present: list[Engine], asker: Asker) -> UnknownModel:
        """The error for a model that does not run, with the command that loads it."""
        load = None
        if asker.is_admin:
            with contextlib.suppress(UnknownModel):  # several begin so: none of them is advised
                named = self._near(model, asker)
                load = None if named is None else named.name
        return unknown_model(model, [one.name for one in present], load=load)


def _meant(model: str, engines: list[Engine], asker: Asker) -> Engine | None:
    """The one of `engines` that a client means by `model`."""
    found = resolve(model, [_known(one, asker) for one in engines])
    return None if found is None else next(one for one in engines if one.name == found.name)


def _known(engine: Engine, asker: Asker) -> KnownModel:
    return KnownModel(
        name=engine.name,
        path=str(engine.path) if asker.is_admin else "",
        n_params=engine.facts.get("n_params") or None,
        quantization=quantization_of(engine.facts.get("description")),
    )
