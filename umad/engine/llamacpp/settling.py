"""Settles the shape of a context: cells, streams, windows, as far as the settings leave them open.

llama.cpp is asked what each shape takes (`context_memory`); `pool_size` and `stream_count` choose.
Not: whether the model has room with all that (`fitting`). Owner: the main thread.
"""

import logging
from dataclasses import dataclass, replace

from umad.config import EngineSettings
from umad.engine.llamacpp.context_memory import ContextMemory, FileMemory
from umad.engine.llamacpp.context_options import ContextOptions, padded
from umad.engine.llamacpp.device_room import LayerPlaces, OnDevices, cells_with_room
from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.kv_types import GgmlType
from umad.engine.llamacpp.llama import MAX_SEQS
from umad.engine.llamacpp.memory_check import mb
from umad.engine.llamacpp.placement import Placement
from umad.engine.llamacpp.pool_size import FEWEST_CELLS, GOOD_CELLS, ContextBytes, pool_cells
from umad.engine.llamacpp.stream_count import FEW_STREAMS, MOST_STREAMS, stream_count
from umad.engine.process import decode_threads
from umad.estimate import MEMORY_SHARE, fitting_words
from umad.models.gguf import GgufHeader
from umad.models.positions import long_factors_from, trained_tokens
from umad.models.rope import Rope
from umad.models.sizes import expert_bytes

log = logging.getLogger("umad.engine")

# Cells for padding rows (`CostModel.padding`). llama.cpp's pools grow by so many.
SPARE_CELLS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The shape of a context, and what it takes."""

    context: ContextOptions
    memory: ContextMemory
    n_streams: int
    n_spare: int
    # None where no accelerator has a part of it.
    on_devices: OnDevices | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """Settles the shape of a model's context: cells, streams, windows."""

    settings: EngineSettings
    headers: tuple[GgufHeader, ...]
    kv: GgmlType
    has_tiles: bool
    # No GPU passes over whole blocks of cells at once.
    on_cpu: bool
    machine_bytes: int
    available_bytes: int
    # None where layers with a window get the window of each stream.
    full_because: str | None
    # Memory that the engines of other models take.
    taken_bytes: int = 0
    # The devices that compute.
    devices: tuple[Device, ...] = ()

    @property
    def rope(self) -> Rope:
        """The scaling of positions."""
        return Rope.of(self.settings)

    @property
    def file_bytes(self) -> int:
        """The bytes of the weights."""
        return sum(one.file_bytes for one in self.headers)

    @property
    def paged_bytes(self) -> int:
        """The bytes of experts that `n_cpu_moe` leaves in the file: they are mapped, read as they
        are used, and dropped where memory is short.
        """
        settings = self.settings
        if not settings.n_cpu_moe or not settings.mmap or settings.mlock or settings.repack:
            return 0
        return sum(expert_bytes(one, n_layers=settings.n_cpu_moe) for one in self.headers)

    @property
    def weights_bytes(self) -> int:
        """The bytes of the weights that have to be in memory."""
        return self.file_bytes - self.paged_bytes

    @property
    def trained_tokens(self) -> int:
        """The longest text that the model can read; 0 where its file does not say."""
        return trained_tokens(self.headers[0], self.rope)

    @property
    def room_bytes(self) -> int:
        """The most bytes that may be taken, weights and all."""
        return int(MEMORY_SHARE * self.available_bytes) - self.taken_bytes

    def settled(self, file: FileMemory) -> Settled:
        """Ask llama.cpp until everything that `auto` leaves open is known."""
        settings = self.settings
        self.rope.check(self.headers[0], has_rope=file.has_rope)
        n_scratch = _scratch_seqs(settings, file)
        context = self._context(n_scratch)
        places = self._places(file)
        n_cells = settings.ctx_size or self._pool_cells(file, context, n_scratch, places)
        n_spare = 0
        if not file.keeps_states and self.has_tiles:
            n_spare = spare_cells(n_cells, self.headers[0])
        context = replace(context, n_cells=n_cells + n_spare)
        memory = file.memory(context)
        if memory.owns_cells:
            n_scratch = 0  # nothing can be copied, and each sequence takes the cells of a pool
        why = self.full_because or ""
        few = (settings.max_seqs or FEW_STREAMS) + n_scratch
        if memory.windows is not None and memory.windows.is_whole(few):
            # So many windows have as many cells either way. As the pool's, they share beginnings
            # without saved states, and no stream needs to be sure of a window of its own.
            context = replace(context, swa_full=True)
            memory = file.memory(context)
            why = f"the windows of {few} sequences would take as much"
        left_bytes = self.room_bytes - self.weights_bytes
        n_streams = stream_count(
            settings.max_seqs,
            seq_bytes=memory.seq_bytes + memory.seq_compute_bytes,
            n_scratch=n_scratch,
            left_bytes=left_bytes - memory.pool_bytes - memory.compute_bytes,
            machine_bytes=self.machine_bytes,
            windows=memory.windows,
            passes_cells=self.on_cpu,
        )
        n_streams = min(n_streams, MAX_SEQS - n_scratch)
        fewer = replace(context, max_seqs=n_streams + n_scratch)
        if fewer != context and not file.keeps_states:
            memory = file.memory(fewer)  # with fewer rows of output
        context = fewer
        if memory.window_cell_bytes:
            _say_how_windows_are_kept(context, memory, why)
        return Settled(
            context=context,
            memory=memory,
            n_streams=n_streams,
            n_spare=n_spare,
            on_devices=(
                None if places is None else self._on_devices(file, places, context, memory)
            ),
        )

    def _places(self, file: FileMemory) -> LayerPlaces | None:
        """Where the layers go; None where all are computed on the processor."""
        if self.on_cpu:
            return None
        places = LayerPlaces(
            headers=self.headers,
            devices=file.layer_devices,
            rules=Placement.of(self.settings).rules(),
        )
        return places if places.accelerators else None

    def _on_devices(
        self,
        file: FileMemory,
        places: LayerPlaces,
        context: ContextOptions,
        memory: ContextMemory,
    ) -> OnDevices:
        return OnDevices(
            places=places,
            compute=file.device_compute_bytes(context),
            kept_bytes=memory.kept_bytes(context.max_seqs),
        )

    def _context(self, n_scratch: int) -> ContextOptions:
        settings = self.settings
        wanted = settings.max_seqs or MOST_STREAMS
        return ContextOptions(
            n_cells=settings.ctx_size or GOOD_CELLS,
            max_seqs=min(wanted + n_scratch, MAX_SEQS),
            batch=settings.batch,
            ubatch=min(settings.ubatch, settings.batch),
            threads=settings.threads or decode_threads(),
            type_k=self.kv.number,
            type_v=self.kv.number,
            flash_attention=settings.flash_attention,
            swa_full=self.full_because is not None,
            rope=self.rope,
        )

    def context_bytes(self, file: FileMemory, context: ContextOptions, n_seqs: int) -> ContextBytes:
        """The bytes of a context as a function of its cells, for so many sequences."""
        # Asking for every size would take a second where states are large.
        memory = file.memory(replace(context, n_cells=GOOD_CELLS))
        good_bytes = memory.pool_bytes + n_seqs * memory.seq_bytes + memory.working_bytes(n_seqs)
        kept_bytes = memory.pool_cell_bytes + n_seqs * memory.seq_cell_bytes
        each_bytes = kept_bytes + file.work_cell_bytes(context)

        def with_cells(n_cells: int) -> int:
            windows = 0
            if memory.windows is not None:
                windows = replace(memory.windows, pool_cells=padded(n_cells)).bytes(n_seqs)
            return good_bytes + round((n_cells - GOOD_CELLS) * each_bytes) + windows

        return with_cells

    def _pool_cells(
        self,
        file: FileMemory,
        context: ContextOptions,
        n_scratch: int,
        places: LayerPlaces | None,
    ) -> int:
        """The cells of the pool where the settings leave them open."""
        n_seqs = (self.settings.max_seqs or FEW_STREAMS) + n_scratch
        trained = self.trained_tokens
        chosen = pool_cells(
            self.context_bytes(file, context, n_seqs),
            trained_tokens=trained,
            stream_tokens=self.settings.ctx_per_stream,
            weights_bytes=self.weights_bytes,
            available_bytes=self.available_bytes,
            taken_bytes=self.taken_bytes,
            park_bytes=self.settings.park_bytes or 0,
        )
        shape = replace(context, n_cells=chosen, max_seqs=n_seqs)
        chosen = self._cells_on_devices(file, shape, places)
        log.info("ctx_size=%d: %s", chosen, fitting_words(chosen, trained))
        return chosen

    def _cells_on_devices(
        self, file: FileMemory, context: ContextOptions, places: LayerPlaces | None
    ) -> int:
        """The cells of the context, or as many as each device has room for."""
        if places is None:
            return context.n_cells
        memory = file.memory(context)
        on_devices = self._on_devices(file, places, context, memory)
        return cells_with_room(
            on_devices,
            self.devices,
            n_cells=context.n_cells,
            cell_bytes=memory.pool_cell_bytes + context.max_seqs * memory.seq_cell_bytes,
            fewest=max(FEWEST_CELLS, self.settings.ctx_per_stream or 0),
        )


def _scratch_seqs(settings: EngineSettings, file: FileMemory) -> int:
    """The sequences that no request uses: one for padding rows and copies. In a model with states
    no row is padded, copies of cells need another one that is always empty (`parked_cells`), and
    each takes the memory of a state. So there are none where no cells are parked.
    """
    if not file.keeps_states:
        return 1
    return 2 if file.has_cells and settings.park_bytes != 0 else 0


def _say_how_windows_are_kept(context: ContextOptions, memory: ContextMemory, why: str) -> None:
    """why: the windows have as many cells as the pool."""
    full = mb(padded(context.n_cells) * memory.window_cell_bytes)
    if memory.windows is None:
        log.info("swa_full=on windows=%s: %s", full, why)
        return
    log.info(
        "swa_full=off windows=%s instead of %s: %d cells for %d sequences",
        mb(memory.windows.bytes(context.max_seqs)),
        full,
        memory.windows.cells(context.max_seqs),
        context.max_seqs,
    )


def spare_cells(ctx_size: int, header: GgufHeader) -> int:
    """The number of cells for padding rows: none where they would change what the model computes.
    In a context that is longer than the one a model was first trained on, llama.cpp uses other RoPE
    factors for every token from the first on.
    """
    switch = long_factors_from(header)
    if switch is not None and padded(ctx_size) <= switch < padded(ctx_size + SPARE_CELLS):
        log.info("no spare cells: with them every token's RoPE factors would be the long ones")
        return 0
    return SPARE_CELLS
