"""Removes and names models of the store, and saves presets, for requests over the socket.

What a command does with the disk alone (`umad rm`, `umad cp`), the daemon does here for its
clients, and it knows what it has loaded. Deleting files may take long, so a thread of the loop's
pool does that. Not: who may ask (`umad.daemon.authority`). Owner: the daemon's event loop.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from umad import nano
from umad.adapters import parted
from umad.asker import MACHINE_USER
from umad.daemon.completions import Completions
from umad.daemon.engine import Engine
from umad.daemon.model_use import adapter_refusal, is_at_rest, refusal
from umad.daemon.supervisor import Supervisor
from umad.errors import Refused, UnknownModel
from umad.jobs.readers import refuse_read
from umad.models.catalogue import Catalogue
from umad.models.copying import check_new_name, copy
from umad.models.files import ModelFiles
from umad.models.found import FoundModel
from umad.models.library import Library
from umad.models.presets import SavedPresets
from umad.models.removal import going, remove
from umad.models.store import Store
from umad.preset import Preset
from umad.protocol import messages

_LATEST = ":latest"


class StoredModels:
    """The models and presets that one daemon's clients may change."""

    def __init__(
        self, *, library: Library, supervisor: Supervisor, completions: Completions
    ) -> None:
        self._library = library
        self._supervisor = supervisor
        self._completions = completions
        self._presets = None if library.store is None else SavedPresets(library.store.folder)
        # One at a time changes the store or the presets.
        self._turn = asyncio.Lock()

    async def remove(self, request: messages.RemoveModel) -> Mapping[str, Any]:
        """Remove a saved preset, or a model that umad keeps. Raises `UnknownModel`, or `Refused`
        where it is in use, ships with umad or is another program's.
        """
        store, presets = self._needs_store()
        async with self._turn:
            name = _plain(request.model)
            saved = presets.current().get(name)
            if saved is not None and await asyncio.to_thread(presets.remove, name):
                self._library.catalogue = _without(self._library, saved)
                return {"name": name, "freed_bytes": 0}
            model = self._found(request.model)
            files = going(model, store)
            await asyncio.to_thread(refuse_read, model.name, files, store.folder)
            for engine in self._refuse_used(model, files):
                with contextlib.suppress(UnknownModel):  # it has gone by itself
                    await self._supervisor.unload(engine.name)
            removed = await asyncio.to_thread(remove, model, store)
        return {"name": model.name, "freed_bytes": removed.freed_bytes}

    async def copy(self, request: messages.CopyModel) -> Mapping[str, Any]:
        """Give a model a second name."""
        store, _ = self._needs_store()
        async with self._turn:
            model = self._found(request.model)
            name = _plain(request.name)
            check_new_name(name, self._taken())
            await asyncio.to_thread(copy, model, name, store)
        return {"name": name, "model": model.name}

    async def save_preset(self, request: messages.SavePreset) -> Mapping[str, Any]:
        """Keep a model with a system prompt and sampling under a name, in the place of a preset
        that was saved under it. What is not given is as the preset has it that it is made from.
        """
        _, presets = self._needs_store()
        async with self._turn:
            name = _plain(request.name)
            saved = presets.current()
            written = self._library.catalogue.presets
            if name in written and name not in saved:
                raise Refused(
                    f"{name} is a preset of your models.yaml; change it there", field="name"
                )
            check_new_name(name, (nano.NAME, *(one.name for one in self._library.models())))
            base = {**saved, **written}.get(_plain(request.model))
            model = self._named(request.model) if base is None else base.model
            made = Preset(name=name, model=model) if base is None else replace(base, name=name)
            made = replace(
                made,
                system=made.system if request.system is None else request.system,
                sampling={**made.sampling, **(request.sampling or {})},
            )
            await asyncio.to_thread(presets.save, made)
            known = self._library.catalogue
            self._library.catalogue = replace(known, presets={**known.presets, name: made})
        return {"name": name, "model": model}

    # -- inside ---------------------------------------------------------------------------------

    def _needs_store(self) -> tuple[Store, SavedPresets]:
        if self._library.store is None or self._presets is None:
            raise Refused("this daemon has no store of models")
        return self._library.store, self._presets

    def _taken(self) -> Iterator[str]:
        yield nano.NAME
        yield from (one.name for one in self._library.models())
        yield from self._library.catalogue.presets

    def _found(self, text: str) -> FoundModel:
        """The model that is meant, by its name as clients write it. Raises `UnknownModel`."""
        if _plain(text) == nano.NAME:  # also where another name leads to its file
            return _shipped()
        found = self._library.find(text)
        if found is not None:
            return found
        try:
            name = self._supervisor.file(text, MACHINE_USER).name
        except UnknownModel:
            raise self._library.unknown(text, others=(nano.NAME,)) from None
        if name == nano.NAME:
            return _shipped()
        found = self._library.find(name)
        if found is None:
            raise Refused(
                f"{name} is a file of the daemon's own command line or configuration, and not "
                "one that umad keeps",
                field="model",
            )
        return found

    def _named(self, text: str) -> str:
        """The name of the model that is meant, and behind it those of the adapters. Raises
        `UnknownModel`.
        """
        try:
            return self._found(text).name
        except UnknownModel:
            base, adapters = parted(text)
            if not adapters:
                raise
            return self._found(base).name + adapters

    def _refuse_used(self, model: FoundModel, files: frozenset[str]) -> list[Engine]:
        """The engines to forget with a model. Raises `Refused` where one has a file open that would
        go, or the model's name, or where a request uses it as an adapter.
        """
        if model.place != "store":
            return []  # which is refused in any case
        self._refuse_adapter(model, files)
        at_rest = []
        for engine in self._supervisor:
            opened = {os.path.realpath(path) for path in (engine.path, *engine.own_adapters)}
            if engine.name != model.name and not opened & files:
                continue
            if not is_at_rest(engine.state, is_wanted=engine.is_wanted):
                apps = self._apps_of(engine)
                raise refusal(model.name, engine=engine.name, state=engine.state, apps=apps)
            at_rest.append(engine)
        return at_rest

    def _refuse_adapter(self, model: FoundModel, files: frozenset[str]) -> None:
        """A process that is started again reads the adapters of its requests anew."""
        apps = [
            one.app
            for one in self._completions
            if any(os.path.realpath(path) in files for path in one.adapter_paths)
        ]
        if apps:
            raise adapter_refusal(model.name, apps)

    def _apps_of(self, engine: Engine) -> Iterator[str]:
        return (one.app for one in self._completions if one.engine is engine)


def _shipped() -> FoundModel:
    return FoundModel(name=nano.NAME, files=ModelFiles(parts=(nano.path(),)), place="umad")


def _plain(name: str) -> str:
    """A name without Ollama's tag for the newest."""
    return name.removesuffix(_LATEST) or name


def _without(library: Library, preset: Preset) -> Catalogue:
    """The catalogue without a saved preset; one that a person has written down since then stays."""
    known = library.catalogue
    left = {name: one for name, one in known.presets.items() if one != preset}
    return replace(known, presets=left)
