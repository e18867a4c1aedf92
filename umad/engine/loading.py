"""Opens a model: checks before, clear reasons after, warm-up and first measurements.

What is wrong with a file or too large for the machine is found from its header, before llama.cpp
maps a byte; what only llama.cpp can tell is told in its own words. Owner: the main thread.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from umad.config import EngineSettings
from umad.engine.cost_file import CostFile
from umad.engine.devices import Device
from umad.engine.embedding import EmbedFacts
from umad.engine.facts import ModelFacts
from umad.engine.kvtypes import KV_TYPES, GgmlType
from umad.engine.launch import EngineOptions
from umad.engine.llama import MAX_SEQS, Context, ContextOptions, LlamaError, Model
from umad.engine.opened import Opened, header_number
from umad.engine.parked_cells import can_park, park_shape
from umad.engine.process import decode_threads, locked_bytes, memory_bytes
from umad.engine.session_folder import SessionFolder
from umad.engine.session_identity import open_sessions
from umad.engine.warmup import Observation, WarmUp
from umad.errors import ModelLoadFailed, ModelTooLarge
from umad.models.gguf import GgufHeader, parts, read_header
from umad.models.sizes import kv_shape, weight_bytes
from umad.scheduler.cost import CostModel
from umad.scheduler.parked import ParkShape

log = logging.getLogger("umad.engine")

_MB = 1e6
_NS_PER_MS = 1e6
# What the process, its compute buffers and the rest of the machine need beside model and KV.
_MEMORY_SHARE = 0.95
# What is shared with nobody but a page's end may be left out.
_LOCKED_SHARE = 0.9
# Of the machine's memory, for parked sequences, unless a size is asked for.
_PARK_SHARE = 0.1
# For rows of nobody (`CostModel.padding`); llama.cpp's pools grow by so many.
SPARE_CELLS = 256
# Backends whose devices use the machine's own memory though ggml calls them GPUs.
_SHARED_MEMORY_BACKENDS = ("Metal", "MTL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready to serve. context: None of a model that only embeds. embeds: what it makes of
    texts; embed_options: of its embedding context, but for the cells. cost: what its steps cost, as
    far as is known. parking: slabs in host memory. sessions: where they are saved. What is parked
    and rows of nobody go through a scratch sequence, the one behind `facts.max_seqs`."""

    model: Model
    context: Context | None
    facts: ModelFacts
    embeds: EmbedFacts
    embed_options: ContextOptions
    cost: CostModel
    cost_file: CostFile | None
    parking: ParkShape | None = None
    sessions: SessionFolder | None = None


def load(
    options: EngineOptions,
    devices: tuple[Device, ...],
    now_ns: Callable[[], int],
    *,
    costs_folder: Path | None = None,
) -> Loaded:
    """Open `options.path`. costs_folder: where what steps cost is remembered; None for nowhere.
    Raises `ModelLoadFailed` or `ModelTooLarge`, each in one line."""
    began_ns = now_ns()
    settings = options.engine
    path = Path(options.path)
    header, files = _checked_files(path)
    kv = _kv_type(settings)
    cell_bytes = kv_shape(header).cell_bytes(kv.number, kv.number)
    n_spare = SPARE_CELLS if _has_tiles(settings, devices) else 0
    check_memory(
        file_bytes=sum(one.file_bytes for one in files),
        kv_bytes=(settings.ctx_size + n_spare) * cell_bytes,
        available_bytes=memory_bytes() + _own_memory(devices),
        path=path,
        cells=settings.ctx_size,
    )
    shape = park_shape(
        capacity_bytes=park_bytes(
            settings.park_bytes,
            left_bytes=memory_bytes()
            - sum(one.file_bytes for one in files)
            - (settings.ctx_size + n_spare) * cell_bytes,
            memory_bytes=memory_bytes(),
        ),
        cell_bytes=cell_bytes,
        n_layer=header_number(header, "block_count"),
    )
    max_seqs = min(settings.max_seqs, MAX_SEQS - 1)
    threads = settings.threads or decode_threads()
    try:
        model = Model(
            str(path),
            gpu_layers=settings.gpu_layers,
            mmap=settings.mmap,
            mlock=settings.mlock,
            repack=settings.repack,
        )
        if not model.has_decoder:
            raise ModelLoadFailed(f"{path} is one half of a model, of no use alone")
        context = Context(
            model,
            ContextOptions(
                n_cells=settings.ctx_size + n_spare,
                max_seqs=max_seqs + 1,
                batch=settings.batch,
                ubatch=min(settings.ubatch, settings.batch),
                threads=threads,
                type_k=kv.number,
                type_v=kv.number,
                flash_attention=settings.flash_attention,
            ),
        )
    except LlamaError as error:
        raise ModelLoadFailed(f"{path} cannot be loaded: {error}") from error
    if settings.mlock:
        _say_what_is_locked(model, devices)
    load_ms = (now_ns() - began_ns) / _NS_PER_MS
    weights = [weight_bytes(one) for one in files]
    opened = Opened(
        options=options,
        path=path,
        header=header,
        model=model,
        weights=weights[0] if len(weights) == 1 else weight_bytes(_joined(files)),
        devices=devices,
        kv=kv,
        threads=threads,
        load_ms=load_ms,
    )
    generates = context.has_memory and header.own("attention.causal") is not False
    n_cells = context.n_cells - n_spare
    embeds = opened.embeds(n_cells=n_cells, generates=generates)
    embed_options = opened.embed_options(embeds)
    if not generates:
        context.close()
        facts = opened.facts(embeds, n_cells=0, max_seqs=0, kv_cell_bytes=0)
        log.info(
            "loaded encoder model=%s pooling=%s threads=%d", options.name, embeds.pooling, threads
        )
        return Loaded(
            model=model,
            context=None,
            facts=facts,
            embeds=embeds,
            embed_options=embed_options,
            cost=CostModel(),
            cost_file=None,
        )
    warm = WarmUp(model, context, settings, now_ns)
    warmup_ms = warm.first_ms()
    file = None
    if costs_folder is not None:
        file = CostFile(costs_folder, _about(options, model, devices, threads, kv))
    can_share = not model.is_recurrent and warm.can_share_prefix()
    cost, observed = _costs(warm, file, tiles=n_spare > 0 and can_share)
    # Of a layer with a sliding window llama.cpp saves only what is in the window, and what lies
    # before it could not be shared by another turn.
    if shape is not None and not (
        can_share
        and not model.sliding_window
        and can_park(context, shape, scratch=max_seqs, token=max(model.bos, 0))
    ):
        log.info("sequences of this model cannot be parked model=%s", options.name)
        shape = None
    facts = opened.facts(
        embeds,
        n_cells=n_cells,
        max_seqs=max_seqs,
        kv_cell_bytes=cell_bytes,
        can_share_prefix=can_share,
        park_bytes=0 if shape is None else shape.capacity_bytes,
        warmup_ms=warmup_ms,
        decode_ms=observed[0][2],
    )
    log.info(
        "loaded model=%s cells=%d kv=%s threads=%d load_ms=%.0f warmup_ms=%.0f decode_ms=%.2f",
        options.name,
        n_cells,
        kv.name,
        threads,
        load_ms,
        warmup_ms,
        facts.decode_ms,
    )
    log.info(
        "costs model=%s %s",
        options.name,
        " ".join(f"{rows}+{tokens}={ms:.1f}ms" for rows, tokens, ms in observed),
    )
    return Loaded(
        model=model,
        context=context,
        facts=facts,
        embeds=embeds,
        embed_options=embed_options,
        cost=cost,
        cost_file=file,
        parking=shape,
        sessions=open_sessions(options, facts, shape, parts(path, header), files),
    )


def _has_tiles(settings: EngineSettings, devices: tuple[Device, ...]) -> bool:
    """Whether a full tile of rows may be quicker than a part of one: in ggml's flash attention on a
    CPU, which takes its slow way for fewer rows and for cells of a quantized type."""
    on_cpu = not any(device.kind in ("gpu", "igpu") for device in devices)
    return on_cpu and settings.flash_attention and settings.kv_type == "f16"


def _costs(
    warm: WarmUp, file: CostFile | None, *, tiles: bool
) -> tuple[CostModel, tuple[Observation, ...]]:
    """Costs as remembered or, where that is nothing or wrong by now, as measured."""
    remembered = None if file is None else file.read()
    known = None
    if remembered is not None:
        known = CostModel(tiles=tiles)
        known.restore(remembered)
    observed = warm.measure(known)
    if known is not None and len(observed) > 1:
        log.info("costs remembered are not those of now; measured anew")
    cost = known if known is not None and len(observed) == 1 else CostModel(tiles=tiles)
    cost.learn_all(observed)
    return cost, observed


def _about(
    options: EngineOptions,
    model: Model,
    devices: tuple[Device, ...],
    threads: int,
    kv: GgmlType,
) -> str:
    """All that what a step costs depends on."""
    settings = options.engine
    return "; ".join(
        [
            *(f"{device.backend} {device.description}" for device in devices),
            f"{threads} of {os.cpu_count()} threads",
            f"{model.description}, {model.n_params} parameters, {model.size_bytes} bytes",
            f"kv {kv.name}, batch {settings.batch}/{settings.ubatch}",
            f"gpu_layers {settings.gpu_layers}, flash_attention {settings.flash_attention}",
            f"repack {settings.repack}",
        ]
    )


def check_memory(
    *, file_bytes: int, kv_bytes: int, available_bytes: int, path: Path, cells: int
) -> None:
    """Raise `ModelTooLarge`, with figures, when weights and KV cannot both be in memory."""
    if file_bytes + kv_bytes <= _MEMORY_SHARE * available_bytes:
        return
    advice = (
        "serve with a smaller --ctx-size or --kv-type q8"
        if file_bytes <= _MEMORY_SHARE * available_bytes
        else "choose a smaller model or quantisation"
    )
    raise ModelTooLarge(
        f"{path} needs {file_bytes / _MB:.0f} MB for weights and {kv_bytes / _MB:.0f} MB for "
        f"{cells} cells of KV; this machine has {available_bytes / _MB:.0f} MB: {advice}"
    )


def park_bytes(wanted: int | None, *, left_bytes: int, memory_bytes: int) -> int:
    """Host memory for parking: what was asked for, or a share. Raises `ModelTooLarge` when weights
    and KV leave less than was asked for."""
    left_bytes = max(0, left_bytes - int((1 - _MEMORY_SHARE) * memory_bytes))
    if wanted is None:
        return min(int(_PARK_SHARE * memory_bytes), left_bytes // 2)
    if wanted > left_bytes:
        raise ModelTooLarge(
            f"park_bytes of {wanted / _MB:.0f} MB is more than the {left_bytes / _MB:.0f} MB that "
            "weights and KV leave of this machine's memory: ask for less, or for auto"
        )
    return wanted


def _checked_files(path: Path) -> tuple[GgufHeader, tuple[GgufHeader, ...]]:
    first = read_header(path)
    files = parts(path, first)
    headers = (first, *(read_header(part) for part in files[1:]))
    for part, header in zip(files, headers, strict=True):
        if header.needed_bytes > header.file_bytes:
            raise ModelLoadFailed(
                f"{part} is cut short: {header.file_bytes} of at least {header.needed_bytes} "
                "bytes; fetch it again"
            )
    if not first.architecture:
        raise ModelLoadFailed(f"{path} names no architecture; it is not a language model")
    return first, headers


def _joined(headers: tuple[GgufHeader, ...]) -> GgufHeader:
    """The first part's metadata with every part's tensors: sizes only, offsets mean nothing."""
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
    if settings.kv_pack != "unified":
        # umad/README.md, "Memory", has what was measured.
        log.info(
            "kv pack %s is not offered: rows would share a pass over the weights only where their "
            "streams are neighbours; unified is used",
            settings.kv_pack,
        )
    return kv


def _say_what_is_locked(model: Model, devices: tuple[Device, ...]) -> None:
    """llama.cpp only warns where the kernel refuses, among much else that it warns of."""
    locked = locked_bytes()
    if locked is None or any(device.kind in ("gpu", "igpu") for device in devices):
        return  # on an accelerator some of the weights are not here to be locked
    if locked < _LOCKED_SHARE * model.size_bytes:
        log.warning(
            "mlock holds %.0f of %.0f MB of weights: raise the limit on locked memory (ulimit -l)",
            locked / _MB,
            model.size_bytes / _MB,
        )


def _own_memory(devices: tuple[Device, ...]) -> int:
    """Memory of devices that have their own beside the machine's."""
    return sum(
        device.memory_bytes
        for device in devices
        if device.kind == "gpu" and device.backend not in _SHARED_MEMORY_BACKENDS
    )
