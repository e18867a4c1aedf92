"""Caches the daemon's facts about its models, and asks again only when they may have changed.

A model's template and families of formats belong to its file. A name means another file only after
it is loaded again. A model that is loaded for the first time has told nothing yet, which is not
remembered. Owner: one event loop.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from umad.adapters import parted
from umad.model_names import KnownModel, resolve
from umad.service import Service

Rows = Mapping[str, Mapping[str, Any]]
# The state of a model that is not loaded, and that a request would load.
UNLOADED = "unloaded"
# If a name is loaded again from another file, the gateway sees it after so long.
FRESH_S = 5.0


def context_tokens(facts: Mapping[str, Any]) -> int:
    """The most tokens of one stream, prompt and answer together; 0 where it is not known yet."""
    return int(facts.get("ctx") or 0)


# States of a model that may not have told its facts yet.
_COMING = frozenset({"waiting", "starting", "failed", "suspended"})


def has_told(row: Mapping[str, Any]) -> bool:
    """Whether a model has told its facts, at its first load or at an earlier one."""
    return bool(row) and (row.get("state") not in _COMING or "architecture" in row)


def meant_row(name: str, rows: Rows, *, preset: str | None = None) -> Mapping[str, Any] | None:
    """The row of the model that a client means by `name`, which may name adapters. Of models that
    a request would load only the exact name goes before loaded ones. preset: the preset that has
    that name for its model; the daemon knows what aliases and references mean, too. Raises
    `UnknownModel` where several may be meant.
    """
    if name in rows:
        return rows[name]
    for row in rows.values():
        if preset is not None and preset in (row.get("presets") or ()):
            return row
    loaded = {one: row for one, row in rows.items() if row.get("state") != UNLOADED}
    for some in (loaded, rows):
        known = [KnownModel.of_row(row) for row in some.values()]
        found = resolve(name, known)
        base, adapters = parted(name)
        if found is None and adapters:
            found = resolve(base, known)
        if found is not None:
            return rows[found.name]
    return None


class ModelFactsCache:
    """A short memory of `Service.models`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._asked_s = float("-inf")

    async def facts(self, name: str) -> Mapping[str, Any]:
        """Facts of the model with this name, which may name adapters; empty if it has just gone. Of
        one that is being loaded for the first time they are few (`has_told`).
        """
        now_s = asyncio.get_running_loop().time()
        base = parted(name)[0]
        is_old = now_s - self._asked_s > FRESH_S
        if is_old or not has_told(self._facts.get(name) or self._facts.get(base, {})):
            rows = await self._service.models()
            self._facts = {str(row["name"]): row for row in rows}
            self._asked_s = now_s
        return self._facts.get(name) or self._facts.get(base, {})

    def forget(self) -> None:
        """A model was loaded or unloaded."""
        self._facts = {}
