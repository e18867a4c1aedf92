"""Opens a model: weights and context, warm-up, first measurements, and the model's facts.

A file that is broken or too large for the machine was refused before (`fitting`). An error that
only llama.cpp can find is reported in its own words. Owner: the main thread.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from umad.config import EngineSettings
from umad.engine.company import Company
from umad.engine.embedding.facts import EmbedFacts
from umad.engine.facts import ModelFacts
from umad.engine.fingerprint import fingerprint_of
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.abort_flag import AbortFlag
from umad.engine.llamacpp.context_memory import ContextMemory
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.fitting import Fitting, fit
from umad.engine.llamacpp.gate_trial import abort_flag_for, try_gate
from umad.engine.llamacpp.given_back import give_back
from umad.engine.llamacpp.kept_threads import keeps_threads
from umad.engine.llamacpp.llama import Context, LlamaError, Model
from umad.engine.llamacpp.load_log import (
    say_how_far_streams_go,
    say_what_found_no_device,
    say_what_is_loaded,
    say_what_is_locked,
)
from umad.engine.llamacpp.opened_model import OpenedModel
from umad.engine.llamacpp.output_memory import output_memory, row_copies
from umad.engine.llamacpp.park_trial import try_parking
from umad.engine.llamacpp.placement import Placement
from umad.engine.llamacpp.read_through import read_through
from umad.engine.llamacpp.repack_choice import with_repack
from umad.engine.llamacpp.state_trial import StateLayout, try_states
from umad.engine.llamacpp.warm_up import WarmUp, costs
from umad.engine.process import memory_bytes
from umad.engine.sessions.folder import SessionFolder
from umad.engine.sessions.identity import open_sessions
from umad.engine.steps.cost_file import CostFile
from umad.errors import ModelLoadFailed, ModelTooLarge
from umad.models.files import joined
from umad.models.gguf import GgufHeader, parts
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.windows import Window
from umad.units import NS_PER_MS

log = logging.getLogger("umad.engine")

# A file of this size is packed in about a second of one core.
PACKED_SOON_BYTES = 2**30

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that is ready to serve.

    Parked cells and padding rows go through a scratch sequence, the one after `facts.max_seqs`. In
    a model with recurrent layers the one after that stays empty."""

    model: Model
    # Of all its files together.
    header: GgufHeader
    # None for a model that only embeds.
    context: Context | None
    facts: ModelFacts
    # How the model embeds texts.
    embeds: EmbedFacts
    # The shape of its embedding context, but for the number of cells.
    embed_options: ContextOptions
    # The costs of its steps, as far as they are known.
    cost: CostModel
    cost_file: CostFile | None
    # The window of layers that do not look back over everything; None without one.
    window: Window | None = None
    # Slabs in host memory; None where nothing can be parked.
    parking: ParkShape | None = None
    # Where sessions are saved; None where none are.
    sessions: SessionFolder | None = None
    # The states of its sequences; None where it has none, or they cannot be put back.
    states: StateLayout | None = None
    # Each sequence has room for one window, so no two may share one.
    owns_windows: bool = False
    # A step may be ended in the middle, and spoils nothing by it.
    can_cut: bool = True
    # Milliseconds to save a state before a step that would be spoilt; None where that is of no use.
    cut_save_ms: float | None = None
    # llama.cpp ends the process at a step that has no output.
    wants_output: bool = False
    # Of a row of logits, until it can be read.
    row_copies: int = 1


def load(
    options: EngineOptions,
    devices: tuple[Device, ...],
    now_ns: Callable[[], int],
    *,
    costs_folder: Path | None = None,
    company: Company | None = None,
) -> LoadedModel:
    """Open `options.path`. costs_folder: where the costs of steps are remembered; None for nowhere.
    company: the engines beside this one. Raises `ModelLoadFailed` or `ModelTooLarge`, each in one
    line."""
    began_ns = now_ns()
    say_what_found_no_device(devices)
    aside = _here if company is None else company.aside
    fitting = aside(lambda: fit(options, devices))
    engine = with_repack(
        options.engine,
        fitting.headers,
        devices,
        left_bytes=memory_bytes() - options.taken_bytes,
        is_beside=company is not None and company.is_busy,
    )
    options = replace(options, engine=engine)
    if company is not None and fitting.reads_all and options.engine.mmap:
        read_through(parts(fitting.path, fitting.header), company)
    if company is not None:
        company.keeps_threads = keeps_threads(devices)
    compute_aside = _here if company is None else company.compute_aside
    # Weights that are copied, or many that are packed, take too long for a part: beside a chat that
    # does not end, a load on idle cores alone could fail for its length.
    file_bytes = sum(one.file_bytes for one in fitting.headers)
    packs_much = options.engine.repack and file_bytes > PACKED_SOON_BYTES
    is_short = options.engine.mmap and not packs_much
    abort = abort_flag_for(devices)
    with llama.listening() as lines:
        model, context = (compute_aside if is_short else _here)(
            lambda: _open(options.engine, fitting, abort)
        )
    copies = row_copies(output_memory(lines), devices, gpu_layers=options.engine.gpu_layers)
    if options.engine.mlock:
        say_what_is_locked(model, devices)
    opened = OpenedModel(
        options=options,
        path=fitting.path,
        header=fitting.header,
        model=model,
        weights=fitting.weights,
        devices=devices,
        kv=fitting.kv,
        threads=fitting.context.threads,
        load_ms=(now_ns() - began_ns) / NS_PER_MS,
        abort=abort,
        paged_bytes=fitting.paged_bytes,
        row_copies=copies,
    )
    generates = context.has_memory and fitting.header.own("attention.causal") is not False
    if not generates:
        n_cells = context.n_cells - fitting.n_spare
        context.close()
        return _encoder(opened, n_cells)
    return _generator(opened, context, fitting, costs_folder, now_ns, company)


def _here(part: Callable[[], _Result]) -> _Result:
    return part()


def _open(settings: EngineSettings, fitting: Fitting, abort: AbortFlag) -> tuple[Model, Context]:
    try:
        model = Model(
            str(fitting.path),
            gpu_layers=settings.gpu_layers,
            device=settings.device,
            mmap=settings.mmap,
            mlock=settings.mlock,
            repack=bool(settings.repack),
            placement=Placement.of(settings),
        )
        if settings.repack and settings.mmap and not settings.mlock:
            give_back(parts(fitting.path, fitting.header))
        context = Context(model, fitting.context, abort=abort)
    except LlamaError as error:
        raise ModelLoadFailed(f"{fitting.path} cannot be loaded: {error}") from error
    return model, context


def _encoder(opened: OpenedModel, n_cells: int) -> LoadedModel:
    """Load a model that only embeds. n_cells: the most tokens of its longest text."""
    embeds = opened.embeds(n_cells=n_cells, generates=False)
    log.info(
        "loaded encoder model=%s pooling=%s threads=%d",
        opened.options.name,
        embeds.pooling,
        opened.threads,
    )
    return LoadedModel(
        model=opened.model,
        header=opened.header,
        context=None,
        facts=opened.facts(
            embeds, n_cells=0, max_seqs=0, memory=ContextMemory(), can_cut=opened.can_cut
        ),
        embeds=embeds,
        embed_options=opened.embed_options(embeds),
        cost=CostModel(),
        cost_file=None,
    )


def _generator(
    opened: OpenedModel,
    context: Context,
    fitting: Fitting,
    costs_folder: Path | None,
    now_ns: Callable[[], int],
    company: Company | None = None,
) -> LoadedModel:
    """Load a model that generates: warm it up, measure its first steps, try what it can do."""
    options, model = opened.options, opened.model
    warm = WarmUp(model, context, fitting.context, fitting.n_streams, now_ns)
    compute_aside = _here if company is None else company.compute_aside
    measuring = contextlib.nullcontext if company is None else company.measuring
    warmup_ms = compute_aside(lambda: warm.first_ms(reads_all=fitting.reads_all))
    with measuring():
        if opened.abort.gate is not None:
            try_gate(context, opened.abort.gate, token=max(model.bos, 0), now_ns=now_ns)
        states = compute_aside(lambda: _states(opened, context, fitting))
        if states is None and _may_be_full(opened, fitting):
            fitting, context = _with_full_windows(opened, fitting, context)
            warm = WarmUp(model, context, fitting.context, fitting.n_streams, now_ns)
            states = _states(opened, context, fitting)
    n_cells = context.n_cells - fitting.n_spare
    embeds = opened.embeds(n_cells=n_cells, generates=True)
    owns_windows = _has_small_windows(opened, fitting)
    stream_tokens = opened.stream_context(n_cells).tokens
    window = opened.window(fitting.memory, stream_tokens=stream_tokens, is_small=owns_windows)
    # Without states, a cell of a small window that two sequences hold would never be free again.
    # Where sequences have cells of their own, llama.cpp ends the process at a part of one.
    may_share = not owns_windows and not fitting.memory.owns_cells
    can_share = states is not None or (may_share and compute_aside(warm.can_share_prefix))
    file = None if costs_folder is None else CostFile(costs_folder, _about(opened, owns_windows))
    tiles = fitting.n_spare > 0 and can_share
    is_beside = company is not None and company.is_busy
    with measuring():
        cost, observed = costs(warm, file, tiles=tiles, is_beside=is_beside, builds=opened.builds)
    parking = None
    if can_share:
        parking = compute_aside(lambda: _parking(opened, context, fitting, states, window))
    if fitting.parking is not None and parking is None:
        log.info("sequences of this model cannot be parked model=%s", options.name)
    cut_save_ms = None if states is None else states.cut_save_ms
    facts = opened.facts(
        embeds,
        n_cells=n_cells,
        max_seqs=fitting.n_streams,
        memory=fitting.memory,
        n_seqs=fitting.context.max_seqs,
        can_share_prefix=can_share,
        can_cut=can_share and (opened.can_cut or cut_save_ms is not None),
        shares_at="anywhere" if states is None else "states",
        park_bytes=0 if parking is None else parking.capacity_bytes,
        warmup_ms=warmup_ms,
        decode_ms=observed[0][2],
    )
    say_what_is_loaded(facts, observed)
    say_how_far_streams_go(opened, facts)
    files = parts(fitting.path, fitting.header)
    return LoadedModel(
        model=model,
        header=joined(fitting.headers),
        context=context,
        facts=replace(facts, fingerprint=fingerprint_of(facts, files, fitting.headers)),
        embeds=embeds,
        embed_options=opened.embed_options(embeds),
        cost=cost,
        cost_file=file,
        window=window,
        parking=parking,
        sessions=open_sessions(
            options,
            facts,
            parking,
            files,
            fitting.headers,
            library=llama.library_identity(),
        ),
        states=states,
        owns_windows=owns_windows,
        can_cut=can_share and opened.can_cut,
        cut_save_ms=cut_save_ms if facts.cut_share < 1 else None,
        wants_output=opened.wants_output,
        row_copies=opened.row_copies,
    )


def states_of(model: Model, context: Context, shape: ContextOptions) -> StateLayout | None:
    """The states of a context's sequences; None where there are none, or none can be put back.
    Leaves the context empty."""
    if not model.is_recurrent and not shape.has_small_windows(model.sliding_window):
        return None
    return try_states(
        context,
        n_seqs=shape.max_seqs,
        batch=shape.batch,
        token=max(model.bos, 0),
        window_tokens=model.sliding_window,
    )


def _may_be_full(opened: OpenedModel, fitting: Fitting) -> bool:
    """Whether layers with a window have their window's cells, and nobody asked for that."""
    return _has_small_windows(opened, fitting) and opened.options.engine.swa_full == "auto"


def _has_small_windows(opened: OpenedModel, fitting: Fitting) -> bool:
    """Whether layers with a window have their window's cells, and not the whole pool's."""
    return fitting.context.has_small_windows(opened.window_tokens(fitting.memory))


def _with_full_windows(
    opened: OpenedModel, fitting: Fitting, context: Context
) -> tuple[Fitting, Context]:
    """Another context, in which beginnings are shared from cells for the whole pool; the same one
    where there is no memory for these."""
    why = "states of windows cannot be put back, so beginnings are shared from them"
    try:
        full = fit(opened.options, opened.devices, full_because=why)
    except ModelTooLarge as error:
        log.warning("nothing is shared model=%s reason=%s", opened.options.name, error.message)
        return fitting, context
    context.close()
    try:
        return full, Context(opened.model, full.context, abort=opened.abort)
    except LlamaError as error:
        raise ModelLoadFailed(f"{fitting.path} cannot be loaded: {error}") from error


def _states(opened: OpenedModel, context: Context, fitting: Fitting) -> StateLayout | None:
    model, shape = opened.model, fitting.context
    if fitting.memory.owns_cells:
        return None
    if not model.is_recurrent and not _has_small_windows(opened, fitting):
        return None
    layout = states_of(model, context, shape)
    name = opened.options.name
    if layout is None:
        log.warning("states of this model cannot be put back; nothing is shared model=%s", name)
    else:
        log.info("a state of model=%s has at most %d bytes", name, layout.most_bytes)
        if layout.is_recurrent and layout.cut_save_ms is None:
            log.warning("a cut step cannot be undone, so none is cut model=%s", name)
    return layout


def _parking(
    opened: OpenedModel,
    context: Context,
    fitting: Fitting,
    states: StateLayout | None,
    window: Window | None,
) -> ParkShape | None:
    if fitting.parking is None:
        return None
    return try_parking(
        context,
        fitting.parking,
        scratch=fitting.n_streams,
        empty=fitting.n_streams + 1 if opened.model.is_recurrent else None,
        token=max(opened.model.bos, 0),
        states=states,
        window=window,
    )


def _about(opened: OpenedModel, owns_windows: bool) -> str:
    """Everything that the cost of a step depends on, as text."""
    settings, model = opened.options.engine, opened.model
    return "; ".join(
        [
            *(f"{device.backend} {device.description}" for device in opened.devices),
            f"{opened.threads} of {os.cpu_count()} threads",
            f"{model.description}, {model.n_params} parameters, {model.size_bytes} bytes",
            f"kv {opened.kv.name}, batch {settings.batch}/{settings.ubatch}",
            f"gpu_layers {settings.gpu_layers}, flash_attention {settings.flash_attention}",
            f"repack {settings.repack}",
            *_what_else(opened, owns_windows),
        ]
    )


def _what_else(opened: OpenedModel, owns_windows: bool) -> list[str]:
    """What is written down only where it is so, so that costs that are known stay."""
    rope = opened.rope.words()
    said = [f"positions: {rope}"] if rope else []
    # Rows pass over the cells of small windows, and not over cells for the whole pool.
    return [*said, "small windows"] if owns_windows else said
