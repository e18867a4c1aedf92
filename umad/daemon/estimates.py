"""Answers `estimate`: the memory that a model would take beside those that are loaded.

llama.cpp is asked in a process of its own (`umad.engine.estimates`), which a thread of the loop's
pool waits for. Owner: the daemon's event loop.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from umad.asker import Asker
from umad.config import Settings
from umad.daemon.adapters import AdapterNames
from umad.daemon.drafts import DraftFiles
from umad.daemon.supervisor import Supervisor
from umad.engine.estimates import Estimating
from umad.engine.launch import EngineOptions
from umad.models.adapters import memory_bytes
from umad.protocol.messages import Estimate

# Each takes a core for half a second.
MOST_AT_ONCE = 2


class Estimates:
    """The estimates of one daemon."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        adapters: AdapterNames,
        drafts: DraftFiles,
    ) -> None:
        self._drafts = drafts
        self._settings = settings
        self._adapters = adapters
        self._supervisor = supervisor
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def estimate(self, request: Estimate, asker: Asker) -> Mapping[str, Any]:
        """The estimate as a map. Raises `UnknownModel` or `ModelLoadFailed`."""
        model, paths = self._adapters.estimated(request.model, asker)
        file = self._supervisor.file(model, asker)
        adapters_bytes = await asyncio.to_thread(memory_bytes, paths) if paths else 0
        asked = {
            "ctx_size": request.ctx_size,
            "max_seqs": request.max_seqs,
            "kv_type": request.kv_type,
        }
        given: dict[str, Any] = {name: one for name, one in asked.items() if one is not None}
        options = EngineOptions.of(
            self._settings,
            name=file.name,
            path=str(file.path),
            projector=file.projector,
            drafts=self._drafts.of(file),
        )
        options = replace(
            options,
            engine=replace(options.engine, **given),
            taken_bytes=self._supervisor.taken_bytes(besides=file.name),
        )
        async with self._turns:
            estimating = Estimating(options)
            try:
                found = await asyncio.to_thread(estimating.wait)
                return replace(found, adapters_bytes=adapters_bytes).as_map()
            finally:
                # Whoever asked may have gone; the thread then ends at once.
                estimating.kill()
