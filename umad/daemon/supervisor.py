"""Keeps the table of models: loads and unloads engines, and starts those that requests name.

A model of the library that a request names is loaded for it (`lazy_load`), by its whole name alone.
Not: which model a name means (`umad.daemon.meant_models`), keeping one engine alive
(`umad.daemon.keeper`), which of them have room (`umad.daemon.rotation`), nor handling their news
(`umad.daemon.completions`).
Owner: the daemon's event loop.
"""

import asyncio
import logging
import math
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from umad.asker import MACHINE_USER, Asker
from umad.clock import Clock
from umad.config import LimitSettings
from umad.daemon.authority import told_to
from umad.daemon.engine import Engine
from umad.daemon.engine_events import EngineEvents
from umad.daemon.engine_process import Launcher
from umad.daemon.engine_state import EngineState
from umad.daemon.keep_alive import KeepAlive, keep_alive_of
from umad.daemon.keeper import Keeper
from umad.daemon.load_pauses import Interactive
from umad.daemon.meant_models import LEAVING, MeantModels, meant_engine
from umad.daemon.names import ModelFile, ModelNames, not_by_name
from umad.daemon.needs import Needs
from umad.daemon.room import Work
from umad.daemon.rotation import Rotation, RotationRules
from umad.errors import (
    BadRequest,
    Cancelled,
    EngineFailed,
    ModelLoadFailed,
    ShuttingDown,
    UmadError,
    UnknownModel,
)
from umad.model_names import unknown_model
from umad.protocol.errors import error_of
from umad.units import NS_PER_S

log = logging.getLogger(__name__)

_COMING = (EngineState.WAITING, EngineState.STARTING, EngineState.REOPENING)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingRules:
    """What the configuration says about loading."""

    # Models of the library are loaded for requests that name them.
    lazy_load: bool = False
    # (pattern, seconds); `umad.daemon.keep_alive`.
    keep_alive: tuple[tuple[str, float], ...] = ()
    rotation: RotationRules = field(default_factory=RotationRules)


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
        rules: LoadingRules | None = None,
        needs: Needs | None = None,
        board: Interactive | None = None,
    ) -> None:
        """names: the names by which models are known; without it only `nano`. needs: the memory of
        models; without it, memory makes none of them leave. board: shows interactive work; without
        it, loads rest for nobody.
        """
        self._rules = rules or LoadingRules()
        self._names = names or ModelNames()
        self._launcher = launcher
        self._limits = limits
        self._clock = clock
        self._events = events
        self._inherited = inherited
        self._keepers: dict[str, Keeper] = {}
        self._rotation = Rotation(
            self._keepers,
            rules=self._rules.rotation,
            clock=clock,
            needs=needs,
            board=board,
            tell=events.engine_waits,
        )
        self._meant = MeantModels(self._keepers, self._names, lazy_load=self._rules.lazy_load)
        # How many wait for the load itself, by name.
        self._awaited: Counter[str] = Counter()
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

    def find(
        self,
        model: str | None,
        asker: Asker = MACHINE_USER,
        *,
        keep_alive_s: float | None = None,
    ) -> Engine:
        """The engine that serves `model`, found by its name as clients write it
        (`umad.model_names`), or for an admin also by its path. One that is not loaded is asked for,
        and its work waits for it.

        None means the first one loaded. keep_alive_s: how long it stays after its last use; an
        admin's counts. Raises `UnknownModel`, or the error that made the model fail.
        """
        found = self._first() if model is None else self._named(model, asker)
        keeper = self._keepers[found.name]
        if found.error is not None and not self._may_try_again(keeper):
            raise told_to(asker, self._failure(keeper, found.error), found.name)
        self._look_again(keeper)
        if keep_alive_s is not None and asker.is_admin:
            found.keep_alive = KeepAlive.asked(keep_alive_s)
            self._rotation.changed()
        # A suspended one is started again; its requests wait as for one that loads.
        self._rotation.ask(keeper)
        return found

    def suspend(self, name: str, reason: str) -> bool:
        """End the process of an idle engine, which its next request starts again. Return False
        where it is not ready or not idle. reason: shown to people.
        """
        keeper = self._keepers.get(name)
        return keeper is not None and keeper.suspend(reason)

    def start(
        self, model: str, asker: Asker = MACHINE_USER, *, work: Work = Work.INTERACTIVE
    ) -> Engine:
        """Ask for a model to be loaded, or continue with the engine of that name. Returns at once.
        work: how urgent it is.

        Raises `UnknownModel`, `ModelLoadFailed` or `BadRequest` where there is nothing to start.
        """
        file = self._meant.file(model, asker)
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
        keeper = self._kept(file)
        self._look_again(keeper)
        # Somebody wants it now, however often it failed before.
        keeper.cool_down.over()
        self._let_stay(keeper.engine, asker)
        self._rotation.ask(keeper, load=work)
        return keeper.engine

    def _let_stay(self, engine: Engine, asker: Asker) -> None:
        """Somebody has loaded a model by name, so it stays longer. A user changes nothing that an
        admin has said of it.
        """
        rules = self._rules.keep_alive
        if asker.is_admin or engine.keep_alive == keep_alive_of(engine.name, rules):
            engine.keep_alive = keep_alive_of(engine.name, rules, stays=True)

    def _look_again(self, keeper: Keeper) -> None:
        """Take the file that a name means by now, where no process has the former one open: it may
        have been fetched anew since. Raises `ModelLoadFailed` for one that cannot be opened.
        """
        engine, file = keeper.engine, keeper.file
        if engine.state not in (EngineState.SUSPENDED, EngineState.FAILED) or engine.is_wanted:
            return
        if file.is_of_library:
            file = self._names.find(file.name, whole=True) or file
        else:
            file = replace(file, size_bytes=0)
        if file.path == engine.path and file.modified_s() == engine.modified_s:
            return
        _check_sound(file)
        log.info("model has another file model=%s", engine.name)
        keeper.renew(file)

    def _kept(self, file: ModelFile) -> Keeper:
        """The keeper of a model, a new one where there is none. Raises `ModelLoadFailed` or
        `ShuttingDown`.
        """
        if self._stopping:
            raise ShuttingDown("the daemon is shutting down and loads no more models")
        _check_sound(file)
        keeper = self._keepers.get(file.name)
        if keeper is not None and keeper.engine.state is not EngineState.STOPPED:
            return keeper
        # The new engine goes to the end of the table, so remove a stopped one of the same name.
        self._keepers.pop(file.name, None)
        modified_s = file.modified_s()
        engine = Engine(file.name, file.path, modified_s=modified_s, state=EngineState.WAITING)
        engine.keep_alive = keep_alive_of(file.name, self._rules.keep_alive)
        self._keepers[file.name] = keeper = Keeper(
            engine,
            file.sized(),
            launcher=self._launcher,
            limits=self._limits,
            clock=self._clock,
            events=self._events,
            inherited=self._inherited,
            changed=self._rotation.changed,
        )
        keeper.engine.own_adapters = file.adapters
        if file.is_of_library:
            asyncio.get_running_loop().run_in_executor(None, self._names.note_use, file)
        return keeper

    def file(self, model: str, asker: Asker = MACHINE_USER) -> ModelFile:
        """The file that `start` would open. Raises `UnknownModel` or `ModelLoadFailed`."""
        return self._meant.file(model, asker)

    def taken_bytes(self, *, besides: str) -> int:
        """The memory that the engines of all models but one hold, as far as it is known: one that
        is being loaded counts with its file.
        """
        return self._rotation.taken_bytes(besides=besides)

    async def load(
        self,
        model: str,
        asker: Asker = MACHINE_USER,
        *,
        as_request: bool = False,
        keep_alive_s: float | None = None,
        work: Work = Work.INTERACTIVE,
    ) -> Engine:
        """Load a model and wait until it is ready. Raises the error that prevented it.

        as_request: only where `find` would. keep_alive_s: as in `find`. work: as in `start`.
        """
        if as_request:
            engine = self.find(model, asker, keep_alive_s=keep_alive_s)
            self._rotation.ask(self._keepers[engine.name], load=Work.INTERACTIVE)
        else:
            leaving = self._keepers.get(self._meant.file(model, asker).name)
            if leaving is not None and leaving.engine.state is EngineState.DRAINING:
                await leaving.ended()
            engine = self.start(model, asker, work=work)
            if keep_alive_s is not None:
                self.find(engine.name, asker, keep_alive_s=keep_alive_s)
        self._awaited[engine.name] += 1
        try:
            await asyncio.shield(engine.loaded)
        finally:
            self._awaited[engine.name] -= 1
        return engine

    def give_up_load(self, name: str) -> bool:
        """End the load of a model that nobody waits for any more, no request and no other load.
        Return False where somebody does, or it is not being loaded.
        """
        keeper = self._keepers.get(name)
        if keeper is None or keeper.engine.state not in _COMING:
            return False
        if keeper.engine.is_wanted or self._awaited[name] > 0:
            return False
        log.info("load is given up model=%s", name)
        keeper.unload(Cancelled(f"the load of {name} was cancelled"))
        return True

    async def unload(self, model: str) -> None:
        """Stop the engine of a model, given the model's name or path; its requests end with an
        error.

        Raises `UnknownModel`.
        """
        present = list(self)
        engine = meant_engine(model, present, MACHINE_USER)
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
        self._rotation.stop()
        for keeper in self._keepers.values():
            keeper.unload(ShuttingDown("the daemon has shut down"))

    def _first(self) -> Engine:
        """The engine of a request that names none."""
        present = self._meant.present
        # Who names no model wants text; speech has a name of its own (`umad.daemon.speech_models`).
        present = [one for one in present if not one.transcribes]
        found = next((one for one in present if one.error is None), None)
        found = found or next(iter(present), None)
        if found is None:
            raise UnknownModel("no model is loaded; load one: umad load nano", field="model")
        return found

    def _named(self, model: str, asker: Asker) -> Engine:
        """The engine that a request names, a new one where a model is meant that has none."""
        found = self._meant.of_request(model, asker)
        if found is None:
            raise self._meant.not_loaded(model, asker)
        return self._lazily(found) if isinstance(found, ModelFile) else found

    def _lazily(self, file: ModelFile) -> Engine:
        found = self.get(file.name)
        if found is not None and found.state not in LEAVING:
            return found
        leaving = self._keepers.get(file.name)
        if leaving is not None and leaving.engine.state is EngineState.DRAINING:
            raise EngineFailed(f"{file.name} is being unloaded; try again")
        log.info("model is loaded for a request model=%s", file.name)
        return self._kept(file).engine

    def _may_try_again(self, keeper: Keeper) -> bool:
        left_ns = keeper.cool_down.left_ns(self._clock.now_ns())
        return self._rules.lazy_load and left_ns == 0

    def _failure(self, keeper: Keeper, error: UmadError) -> UmadError:
        """The error of a model that failed, and when it is tried again."""
        left_ns = keeper.cool_down.left_ns(self._clock.now_ns())
        again = ""
        if self._rules.lazy_load and left_ns:
            again = f"; a request in {math.ceil(left_ns / NS_PER_S)} s tries it again"
        # A new exception each time, because an exception keeps the frames it was raised through.
        return error_of(error.code, f"{error.message}{again}", error.field)


def _check_sound(file: ModelFile) -> None:
    if file.problem:
        raise ModelLoadFailed(f"{file.name} cannot be loaded: {file.problem}", field="model")
