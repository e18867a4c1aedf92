"""Decides whether a model can be served on this machine, before llama.cpp maps a byte.

It uses the headers of the model's files, what llama.cpp says a context would take, the settings and
the machine's memory. A model that is broken or too large is refused in one line that says what to
do. Not: opening it (`loading`), or how many streams get a state (`stream_count`). Owner: the main
thread.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.context_memory import ContextMemory, memory_of_file
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.kv_types import KV_TYPES, GgmlType
from umad.engine.llamacpp.llama import MAX_SEQS
from umad.engine.llamacpp.opened_model import header_number
from umad.engine.llamacpp.parked_cells import park_shape
from umad.engine.llamacpp.stream_count import MOST_STREAMS, stream_count
from umad.engine.process import decode_threads, memory_bytes
from umad.errors import ModelLoadFailed, ModelTooLarge
from umad.models.gguf import MOST_TENSORS, GgufHeader, parts, read_header
from umad.models.positions import long_factors_from
from umad.models.sizes import WeightBytes, weight_bytes
from umad.scheduler.memory.parked_store import ParkShape
from umad.units import BYTES_PER_MB

log = logging.getLogger("umad.engine")


# Model and KV may take this share. The process, its compute buffers and the machine need the rest.
_MEMORY_SHARE = 0.95
# This share of the machine's memory is for parked sequences, unless a size is asked for.
_PARK_SHARE = 0.1
# Cells for padding rows (`CostModel.padding`). llama.cpp's pools grow by so many.
SPARE_CELLS = 256
_PAD_CELLS = 256
_MOST_LAYERS = 512  # LLAMA_MAX_LAYERS
# Backends whose devices use the machine's own memory though ggml calls them GPUs.
_SHARED_MEMORY_BACKENDS = ("Metal", "MTL")


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
    # Sequences of the context that requests may use. One more may be kept for padding and copies.
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
        whole = self.header if len(self.headers) == 1 else _joined(self.headers)
        return weight_bytes(whole)


def fit(options: EngineOptions, devices: tuple[Device, ...]) -> Fitting:
    """Check the model's files and the machine. Raises `ModelLoadFailed` or `ModelTooLarge`."""
    settings = options.engine
    path = Path(options.path)
    headers = _checked_files(path)
    kv = _kv_type(settings)
    wanted = settings.max_seqs or MOST_STREAMS
    context = ContextOptions(
        n_cells=settings.ctx_size,
        max_seqs=min(wanted, MAX_SEQS - 1) + 1,
        batch=settings.batch,
        ubatch=min(settings.ubatch, settings.batch),
        threads=settings.threads or decode_threads(),
        type_k=kv.number,
        type_v=kv.number,
        flash_attention=settings.flash_attention,
    )
    memory, keeps_states = memory_of_file(path, headers, context, gpu_layers=settings.gpu_layers)
    # Models with states share no prefixes and are not parked. So their rows are never padded, and
    # they need no sequence to copy through.
    n_scratch = 0 if keeps_states else 1
    n_spare = 0
    if not keeps_states and _has_tiles(settings, devices):
        n_spare = spare_cells(settings.ctx_size, headers[0])
    file_bytes = sum(one.file_bytes for one in headers)
    kv_bytes = memory.pool_bytes + n_spare * memory.cell_bytes
    machine_bytes = memory_bytes()
    available_bytes = machine_bytes + device_bytes(devices)
    other_bytes = file_bytes + kv_bytes + memory.compute_bytes
    n_streams = stream_count(
        None if settings.max_seqs is None else context.max_seqs - 1,
        seq_bytes=memory.seq_bytes + memory.seq_compute_bytes,
        n_scratch=n_scratch,
        left_bytes=int(_MEMORY_SHARE * available_bytes) - other_bytes,
        machine_bytes=machine_bytes,
    )
    n_seqs = n_streams + n_scratch
    check_memory(
        file_bytes=file_bytes,
        kv_bytes=kv_bytes,
        available_bytes=available_bytes,
        path=path,
        cells=settings.ctx_size,
        seq_bytes=memory.seq_bytes,
        n_seqs=n_seqs,
        compute_bytes=memory.working_bytes(n_seqs),
    )
    capacity_bytes = park_bytes(
        settings.park_bytes,
        left_bytes=machine_bytes
        - other_bytes
        - n_seqs * (memory.seq_bytes + memory.seq_compute_bytes),
        memory_bytes=machine_bytes,
    )
    return Fitting(
        path=path,
        headers=headers,
        kv=kv,
        context=replace(context, n_cells=settings.ctx_size + n_spare, max_seqs=n_seqs),
        memory=memory,
        n_streams=n_streams,
        n_spare=n_spare,
        parking=park_shape(
            capacity_bytes=capacity_bytes,
            cell_bytes=memory.cell_bytes,
            n_layer=header_number(headers[0], "block_count"),
        ),
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


def padded(n_cells: int) -> int:
    """The number of cells that llama.cpp makes of `n_cells` (`llama_context`, GGML_PAD)."""
    return -(-n_cells // _PAD_CELLS) * _PAD_CELLS


def check_memory(
    *,
    file_bytes: int,
    kv_bytes: int,
    available_bytes: int,
    path: Path,
    cells: int,
    seq_bytes: int = 0,
    n_seqs: int = 0,
    compute_bytes: int = 0,
) -> None:
    """Raise `ModelTooLarge`, with figures, when all of it cannot be in memory at once."""
    room_bytes = _MEMORY_SHARE * available_bytes
    state_bytes = seq_bytes * n_seqs
    other_bytes = file_bytes + kv_bytes + compute_bytes
    if other_bytes + state_bytes <= room_bytes:
        return
    more = ""
    if state_bytes:
        each = f"{seq_bytes / BYTES_PER_MB:.1f} MB"
        more += f", {_mb(state_bytes)} for the states of {n_seqs} streams ({each} each)"
    if compute_bytes:
        more += f", {_mb(compute_bytes)} to work in"
    most = int((room_bytes - other_bytes) // seq_bytes) if seq_bytes else 0
    if file_bytes > room_bytes:
        advice = "choose a smaller model or quantisation"
    elif 0 < most < n_seqs:
        advice = f"serve with --max-seqs {most}, or without it"
    else:
        advice = "serve with a smaller --ctx-size or --kv-type q8"
    raise ModelTooLarge(
        f"{path} needs {_mb(file_bytes)} for weights and {_mb(kv_bytes)} for "
        f"{cells} cells of KV{more}; this machine has {_mb(available_bytes)}: {advice}"
    )


def _mb(n_bytes: float) -> str:
    return f"{n_bytes / BYTES_PER_MB:.0f} MB"


def park_bytes(wanted: int | None, *, left_bytes: int, memory_bytes: int) -> int:
    """Host memory for parking: what was asked for, or a share of the machine's. Raises
    `ModelTooLarge` when weights and KV leave less than was asked for.
    """
    left_bytes = max(0, left_bytes - int((1 - _MEMORY_SHARE) * memory_bytes))
    if wanted is None:
        return min(int(_PARK_SHARE * memory_bytes), left_bytes // 2)
    if wanted > left_bytes:
        raise ModelTooLarge(
            f"park_bytes of {_mb(wanted)} is more than the {_mb(left_bytes)} that "
            "weights and KV leave of this machine's memory: ask for less, or for auto"
        )
    return wanted


def _checked_files(path: Path) -> tuple[GgufHeader, ...]:
    first = read_header(path)
    files = parts(path, first)
    headers = (first, *(read_header(part) for part in files[1:]))
    for part, header in zip(files, headers, strict=True):
        if header.needed_bytes > header.file_bytes:
            raise ModelLoadFailed(
                f"{part} is cut short: {header.file_bytes} of at least {header.needed_bytes} "
                "bytes; fetch it again"
            )
    if sum(len(one.tensors) for one in headers) > MOST_TENSORS:
        raise ModelLoadFailed(f"{path} and its parts have more than {MOST_TENSORS} tensors")
    if header_number(first, "block_count") > _MOST_LAYERS:
        raise ModelLoadFailed(f"{path} says that it has more than {_MOST_LAYERS} layers")
    if not first.architecture:
        raise ModelLoadFailed(f"{path} names no architecture; it is not a language model")
    return headers


def _joined(headers: tuple[GgufHeader, ...]) -> GgufHeader:
    """The first part's metadata with every part's tensors. Only sizes count;
    offsets mean nothing.
    """
    first = headers[0]
    return GgufHeader(
        metadata=first.metadata,
        array_lengths=first.array_lengths,
        tensors=tuple(tensor for header in headers for tensor in header.tensors),
        data_at=first.data_at,
        file_bytes=sum(header.file_bytes for header in headers),
    )


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


def device_bytes(devices: tuple[Device, ...]) -> int:
    """Memory of the devices that have their own, beside the machine's."""
    return sum(
        device.memory_bytes
        for device in devices
        if device.kind == "gpu" and device.backend not in _SHARED_MEMORY_BACKENDS
    )
