"""Implements `Backend` with llama.cpp: opens a GGUF file and hands out the parts that compute.

Not: how a file is opened (`loading`). Owner: the main thread opens it, the step thread uses it.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from umad.config import EngineSettings
from umad.engine.adapters.adapter_set import AdapterShelf
from umad.engine.backend import Capabilities
from umad.engine.board.watch import BoardWatch
from umad.engine.company import Company
from umad.engine.execution import NoStreams, StepRunner
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.abort_flag import AbortFlag
from umad.engine.llamacpp.adapters import LlamaAdapters
from umad.engine.llamacpp.cut_state import CutState
from umad.engine.llamacpp.decode_runner import DecodeRunner
from umad.engine.llamacpp.devices import Device, chosen
from umad.engine.llamacpp.draft_model import LlamaDraft, find_draft
from umad.engine.llamacpp.embedder import Embedder
from umad.engine.llamacpp.host_memory import HostMemory
from umad.engine.llamacpp.llama import Context
from umad.engine.llamacpp.loading import LoadedModel, load
from umad.engine.llamacpp.memory_check import device_bytes
from umad.engine.llamacpp.parked_cells import ParkedCells
from umad.engine.llamacpp.positions import Positions
from umad.engine.llamacpp.projector import PLACES, Projector
from umad.engine.llamacpp.projector_trial import FoundProjector, with_projector
from umad.engine.llamacpp.row_batch import RowBatch
from umad.engine.llamacpp.saved_states import OwnWindows, SavedStates
from umad.engine.llamacpp.vulkan_driver import refuse_old_software
from umad.engine.media.desk import MediaDesk
from umad.engine.sessions.disk import SessionDisk
from umad.engine.slabs import SlabStore, StateStore
from umad.engine.steps.cutter import Cutter
from umad.scheduler.memory.windows import Beginnings


class LlamaModel:
    """An opened GGUF file. `umad.engine.backend.OpenModel` says what its parts are."""

    def __init__(
        self,
        loaded: LoadedModel,
        settings: EngineSettings,
        devices: tuple[Device, ...],
        *,
        projector: FoundProjector | None = None,
        draft: LlamaDraft | None = None,
        now_ns: Callable[[], int],
    ) -> None:
        """projector, draft: the model's; None without one."""
        self._loaded = loaded
        self._devices = devices
        self.facts = loaded.facts
        self.media: Projector | None = None
        if projector is not None and loaded.context is not None:
            asked, found = projector.options, projector.facts
            self.media = Projector(loaded.model, asked, found, now_ns=now_ns)
            self.facts = replace(loaded.facts, projector=found.as_map(), media=found.kinds)
        self.draft = draft
        if draft is not None:
            self.facts = replace(self.facts, draft=draft.found.as_map())
        self.tokens = loaded.model
        self.embeds = loaded.embeds
        self.cost = loaded.cost
        self.cost_file = loaded.cost_file
        self.parking = loaded.parking
        self.sessions = loaded.sessions
        self.beginnings = _beginnings(loaded)
        self.batch_tokens = _batch_tokens(settings, loaded)
        self.adapters = _adapters(loaded, settings)
        # Of the pool's images; both who decodes and who copies cells need them.
        self._positions = Positions()
        self._host = HostMemory(loaded.parking.capacity_bytes if loaded.parking else 0)
        self.abort = AbortFlag() if loaded.context is None else loaded.context.abort_flag

    @property
    def capabilities(self) -> Capabilities:
        """The abilities that the scheduler may rely on."""
        return Capabilities(
            can_share_prefix=self.facts.can_share_prefix,
            shares_at=self.facts.shares_at,
            can_park=self.parking is not None,
            cut_share=self.facts.cut_share,
            cut_save_ms=self._loaded.cut_save_ms,
            has_tiles=self.cost.tiles,
            skip_ms=self.facts.skip_ms,
            device_bytes=device_bytes(self._devices),
            row_copies=self._loaded.row_copies,
        )

    def slabs(self) -> SlabStore | None:
        """The store of parked cells; None where nothing can be parked."""
        loaded = self._loaded
        if loaded.parking is None or loaded.context is None or not loaded.parking.has_cells:
            return None
        scratch = loaded.facts.max_seqs
        return ParkedCells(
            loaded.context,
            loaded.parking,
            scratch=scratch,
            empty=scratch + 1 if loaded.model.is_recurrent else None,
            memory=self._host,
            positions=self._positions,
        )

    def states(self) -> StateStore | None:
        """The store of checkpoints; None where states cannot be put back, or nothing is parked."""
        loaded = self._loaded
        if loaded.parking is None or loaded.context is None or loaded.states is None:
            return None
        has_windows_alone = _beginnings(loaded) is not None
        return SavedStates(
            loaded.context,
            loaded.states,
            memory=self._host,
            window=loaded.window if has_windows_alone else None,
            scratch=loaded.facts.max_seqs if has_windows_alone else None,
        )

    def runner(
        self,
        *,
        cutter: Cutter,
        now_ns: Callable[[], int],
        watch: BoardWatch | None = None,
        slabs: SlabStore | None = None,
        states: StateStore | None = None,
        disk: SessionDisk | None = None,
        media: MediaDesk | None = None,
    ) -> StepRunner:
        """Make the part that carries plans out on the model's context."""
        loaded = self._loaded
        context, layout = loaded.context, loaded.states
        if context is None:
            return NoStreams()
        before = None
        if loaded.cut_save_ms is not None and layout is not None:
            before = CutState(context, layout)
        windows = None
        if loaded.owns_windows and layout is not None:
            windows = OwnWindows(context, layout)
        return DecodeRunner(
            context,
            capacity=self.batch_tokens,
            cutter=cutter,
            can_cut=watch is not None and (loaded.can_cut or before is not None),
            now_ns=now_ns,
            watch=watch,
            before=before,
            parked=slabs,
            states=states,
            windows=windows,
            host=self._host,
            adapters=self.adapters,
            disk=disk,
            media=media,
            row_batch=self._row_batch(),
            positions=self._positions,
            scratch=self.facts.max_seqs,
            wants_output=loaded.wants_output,
        )

    def embedder(self, *, cutter: Cutter, now_ns: Callable[[], int], watch: BoardWatch) -> Embedder:
        """Make the part that computes embeddings in a context of its own."""
        loaded = self._loaded
        options, whole = loaded.embed_options, loaded.embeds.whole

        def make(n_cells: int) -> Context:
            rows = n_cells if whole else options.batch
            cells = max(n_cells, loaded.embeds.least_cells)
            sized = replace(options, n_cells=cells, batch=rows, ubatch=rows)
            return Context(loaded.model, sized, abort=self.abort)

        return Embedder(
            loaded.embeds,
            make,
            cutter=cutter,
            can_cut=loaded.can_cut,
            now_ns=now_ns,
            watch=watch,
        )

    def _row_batch(self) -> RowBatch | None:
        if self.media is None:
            return None
        return RowBatch(
            self.batch_tokens,
            width=self._loaded.model.n_embd_in,
            dimensions=PLACES if self.media.facts.mrope else 1,
        )

    def clear(self) -> None:
        """Empty the pool of cells."""
        if self._loaded.context is not None:
            self._loaded.context.clear()

    def close(self) -> None:
        """Give context and weights back."""
        if self.draft is not None:
            self.draft.close()
        if self._loaded.context is not None:
            self._loaded.context.close()
        self._loaded.model.close()


def _adapters(loaded: LoadedModel, settings: EngineSettings) -> AdapterShelf | None:
    """The memory of LoRA adapters; None for a model that only embeds."""
    if loaded.context is None:
        return None
    calls = llama.adapter_calls(loaded.model, loaded.context)
    return LlamaAdapters(calls, loaded.header, capacity_bytes=settings.adapter_bytes)


def _batch_tokens(settings: EngineSettings, loaded: LoadedModel) -> int:
    """The most rows of a step."""
    most_rows = settings.batch
    if loaded.window is not None:
        # llama.cpp finds cells for every micro-batch of a decode before it computes the first one.
        # By then, cells of a window that the first one still looks at are taken for a later one, or
        # purged (`llama_kv_cache::prepare`): 9 of 60 prompts were answered wrongly, up to 8.7 nats
        # off, and after a cut there would be holes that no book shows.
        most_rows = min(most_rows, settings.ubatch)
    if loaded.wants_output:
        # A micro-batch of a larger step might have no output.
        most_rows = min(most_rows, settings.ubatch)
    # A model that only embeds has no cells, and its steps have no rows.
    return min(most_rows, loaded.facts.n_cells or most_rows)


def _beginnings(loaded: LoadedModel) -> Beginnings | None:
    if loaded.window is None or loaded.context is None or not loaded.facts.can_share_prefix:
        return None
    if loaded.model.is_recurrent:
        # It is shared at its states only, and a state has its window with it.
        return None
    return Beginnings(loaded.window, loaded.context.begin)


class LlamaBackend:
    """Opens GGUF files with llama.cpp. The first file also initialises ggml's backends."""

    def open(
        self,
        options: EngineOptions,
        *,
        now_ns: Callable[[], int],
        costs_folder: Path | None,
        company: Company | None = None,
    ) -> LlamaModel:
        """Open `options.path`. Raises `ModelLoadFailed`, `ModelTooLarge` or `Unsupported`, each in
        one line.
        """
        llama.start()
        devices = chosen(llama.devices(), options.engine.device)
        refuse_old_software(devices)
        options, projector = with_projector(options, devices)
        found = find_draft(options)
        if found is not None:
            options = replace(options, taken_bytes=options.taken_bytes + found.n_bytes)
        loaded = load(options, devices, now_ns, costs_folder=costs_folder, company=company)
        draft = None
        if found is not None and _takes_back(loaded):
            compute = _here if company is None else company.compute_aside
            with contextlib.nullcontext() if company is None else company.measuring():
                draft = compute(lambda: LlamaDraft(found, options.engine, now_ns))
        return LlamaModel(
            loaded, options.engine, devices, projector=projector, draft=draft, now_ns=now_ns
        )


def _takes_back(loaded: LoadedModel) -> bool:
    """Whether tokens can be taken back from the model, so that guesses are of use."""
    facts = loaded.facts
    can_shorten = facts.shares_at == "anywhere" and _beginnings(loaded) is None
    return loaded.context is not None and facts.can_share_prefix and can_shorten


def _here(part: Callable[[], LlamaDraft]) -> LlamaDraft:
    return part()


BACKEND = LlamaBackend()
