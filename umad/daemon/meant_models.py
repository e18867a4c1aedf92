"""Finds the engine, or the file, that a client means by a model's name.

What is loaded comes first, then what may be loaded. The ways in which a name may be written are
`umad.model_names`, the files that names lead to `umad.daemon.names`. A user may say a name and no
path, and has to say the whole name of a model that is not loaded, because what is in the folders is
not theirs to find out.
Not: loading what was found (`umad.daemon.supervisor`). Owner: the daemon's event loop.
"""

import contextlib
from collections.abc import Mapping, Sequence

from umad.asker import Asker
from umad.daemon.engine import Engine
from umad.daemon.engine_state import EngineState
from umad.daemon.keeper import Keeper
from umad.daemon.names import ModelFile, ModelNames, find_model_file, is_scheme, not_by_name
from umad.errors import ModelLoadFailed, UnknownModel
from umad.model_names import KnownModel, quantization_of, resolve, unknown_model

# Nothing new may be asked of these.
LEAVING = (EngineState.DRAINING, EngineState.STOPPED)


class MeantModels:
    """The models of one daemon, as clients name them.

    keepers: by name; the supervisor's own table. lazy_load: a request may mean a model that is not
    loaded.
    """

    def __init__(
        self, keepers: Mapping[str, Keeper], names: ModelNames, *, lazy_load: bool
    ) -> None:
        self._keepers = keepers
        self._names = names
        self._lazy_load = lazy_load

    @property
    def present(self) -> list[Engine]:
        """The engines that may be asked, in order of loading."""
        engines = [keeper.engine for keeper in self._keepers.values()]
        return [one for one in engines if one.state not in LEAVING]

    def of_request(self, model: str, asker: Asker) -> Engine | ModelFile | None:
        """What a request means: the loaded engine of exactly that name, else the model of exactly
        that name, which is then to be loaded, else what else may be meant; None for nothing.
        """
        present = self.present
        exact = next((one for one in present if one.name == model), None)
        if exact is not None:
            return exact
        if self._lazy_load:
            # Most requests mean a loaded model, and need no look at any folder.
            with contextlib.suppress(UnknownModel):  # several may be meant
                found = meant_engine(model, present, asker, whole=True)
                if found is not None and not self._names.was_seen(model):
                    return found
            file = self._names.find(model, whole=True)
            if file is not None:
                return file
        found = meant_engine(model, present, asker) or self._referred(model, present, asker)
        if found is None and self._lazy_load:
            return self._names.near(model)
        return found

    def file(self, model: str, asker: Asker) -> ModelFile:
        """The file that a load of `model` opens. Raises `UnknownModel` or `ModelLoadFailed`."""
        known = self._keepers.get(model)
        is_loaded = known is not None and known.engine.state not in LEAVING
        if known is not None and (is_loaded or asker.is_admin):
            return known.file
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

    def not_loaded(self, model: str, asker: Asker) -> UnknownModel:
        """The error for a model that does not run, with the command that loads it."""
        load = None
        if asker.is_admin:
            with contextlib.suppress(UnknownModel):  # several begin so: none of them is advised
                named = self._near(model, asker)
                load = None if named is None else named.name
        return unknown_model(model, [one.name for one in self.present], load=load)

    def _referred(self, model: str, present: Sequence[Engine], asker: Asker) -> Engine | None:
        """The loaded engine of a model that is asked for by an alias, by its name in the catalogue
        or by its reference.
        """
        try:
            file = self._names.find(model, whole=not asker.is_admin)
        except UnknownModel:
            return None
        return next((one for one in present if file is not None and one.name == file.name), None)

    def _near(self, model: str, asker: Asker) -> ModelFile | None:
        """The file of a loaded model, or of one that may be loaded, by its name as clients write
        it. Raises `UnknownModel` where several may be meant.
        """
        present = {one.name: one for one in self.present}
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
        return self._keepers[found.name].file


def meant_engine(
    model: str, engines: Sequence[Engine], asker: Asker, *, whole: bool = False
) -> Engine | None:
    """The one of `engines` that a client means by `model`. whole: only by its whole name. Raises
    `UnknownModel` where several may be meant.
    """
    found = resolve(model, [_known(one, asker) for one in engines], whole=whole)
    return None if found is None else next(one for one in engines if one.name == found.name)


def _known(engine: Engine, asker: Asker) -> KnownModel:
    return KnownModel(
        name=engine.name,
        path=str(engine.path) if asker.is_admin else "",
        n_params=engine.facts.get("n_params") or None,
        quantization=quantization_of(engine.facts.get("description")),
    )
