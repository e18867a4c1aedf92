"""Reckons how much memory a model needs that is not loaded, before others leave for it.

    known     at once: from what its last engine told, or where its file is so small that it does
              not matter
    learn     from an estimate (`umad.engine.estimates`), which takes a core for half a second

A need is not what the model will take: its pool grows into what it finds free. It is the memory
without which one cannot work with it. Not: whether a load goes well; the engine looks for itself.
Owner: the daemon's event loop; an estimate is waited for on a thread.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from umad.config import Settings
from umad.daemon.drafts import DraftFiles
from umad.daemon.names import ModelFile
from umad.daemon.room import Need
from umad.engine.estimates import Estimating
from umad.engine.launch import EngineOptions
from umad.engine.process import memory_bytes
from umad.errors import UmadError
from umad.estimate import MEMORY_SHARE, MemoryEstimate, draft_bytes, engine_bytes
from umad.models.whisper import is_speech_file

log = logging.getLogger(__name__)

# Agents send 20,000 to 60,000 tokens. `--quantize auto` counts with as many.
GOOD_TOKENS = 32_768
# A pool is never smaller (`umad.engine.llamacpp.pool_size`).
LEAST_TOKENS = 4096
# A model takes less than this with a context of `GOOD_TOKENS`: so many times its file, and so much
# besides. The largest cells of models that we know take 8 GB for so many tokens.
_TIMES_FILE = 2
_BESIDES_BYTES = 12 * 2**30
# What a speech model takes besides twice its file: its process, and buffers of the decoder.
_SPEECH_BYTES = 512 * 2**20


class Needs:
    """The needs of models under one daemon's settings."""

    def __init__(self, settings: Settings, drafts: DraftFiles | None = None) -> None:
        self._settings = settings
        self._drafts = drafts
        # What all engines together may take.
        self.memory_bytes = int(MEMORY_SHARE * memory_bytes())

    @property
    def fills_memory(self) -> bool:
        """Whether a model's pool is as large as the models before it allow."""
        return self._settings.engine.ctx_size is None

    def known(self, file: ModelFile, facts: Mapping[str, Any], *, held_bytes: int) -> Need | None:
        """The need, where it can be told at once. facts: of the model's last engine. held_bytes:
        what other models take.
        """
        if is_speech_file(file.path):
            # No pool, and no more than its file again for what it works in.
            need_bytes = engine_bytes(facts) or 2 * file.size_bytes + _SPEECH_BYTES
            return Need(good_bytes=need_bytes, least_bytes=need_bytes)
        if facts.get("size_bytes"):
            return need_of_facts(facts, park_bytes=self._settings.engine.park_bytes)
        most_bytes = _TIMES_FILE * file.size_bytes + _BESIDES_BYTES
        is_small = self.fills_memory and held_bytes + most_bytes <= self.memory_bytes
        # A context size that somebody asked for may need any amount.
        return Need(good_bytes=most_bytes, least_bytes=file.size_bytes) if is_small else None

    async def learn(self, file: ModelFile) -> Need:
        """The need by an estimate; the size of the file where none can be made."""
        options = EngineOptions.of(
            self._settings,
            name=file.name,
            path=str(file.path),
            projector=file.projector,
            drafts=() if self._drafts is None else self._drafts.of(file),
        )
        estimating = Estimating(replace(options, taken_bytes=0))
        try:
            estimate = await asyncio.to_thread(estimating.wait)
        except UmadError as error:
            # The load will say what is wrong with the file.
            log.info("memory cannot be estimated model=%s reason=%s", file.name, error.message)
            return Need(good_bytes=file.size_bytes, least_bytes=file.size_bytes)
        finally:
            # Nobody may wait any more; the thread then ends at once.
            estimating.kill()
        # Only llama.cpp knows of memory that accelerators have for themselves.
        machine_bytes = int(MEMORY_SHARE * estimate.machine_bytes)
        self.memory_bytes = max(self.memory_bytes, machine_bytes)
        return need_of_estimate(estimate)


def need_of_facts(facts: Mapping[str, Any], *, park_bytes: int | None = None) -> Need:
    """The need of a model that was loaded before. park_bytes: what was asked for parking; None for
    what is left.
    """
    n_cells = int(facts.get("n_cells") or 0)
    cell_bytes = int(facts.get("kv_cell_bytes") or 0)
    taken = int(facts.get("size_bytes") or 0) - int(facts.get("paged_bytes") or 0)
    fixed_bytes = taken + int(facts.get("context_bytes") or 0) - n_cells * cell_bytes
    fixed_bytes += draft_bytes(facts)
    return _need(fixed_bytes + (park_bytes or 0), n_cells, cell_bytes)


def need_of_estimate(estimate: MemoryEstimate) -> Need:
    """The need of a model by its estimate."""
    fixed_bytes = estimate.total_bytes - estimate.cells_bytes
    return _need(fixed_bytes, estimate.ctx_tokens, estimate.token_bytes)


def _need(fixed_bytes: int, n_cells: int, cell_bytes: int) -> Need:
    def with_cells(most: int) -> int:
        return max(0, fixed_bytes) + min(n_cells, most) * cell_bytes

    return Need(good_bytes=with_cells(GOOD_TOKENS), least_bytes=with_cells(LEAST_TOKENS))
