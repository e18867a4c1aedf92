"""Decides whether a model can be served on this machine, before llama.cpp maps a byte.

It uses the headers of the model's files, what llama.cpp says a context would take, the settings and
the machine's memory. A model that is broken or too large is refused in one line that says what to
do. Not: opening it (`loading`), how many streams there are (`stream_count`) and how many cells
(`pool_size`), or whether all of it has room (`memory_check`). Owner: the main thread.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.context_memory import ContextMemory, FileMemory, asked_of_file
from umad.engine.llamacpp.context_options import ContextOptions, padded
from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.kv_types import KV_TYPES, GgmlType
from umad.engine.llamacpp.llama import MAX_SEQS
from umad.engine.llamacpp.memory_check import (
    MEMORY_SHARE,
    check_memory,
    device_bytes,
    mb,
    park_bytes,
)
from umad.engine.llamacpp.opened_model import header_number
from umad.engine.llamacpp.parked_cells import park_shape
from umad.engine.llamacpp.pool_size import GOOD_CELLS, pool_cells
from umad.engine.llamacpp.stream_count import FEW_STREAMS, MOST_STREAMS, stream_count
from umad.engine.process import decode_threads, memory_bytes
from umad.errors import ModelLoadFailed
from umad.models.files import joined, whole_headers
from umad.models.gguf import GgufHeader
from umad.models.positions import long_factors_from, trained_tokens
from umad.models.rope import Rope
from umad.models.sizes import WeightBytes, weight_bytes
from umad.scheduler.memory.parked_store import ParkShape

log = logging.getLogger("umad.engine")


# Cells for padding rows (`CostModel.padding`). llama.cpp's pools grow by so many.
SPARE_CELLS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """A model that fits this machine."""

    path: Path
    # Headers of all its files. The first one's metadata is the model's.
    headers: tuple[GgufHeader, ...]
    kv: GgmlType
    # The shape of the context it gets.
    context: ContextOptions
    # The memory that the context takes.
    memory: ContextMemory
    # Sequences of the context that requests may use. A few more may be kept for padding and copies.
    n_streams: int
    # Cells that the pool has and does not report.
    n_spare: int
    # The slabs that host memory has room for; None where there is no room.
    parking: ParkShape | None

    @property
    def header(self) -> GgufHeader:
        """The header of the first file."""
        return self.headers[0]

    @property
    def weights(self) -> WeightBytes:
        """The weights of all files together."""
        whole = self.header if len(self.headers) == 1 else joined(self.headers)
        return weight_bytes(whole)


def fit(
    options: EngineOptions, devices: tuple[Device, ...], *, full_because: str | None = None
) -> Fitting:
    """Check the model's files and the machine. Raises `ModelLoadFailed` or `ModelTooLarge`.

    full_because: why layers with a window get cells for the whole pool, where `auto` is asked for
    and it cannot be otherwise.
    """
    settings = options.engine
    path = Path(options.path)
    headers = whole_headers(path)
    kv = _kv_type(settings)
    machine_bytes = memory_bytes()
    settling = _Settling(
        settings=settings,
        headers=headers,
        kv=kv,
        has_tiles=_has_tiles(settings, devices),
        machine_bytes=machine_bytes,
        available_bytes=machine_bytes + device_bytes(devices),
        full_because=_why_full(settings) or full_because,
    )
    settled = asked_of_file(path, headers, settling.settled, gpu_layers=settings.gpu_layers)
    context, memory = settled.context, settled.memory
    file_bytes = settling.file_bytes
    check_memory(
        file_bytes=file_bytes,
        kv_bytes=memory.pool_bytes,
        available_bytes=settling.available_bytes,
        path=path,
        cells=context.n_cells - settled.n_spare,
        seq_bytes=memory.seq_bytes,
        n_seqs=context.max_seqs,
        compute_bytes=memory.working_bytes(context.max_seqs),
        windows=memory.windows,
        is_full=bool(memory.window_cell_bytes) and memory.windows is None,
        n_scratch=context.max_seqs - settled.n_streams,
    )
    kept_bytes = memory.kept_bytes(context.max_seqs) + memory.working_bytes(context.max_seqs)
    capacity_bytes = park_bytes(
        settings.park_bytes,
        left_bytes=machine_bytes - file_bytes - kept_bytes,
        memory_bytes=machine_bytes,
    )
    return Fitting(
        path=path,
        headers=headers,
        kv=kv,
        context=context,
        memory=memory,
        n_streams=settled.n_streams,
        n_spare=settled.n_spare,
        parking=park_shape(
            capacity_bytes=capacity_bytes,
            cell_bytes=memory.cell_bytes,
            n_layer=header_number(headers[0], "block_count"),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """The shape of a context, and what it takes."""

    context: ContextOptions
    memory: ContextMemory
    n_streams: int
    n_spare: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settling:
    """Settles the shape of a model's context: cells, streams, windows."""

    settings: EngineSettings
    headers: tuple[GgufHeader, ...]
    kv: GgmlType
    has_tiles: bool
    machine_bytes: int
    available_bytes: int
    # None where layers with a window get the window of each stream.
    full_because: str | None

    @property
    def rope(self) -> Rope:
        """How positions are scaled."""
        return Rope.of(self.settings)

    @property
    def file_bytes(self) -> int:
        """The bytes of the weights."""
        return sum(one.file_bytes for one in self.headers)

    def settled(self, file: FileMemory) -> _Settled:
        """Ask llama.cpp until everything that `auto` leaves open is known."""
        settings = self.settings
        self.rope.check(self.headers[0], has_rope=file.has_rope)
        n_scratch = _scratch_seqs(settings, file)
        context = self._context()
        n_cells = settings.ctx_size or self._pool_cells(file, context, n_scratch)
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
        left_bytes = int(MEMORY_SHARE * self.available_bytes) - self.file_bytes
        n_streams = stream_count(
            None if settings.max_seqs is None else context.max_seqs - 1,
            seq_bytes=memory.seq_bytes + memory.seq_compute_bytes,
            n_scratch=n_scratch,
            left_bytes=left_bytes - memory.pool_bytes - memory.compute_bytes,
            machine_bytes=self.machine_bytes,
            windows=memory.windows,
        )
        n_streams = min(n_streams, MAX_SEQS - n_scratch)
        context = replace(context, max_seqs=n_streams + n_scratch)
        if memory.window_cell_bytes:
            _say_how_windows_are_kept(context, memory, why)
        return _Settled(context=context, memory=memory, n_streams=n_streams, n_spare=n_spare)

    def _context(self) -> ContextOptions:
        settings = self.settings
        wanted = settings.max_seqs or MOST_STREAMS
        return ContextOptions(
            n_cells=settings.ctx_size or GOOD_CELLS,
            max_seqs=min(wanted, MAX_SEQS - 1) + 1,
            batch=settings.batch,
            ubatch=min(settings.ubatch, settings.batch),
            threads=settings.threads or decode_threads(),
            type_k=self.kv.number,
            type_v=self.kv.number,
            flash_attention=settings.flash_attention,
            swa_full=self.full_because is not None,
            rope=self.rope,
        )

    def _pool_cells(self, file: FileMemory, context: ContextOptions, n_scratch: int) -> int:
        """The cells of the pool where the settings leave them open."""
        n_seqs = (self.settings.max_seqs or FEW_STREAMS) + n_scratch

        # Asking for every size would take a second where states are large.
        memory = file.memory(replace(context, n_cells=GOOD_CELLS))
        good_bytes = memory.pool_bytes + n_seqs * memory.seq_bytes + memory.working_bytes(n_seqs)
        kept_bytes = memory.pool_cell_bytes + n_seqs * memory.seq_cell_bytes
        each_bytes = kept_bytes + file.work_cell_bytes(context)

        def context_bytes(n_cells: int) -> int:
            windows = 0
            if memory.windows is not None:
                windows = replace(memory.windows, pool_cells=padded(n_cells)).bytes(n_seqs)
            return good_bytes + round((n_cells - GOOD_CELLS) * each_bytes) + windows

        chosen = pool_cells(
            context_bytes,
            trained_tokens=trained_tokens(self.headers[0], self.rope),
            stream_tokens=self.settings.ctx_per_stream,
            weights_bytes=self.file_bytes,
            available_bytes=self.available_bytes,
        )
        log.info("ctx_size=%d chosen by memory and by the length of the model's texts", chosen)
        return chosen


def _scratch_seqs(settings: EngineSettings, file: FileMemory) -> int:
    """The sequences that no request uses: one for padding rows and copies. In a model with states
    no row is padded, copies of cells need another one that is always empty (`parked_cells`), and
    each takes the memory of a state. So there are none where no cells are parked.
    """
    if not file.keeps_states:
        return 1
    return 2 if file.has_cells and settings.park_bytes != 0 else 0


def _why_full(settings: EngineSettings) -> str | None:
    """Why layers with a window are to get cells for the whole pool; None if they are not."""
    if settings.swa_full == "on":
        return "asked for"
    if settings.swa_full == "auto" and settings.park_bytes == 0:
        return "park_bytes is 0, and without saved states only they share beginnings"
    return None


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


def _kv_type(settings: EngineSettings) -> GgmlType:
    kv = KV_TYPES[settings.kv_type]
    if kv.is_quantised and not settings.flash_attention:
        raise ModelLoadFailed(
            f"kv_type {settings.kv_type} needs flash_attention; turn it on or use f16"
        )
    if not kv.exact:
        log.info("kv type %s is kept as %s, the nearest there is", settings.kv_type, kv.name)
    return kv


def _has_tiles(settings: EngineSettings, devices: tuple[Device, ...]) -> bool:
    """True if a full tile of rows may be quicker than part of one. So it is in ggml's flash
    attention on a CPU, which uses a slow path for fewer rows and for cells of a quantized type.
    """
    on_cpu = not any(device.kind in ("gpu", "igpu") for device in devices)
    return on_cpu and settings.flash_attention and settings.kv_type == "f16"
