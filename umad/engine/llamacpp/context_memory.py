"""Measures the memory that a context takes, by llama.cpp's own account.

llama.cpp has a dozen layouts for what it keeps of a text: keys and values of every layer or of
some, compressed into one latent vector, shared between layers, an index beside them, a state of
fixed size for each sequence, or several of these in one model. Computing them from a file's header
was wrong by up to four times. So llama.cpp is asked: a model that was opened without weights makes
a context that allocates nothing but its sequences' states, and its log says how large every part of
it is (10 to 50 ms in all).
Not: whether that fits the machine (`fitting`). Owner: the main thread.
"""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from umad.engine.llamacpp.context_options import ContextOptions, padded
from umad.engine.llamacpp.device_room import compute_bytes, layer_devices
from umad.engine.llamacpp.llama import (
    MAX_SEQS,
    Context,
    LlamaError,
    Model,
    listening,
    without_vocabulary,
)
from umad.engine.llamacpp.window_cache import WindowCache
from umad.engine.process import trim_heap
from umad.errors import ModelLoadFailed
from umad.models.gguf import GgufHeader
from umad.models.sizes import kv_shape

log = logging.getLogger("umad.engine")
Answer = TypeVar("Answer")

_MIB = 2**20
# States are really allocated, so they are measured on few sequences.
_FEW_SEQS = 2
# The log rounds to 0.01 MiB. So many cells show the bytes of one cell to the byte, and so many
# states of a small model show a state's bytes to 1 %; neither takes much memory.
_FINE_CELLS = 2**16
_FINE_SEQS_CELLS = 256
# With small states, llama.cpp is asked what a step of all sequences works in. No more than this
# is allocated for the answer.
_MOST_STATE_BYTES = 2**28
# llama.cpp's list of a context's cells is really allocated, too: some 60 bytes each. The memory of
# a context with more cells than this is extrapolated.
_MOST_CELLS, _MANY_CELLS = 2**17 + 256, 2**20

# llama-context.cpp, TAG_RESERVE_DIAG_DECAY: what a step works in grows with the square of a
# sequence's tokens, so one sequence alone takes more than several. A context is made for the larger
# of both, and without weights it tells the one for several.
_MORE_ALONE = frozenset({"kimi-linear", "minimax-01"})

# llama-kv-cache.cpp, llama-kv-cache-*.cpp: the line that says which of several caches is made next.
_WHICH = re.compile(r": creating +(non-SWA |SWA )?.*KV cache")
_CELLS = re.compile(
    r"llama_kv_cache: size = +([\d.]+) MiB \( *(\d+) cells, +\d+ layers, +\d+/(\d+) seqs\)"
)
# llama-memory-recurrent.cpp, llama-kv-cache-dsv4.cpp
_STATES = re.compile(r"llama_memory_recurrent: size = +([\d.]+) MiB \( *(\d+) cells")
_STATE_LAYER = re.compile(r"llama_memory_recurrent, layer +\d+: dev")
_STREAMS = re.compile(r"streams = (\d+), rs_seq = \d+, layers = \d+, size = +([\d.]+) MiB")
# llama-context.cpp: one line for each device.
_COMPUTE = re.compile(r" (compute|output) buffer size = +([\d.]+) MiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextMemory:
    """The bytes that one context takes."""

    # The cells that all sequences share.
    pool_bytes: int = 0
    # The cells of layers with a window where they are apart from the pool and fewer.
    windows: WindowCache | None = None
    # Each sequence, used or not.
    seq_bytes: int = 0
    # The part of `seq_bytes` that does not grow with a text. Every step reads and writes all of it.
    state_bytes: int = 0
    # One position of one sequence, wherever it is kept.
    cell_bytes: int = 0
    # Some layers look back over a sliding window only: llama.cpp makes a cache apart for them.
    has_windows: bool = False
    # The part of a cell that such layers have.
    window_cell_bytes: int = 0
    # The bytes that one more cell of the context adds to the pool, and to each sequence.
    pool_cell_bytes: int = 0
    seq_cell_bytes: int = 0
    # The memory that a step works in.
    compute_bytes: int = 0
    # The bytes that each sequence adds to `compute_bytes`, where that was not asked for all of
    # them.
    seq_compute_bytes: int = 0
    # The part of what a step works in that is a sequence's row of output.
    seq_output_bytes: int = 0

    def kept_bytes(self, n_seqs: int) -> int:
        """Bytes of texts and states, with so many sequences."""
        windows = 0 if self.windows is None else self.windows.bytes(n_seqs)
        return self.pool_bytes + windows + n_seqs * self.seq_bytes

    @property
    def owns_cells(self) -> bool:
        """True if each sequence has its cells for itself, and none can be shared (DeepSeek V4)."""
        return self.seq_cell_bytes > 0

    @property
    def stream_bytes(self) -> int:
        """Bytes that one more stream costs while there are few."""
        return self.seq_bytes + (0 if self.windows is None else self.windows.seq_bytes)

    def working_bytes(self, n_seqs: int) -> int:
        """Bytes that a step works in, with so many sequences."""
        return self.compute_bytes + n_seqs * self.seq_compute_bytes


class FileMemory:
    """A model's file, opened without weights, which can be asked for the memory of any context."""

    def __init__(self, header: GgufHeader, model: Model, layers: tuple[str, ...] = ()) -> None:
        self._header = header
        self._model = model
        # The device of each layer and of the output; empty where llama.cpp does not say.
        self.layer_devices = layers
        self._known: dict[ContextOptions, ContextMemory] = {}

    @property
    def keeps_states(self) -> bool:
        """True if some layers keep a state of each sequence instead of cells."""
        return self._model.is_recurrent

    @property
    def has_cells(self) -> bool:
        """True if some layers keep something of each token."""
        return self._model.has_cells

    @property
    def has_rope(self) -> bool:
        """True where the options for positions mean something."""
        return self._model.has_rope

    def memory(self, options: ContextOptions) -> ContextMemory:
        """The memory of a context with these options. Raises `LlamaError`."""
        if options not in self._known:
            self._known[options] = self._asked(options)
        return self._known[options]

    def work_cell_bytes(self, options: ContextOptions) -> float:
        """The bytes that one more cell adds to what a step works in. Raises `LlamaError`."""
        few, many = (
            _said(self._model, replace(options, n_cells=n_cells, max_seqs=1))
            for n_cells in (_FINE_CELLS // 4, _FINE_CELLS)
        )
        if few is None or many is None:
            return 0.0
        return max(0, many.compute_bytes - few.compute_bytes) / (_FINE_CELLS - _FINE_CELLS // 4)

    def device_compute_bytes(self, options: ContextOptions) -> dict[str, int]:
        """What a step works in, by the device that has it. Raises `LlamaError`."""
        seqs = _FEW_SEQS if self.keeps_states else options.max_seqs
        n_cells = min(options.n_cells, _MOST_CELLS)
        with listening() as lines:
            Context(self._model, replace(options, n_cells=n_cells, max_seqs=seqs)).close()
        return compute_bytes(lines)

    def _asked(self, options: ContextOptions) -> ContextMemory:
        said = context_memory(self._model, options, alone=self._header.architecture in _MORE_ALONE)
        if said is not None:
            return said
        cell_bytes = kv_shape(self._header).cell_bytes(options.type_k, options.type_v)
        log.warning("this llama.cpp does not say what a context takes; KV is reckoned, states not")
        return ContextMemory(
            cell_bytes=cell_bytes,
            pool_bytes=cell_bytes * options.n_cells,
            has_windows=self._model.sliding_window > 0,
            pool_cell_bytes=cell_bytes,
        )


def asked_of_file(
    path: Path,
    headers: tuple[GgufHeader, ...],
    question: Callable[[FileMemory], Answer],
    *,
    gpu_layers: int,
    device: str | None = None,
) -> Answer:
    """The answer of the model in `path` to `question`, which may be put twice: to a copy that opens
    quickly, and to the file itself where the copy will not do. headers: of all its files.
    gpu_layers, device: as the options have them. Raises
    `ModelLoadFailed` for a file that llama.cpp cannot open, and for one that is no model by itself.
    """

    def ask(file: Path) -> Answer:
        with listening() as lines:
            model = Model(str(file), gpu_layers=gpu_layers, device=device, weights=False)
        try:
            _refuse_halves(path, headers[0], model)
            return question(FileMemory(headers[0], model, layer_devices(lines)))
        finally:
            model.close()

    try:
        with _quick_to_open(path, headers) as copy:
            try:
                return ask(copy or path)
            except LlamaError:
                if copy is None:
                    raise
                return ask(path)
    except LlamaError as error:
        raise ModelLoadFailed(f"{path} cannot be loaded: {error}") from error
    finally:
        trim_heap()


def context_memory(
    model: Model, options: ContextOptions, *, alone: bool = False
) -> ContextMemory | None:
    """The memory of a context with these options on `model`, which was opened without weights.

    alone: llama.cpp reserves what a step of one sequence works in, too, where that is more.
    None where the model keeps something but the log has none of the known lines: this llama.cpp
    words them in another way. Raises `LlamaError`.
    """
    asked = _FEW_SEQS if model.is_recurrent else options.max_seqs
    n_cells = min(options.n_cells, _MOST_CELLS)
    whole = _said(model, replace(options, n_cells=n_cells, max_seqs=asked))
    fine = _said(model, replace(options, n_cells=_FINE_CELLS, max_seqs=1, swa_full=True))
    if whole is None or fine is None:
        return None
    state_bytes = whole.state_bytes
    if model.is_recurrent and state_bytes < _MIB:
        finest = MAX_SEQS if state_bytes < _MIB // 4 else MAX_SEQS // 4
        finer = replace(options, n_cells=_FINE_SEQS_CELLS, max_seqs=finest)
        state_bytes = (_said(model, finer) or whole).state_bytes
    own_bytes = whole.seq_bytes - whole.state_bytes
    compute_bytes, seq_compute_bytes = whole.compute_bytes, 0
    if model.is_recurrent:
        all_cells = n_cells * (options.max_seqs if own_bytes else 1)
        if options.max_seqs * state_bytes <= _MOST_STATE_BYTES and all_cells <= _MANY_CELLS:
            every = _said(model, replace(options, n_cells=n_cells)) or whole
            compute_bytes = every.compute_bytes
        else:
            # A step gathers the states of one layer after the other.
            seq_compute_bytes = whole.seq_compute_bytes + whole.seq_output_bytes
            compute_bytes -= asked * whole.seq_output_bytes
    if alone:
        one = replace(options, n_cells=n_cells, max_seqs=1, outputs=options.max_seqs)
        said = _said(model, one)
        if said is not None:
            rows_bytes = said.seq_output_bytes if seq_compute_bytes else 0
            compute_bytes = max(compute_bytes, said.compute_bytes - rows_bytes)
    windows = None
    pool_bytes, growth = whole.pool_bytes, fine.cell_bytes
    if fine.window_cell_bytes and not options.swa_full:
        # Every layer with cells may have a window: then there is no pool beside them.
        if pool_bytes or whole.windows is not None:
            windows = _windows(model, options, whole, fine, n_seqs=asked)
            if whole.windows is None:
                # So many sequences have as many cells for their windows as the pool has.
                pool_bytes -= padded(n_cells) * fine.window_cell_bytes
        growth -= fine.window_cell_bytes
    more_cells = options.n_cells - n_cells
    more_work_bytes = 0
    if more_cells:
        half = _said(model, replace(options, n_cells=n_cells // 2, max_seqs=asked)) or whole
        more_work = max(0, whole.compute_bytes - half.compute_bytes) / (n_cells - n_cells // 2)
        more_work_bytes = round(more_cells * more_work)
    return ContextMemory(
        pool_bytes=pool_bytes + (more_cells * growth if pool_bytes else 0),
        windows=windows,
        seq_bytes=own_bytes + (more_cells * growth if own_bytes else 0) + state_bytes,
        state_bytes=state_bytes,
        cell_bytes=fine.cell_bytes,
        has_windows=fine.has_windows,
        window_cell_bytes=fine.window_cell_bytes,
        pool_cell_bytes=growth if pool_bytes else 0,
        seq_cell_bytes=growth if own_bytes else 0,
        compute_bytes=compute_bytes + more_work_bytes,
        seq_compute_bytes=seq_compute_bytes,
        seq_output_bytes=whole.seq_output_bytes,
    )


def read_log(lines: Sequence[str], *, n_cells: int, n_seqs: int = 1) -> ContextMemory:
    """Read the memory of a context of `n_cells` from these lines of llama.cpp's log.

    n_seqs: the sequences that have a row of output each.
    """
    pool = own = state = cell = window = compute = output = 0.0
    apart: tuple[float, int] | None = None
    n_state_layers = 0
    looks_back = has_windows = False
    for line in lines:
        if found := _WHICH.search(line):
            looks_back = found[1] == "SWA "
            has_windows |= looks_back
        elif found := _CELLS.search(line):
            mib, n_here, n_streams = float(found[1]), int(found[2]), int(found[3])
            is_small = looks_back and n_here < n_cells
            if n_streams > 1:
                mib /= n_streams
                own += mib
            elif is_small:
                apart = (mib, n_here)
            else:
                pool += mib
            # Caches of compressed cells have fewer of them, and grow with the context all the same.
            cell += mib / (n_here if is_small else n_cells)
            window += mib / (n_here if is_small else n_cells) if looks_back else 0.0
        elif _STATE_LAYER.search(line):
            n_state_layers += 1
        elif found := _STATES.search(line):
            state += float(found[1]) / int(found[2])
        elif found := _STREAMS.search(line):
            state += float(found[2]) / int(found[1])
        elif found := _COMPUTE.search(line):
            compute += float(found[2])
            output += float(found[2]) if found[1] == "output" else 0.0
    windows = None
    if apart is not None:
        mib, n_here = apart
        windows = WindowCache(
            cell_bytes=round(mib * _MIB / n_here),
            step_cells=n_here,
            seq_cells=0,
            pool_cells=n_cells,
        )
    return ContextMemory(
        pool_bytes=round(pool * _MIB),
        windows=windows,
        seq_bytes=round((own + state) * _MIB),
        state_bytes=round(state * _MIB),
        cell_bytes=round(cell * _MIB),
        has_windows=has_windows,
        window_cell_bytes=round(window * _MIB),
        compute_bytes=round(compute * _MIB),
        seq_compute_bytes=round(state * _MIB / n_state_layers) if n_state_layers else 0,
        seq_output_bytes=round(output * _MIB / n_seqs),
    )


def _windows(
    model: Model,
    options: ContextOptions,
    whole: ContextMemory,
    fine: ContextMemory,
    *,
    n_seqs: int,
) -> WindowCache:
    """The rule by which the windows' cells grow with the sequences. It is checked against the
    number of cells in the log; where llama.cpp has another rule, that number stands.
    """
    asked_cells = padded(min(options.n_cells, _MOST_CELLS))
    rule = WindowCache(
        cell_bytes=fine.window_cell_bytes,
        step_cells=min(options.ubatch, options.batch, options.n_cells),
        seq_cells=model.sliding_window,
        pool_cells=asked_cells,
    )
    said = asked_cells if whole.windows is None else whole.windows.cells(n_seqs)
    if rule.cells(n_seqs) != said:
        log.warning("this llama.cpp has another rule for windows: cells=%d are reckoned with", said)
        rule = replace(rule, step_cells=said, seq_cells=0)
    return replace(rule, pool_cells=padded(options.n_cells))


def _said(model: Model, options: ContextOptions) -> ContextMemory | None:
    with listening() as lines:
        context = Context(model, options)
    n_cells, has_memory = context.n_cells, context.has_memory
    context.close()
    said = read_log(lines, n_cells=n_cells, n_seqs=options.max_seqs)
    return None if has_memory and not (said.cell_bytes or said.state_bytes) else said


def _quick_to_open(
    path: Path, headers: tuple[GgufHeader, ...]
) -> AbstractContextManager[Path | None]:
    if len(headers) > 1:
        return nullcontext()  # the parts would have to be copied, too
    (only,) = headers
    return without_vocabulary(path, data_bytes=only.needed_bytes - only.data_at)


def _refuse_halves(path: Path, header: GgufHeader, model: Model) -> None:
    if not model.has_decoder:
        raise ModelLoadFailed(f"{path} is one half of a model, of no use alone")
    if model.has_encoder:
        raise ModelLoadFailed(
            f"{path} is an encoder-decoder model ({header.architecture}): it reads with one half "
            "and writes with the other, which umad does not run; choose a model that only decodes"
        )
