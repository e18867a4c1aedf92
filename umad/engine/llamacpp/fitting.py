"""Decides whether a model can be served on this machine, before llama.cpp maps a byte.

It uses the headers of the model's files, what llama.cpp says a context would take, the settings and
the machine's memory. A model that is broken or too large is refused in one line that says what to
do. Not: opening it (`loading`), the shape of its context (`settling`), or whether all of it has
room (`memory_check`). Owner: the main thread.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.context_memory import ContextMemory, asked_of_file
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.device_room import check_devices
from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.kv_types import KV_TYPES, GgmlType
from umad.engine.llamacpp.memory_check import check_memory, device_bytes, mb, park_bytes
from umad.engine.llamacpp.opened_model import header_number
from umad.engine.llamacpp.parked_cells import park_shape
from umad.engine.llamacpp.projector_file import projector_bytes
from umad.engine.llamacpp.settling import Settled, Settling
from umad.engine.process import memory_bytes
from umad.errors import ModelLoadFailed
from umad.models.files import joined, whole_headers
from umad.models.gguf import GgufHeader
from umad.models.sizes import WeightBytes, weight_bytes
from umad.scheduler.memory.parked_store import ParkShape

log = logging.getLogger("umad.engine")


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
    # The bytes of experts that stay in the file.
    paged_bytes: int
    # Memory has room for all weights, so that all may be read before anybody asks.
    reads_all: bool
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


def prepared(
    options: EngineOptions, devices: tuple[Device, ...], *, full_because: str | None = None
) -> Settling:
    """Check the model's files, and gather what the shape of its context depends on. Raises
    `ModelLoadFailed`.
    """
    settings = options.engine
    headers = whole_headers(Path(options.path))
    if headers[0].metadata.get("general.type") == "adapter":
        raise ModelLoadFailed(
            f"{options.path} is an adapter (LoRA) and no model; name it behind the model that it "
            f"was made for: MODEL+{options.name}"
        )
    machine_bytes = memory_bytes()
    return Settling(
        settings=settings,
        headers=headers,
        kv=_kv_type(settings),
        has_tiles=_has_tiles(settings, devices),
        on_cpu=not any(device.kind in ("gpu", "igpu") for device in devices),
        machine_bytes=machine_bytes,
        available_bytes=machine_bytes + device_bytes(devices),
        full_because=_why_full(settings) or full_because,
        taken_bytes=options.taken_bytes + projector_bytes(options.projector_path),
        devices=devices,
    )


def fit(
    options: EngineOptions, devices: tuple[Device, ...], *, full_because: str | None = None
) -> Fitting:
    """Check the model's files and the machine. Raises `ModelLoadFailed` or `ModelTooLarge`.

    full_because: why layers with a window get cells for the whole pool, where `auto` is asked for
    and it cannot be otherwise.
    """
    path = Path(options.path)
    settling = prepared(options, devices, full_because=full_because)
    headers = settling.headers
    engine = options.engine
    settled = asked_of_file(
        path, headers, settling.settled, gpu_layers=engine.gpu_layers, device=engine.device
    )
    capacity_bytes = checked_parking(settling, settled, path)
    if settling.paged_bytes:
        log.info(
            "experts=%s stay in the file and are read as they are used", mb(settling.paged_bytes)
        )
    return Fitting(
        path=path,
        headers=headers,
        kv=settling.kv,
        context=settled.context,
        memory=settled.memory,
        n_streams=settled.n_streams,
        n_spare=settled.n_spare,
        paged_bytes=settling.paged_bytes,
        reads_all=settling.file_bytes <= settling.room_bytes,
        parking=park_shape(
            capacity_bytes=capacity_bytes,
            cell_bytes=settled.memory.cell_bytes,
            n_layer=header_number(headers[0], "block_count"),
        ),
    )


def checked_parking(settling: Settling, settled: Settled, path: Path) -> int:
    """The bytes of host memory for parking. Raises `ModelTooLarge` where there is no room for the
    model, or for the parking that was asked for.
    """
    context, memory = settled.context, settled.memory
    check_memory(
        file_bytes=settling.weights_bytes,
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
        taken_bytes=settling.taken_bytes,
    )
    if settled.on_devices is not None:
        check_devices(settled.on_devices, settling.devices, path)
    kept_bytes = memory.kept_bytes(context.max_seqs) + memory.working_bytes(context.max_seqs)
    left_bytes = settling.machine_bytes - settling.taken_bytes - settling.weights_bytes - kept_bytes
    return park_bytes(
        settling.settings.park_bytes,
        left_bytes=left_bytes,
        memory_bytes=settling.machine_bytes,
    )


def _why_full(settings: EngineSettings) -> str | None:
    """Why layers with a window are to get cells for the whole pool; None if they are not."""
    if settings.swa_full == "on":
        return "asked for"
    if settings.swa_full == "auto" and settings.park_bytes == 0:
        return "park_bytes is 0, and without saved states only they share beginnings"
    return None


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
