"""Wraps llama.cpp with types, as thin as ctypes allows. Only this module, `llama_batch`,
`llama_vocab` and `library_trial` call it through its declarations (`library`).

Not here: policy, plans, error texts for users. Nothing in here decides; a failure is a return code
or a `LlamaError` with llama.cpp's own last words.
Owner: a `Model` is read-only once open and safe from any thread (llama.cpp's vocabulary is const
after load: `llama_vocab::impl` is only read by tokenize and token_to_piece). A `Context` belongs
to the step thread.
"""

import ctypes
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp.abort_flag import AbortFlag
from umad.engine.llamacpp.adapter_calls import AdapterCalls
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.devices import Device, device_list, devices_of
from umad.engine.llamacpp.header_copy import header_copy
from umad.engine.llamacpp.library import PATH, lib
from umad.engine.llamacpp.library import libggml as libggml
from umad.engine.llamacpp.llama_batch import Batch as Batch
from umad.engine.llamacpp.llama_log import LlamaLog
from umad.engine.llamacpp.llama_vocab import LlamaVocab
from umad.engine.llamacpp.load_mode import load_mode
from umad.engine.llamacpp.placement import Placement, overrides
from umad.engine.llamacpp.quantize_call import QuantizeParams, call_quantizer
from umad.engine.llamacpp.rope_params import scale_positions
from umad.engine.llamacpp.row_batch import RowBatch
from umad.engine.llamacpp.struct_check import struct_faults as faults_of

MAX_SEQS = 256  # LLAMA_MAX_SEQ of llama.cpp's llama-cparams.h
_STATE = lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY


class LlamaError(Exception):
    """llama.cpp refused. The text is its own last error lines, joined."""


# Also for mtmd, which logs by a function of its own.
TAP = LlamaLog()


def start() -> None:
    """Route llama.cpp's log and initialise its backends. Once per process, before any `Model`."""
    # A debugger's backtrace takes seconds, and hides the reason for an abort behind forty lines.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    lib.llama_log_set(TAP.callback, ctypes.c_void_p(0))
    lib.llama_backend_init()


def listening(on_line: Callable[[str], None] | None = None) -> AbstractContextManager[list[str]]:
    """Collect the lines that llama.cpp logs meanwhile, or call `on_line` with each as it comes."""
    return TAP.listening(on_line)


def without_vocabulary(path: Path, *, data_bytes: int) -> AbstractContextManager[Path | None]:
    """Yield a copy of a file's header that opens quickly without weights; see `header_copy`."""
    return header_copy(libggml, path, data_bytes=data_bytes)


def devices() -> tuple[Device, ...]:
    """Every device the loaded backends offer."""
    return devices_of(libggml)


def build() -> str:
    """The binding's version, and the features that the library was built for."""
    features: bytes = lib.llama_print_system_info()
    return f"{metadata.version('llama-cpp-python')}; {features.decode('utf-8', 'replace').strip()}"


def library_identity() -> str:
    """Tells this library from another: `build`, and its file where that is not the binding's."""
    return build() if PATH is None else f"{build()}; {PATH}"


def library_path() -> Path | None:
    """The library's file; None for the one inside llama-cpp-python."""
    return PATH


def quantize(source: Path, target: Path, asked: QuantizeParams) -> None:
    """Write `source` to `target` in another type. Releases the GIL. Raises `LlamaError`."""
    TAP.errors.clear()
    if not call_quantizer(lib, source, target, asked):
        raise LlamaError(TAP.reason())


def adapter_calls(model: "Model", context: "Context") -> AdapterCalls:
    """The calls for adapters of `model` on `context`."""
    model_at, context_at, clear = model.handle, context._handle, TAP.errors.clear
    return AdapterCalls(lib, model_at, context_at, reason=TAP.reason, forget=clear)


def struct_faults() -> tuple[str, ...]:
    """Fields of the binding's structs that do not fit the library."""
    return faults_of(lib)


class Model(LlamaVocab):
    """A GGUF file's weights and vocabulary."""

    def __init__(
        self,
        path: str,
        *,
        gpu_layers: int = -1,
        device: str | None = None,
        mmap: bool = True,
        mlock: bool = False,
        repack: bool = False,
        vocab_only: bool = False,
        weights: bool = True,
        placement: Placement | None = None,
    ) -> None:
        """device: as the option has it. weights: False reads the header alone. Then nothing can be
        decoded, but a context writes to llama.cpp's log how much memory it would take, and takes
        only its sequences' states."""
        params = lib.llama_model_default_params()
        params.no_alloc = not weights
        params.n_gpu_layers = gpu_layers
        params.load_mode = load_mode(mmap=mmap and weights, mlock=mlock and weights)
        params.use_extra_bufts = repack
        # llama.cpp reads these lists while it opens the model, and not later.
        lists: Any = device_list(libggml, device), placement and overrides(libggml, placement)
        devices, places = (ctypes.cast(one, ctypes.c_void_p) for one in lists)
        params.devices, params.tensor_buft_overrides = devices, places
        params.vocab_only = vocab_only
        TAP.errors.clear()
        self.handle: Any = lib.llama_model_load_from_file(path.encode(), params)
        if not self.handle:
            raise LlamaError(TAP.reason())
        super().__init__(lib.llama_model_get_vocab(self.handle))

    @property
    def description(self) -> str:
        """llama.cpp's short description, such as "qwen2 1B Q8_0"."""
        return self._text(lib.llama_model_desc)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(lib.llama_model_size(self.handle))

    @property
    def n_params(self) -> int:
        """The number of weights, with all experts."""
        return int(lib.llama_model_n_params(self.handle))

    @property
    def is_recurrent(self) -> bool:
        """True if some or all layers keep a state instead of cells."""
        return bool(
            lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle)
        )

    @property
    def has_cells(self) -> bool:
        """False where all layers are recurrent, so that nothing is kept of each token."""
        return not lib.llama_model_is_recurrent(self.handle)

    @property
    def sliding_window(self) -> int:
        """The positions that some layers look back over; 0 where all look back over all."""
        return int(lib.llama_model_n_swa(self.handle))

    @property
    def has_rope(self) -> bool:
        """True where queries and keys are rotated by their positions."""
        return bool(lib.llama_model_rope_type(self.handle) != lib.LLAMA_ROPE_TYPE_NONE)

    @property
    def has_encoder(self) -> bool:
        """True where an encoder must read a text first."""
        return bool(lib.llama_model_has_encoder(self.handle))

    @property
    def has_decoder(self) -> bool:
        """False for encoders, which can embed and cannot generate."""
        return bool(lib.llama_model_has_decoder(self.handle))

    @property
    def n_embd_in(self) -> int:
        """The length of a row that stands for a token."""
        return int(lib.llama_model_n_embd_inp(self.handle))

    @property
    def n_embd_out(self) -> int:
        """The length of a vector."""
        return int(lib.llama_model_n_embd_out(self.handle))

    def chat_template(self, name: str | None = None) -> str | None:
        """The template's source in the file, Jinja unless it has a `name`; None without one."""
        template = lib.llama_model_chat_template(self.handle, name and name.encode())
        return None if template is None else template.decode("utf-8", "replace")

    def close(self) -> None:
        """Free the weights. Close the contexts first."""
        if self.handle:
            lib.llama_model_free(self.handle)
            self.handle = None

    def _text(self, function: Any) -> str:
        buffer = ctypes.create_string_buffer(256)
        function(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")


class Context:
    """One llama_context with a unified KV pool and a way to cut a running decode."""

    def __init__(
        self, model: Model, options: ContextOptions, *, abort: AbortFlag | None = None
    ) -> None:
        params = lib.llama_context_default_params()
        params.n_ctx = options.n_cells
        params.n_seq_max = options.max_seqs
        params.n_batch = options.batch
        params.n_ubatch = options.ubatch
        # A step has no more rows of logits than there are sequences, scored rows and guesses
        # included. By default llama.cpp reserves one for each batch row.
        params.n_outputs_max = options.outputs or options.max_seqs
        if options.pooling is not None:
            params.embeddings = True
            params.pooling_type = options.pooling
            params.n_outputs_max = max(options.batch, options.max_seqs)
        params.n_threads = params.n_threads_batch = options.threads
        params.type_k, params.type_v = options.type_k, options.type_v
        flash = (lib.LLAMA_FLASH_ATTN_TYPE_DISABLED, lib.LLAMA_FLASH_ATTN_TYPE_ENABLED)
        params.flash_attn_type = flash[options.flash_attention]
        params.kv_unified = True
        params.swa_full = options.swa_full
        scale_positions(params, options.rope)
        params.no_perf = True
        self.abort_flag = flag = abort or AbortFlag()
        flag.put_into(params)
        TAP.errors.clear()
        self._handle: Any = lib.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise LlamaError(TAP.reason())
        self._memory: Any = lib.llama_get_memory(self._handle)
        self._n_vocab = model.n_vocab
        self._none: NDArray[np.float32] = np.empty((0, model.n_vocab), np.float32)
        self._rows = self._none
        self._rows_at = 0
        self._max_rows = params.n_outputs_max
        self._decode = lib.llama_decode
        self._get_logits = _address_of_logits()
        self.n_cells: int = lib.llama_n_ctx(self._handle)
        # The most rows that the device computes at once.
        self.ubatch = min(options.ubatch, options.batch)
        lib.llama_set_abort_callback(self._handle, flag.callback, flag.argument)

    @property
    def handle(self) -> Any:
        """llama.cpp's own pointer, for calls that are not wrapped here."""
        return self._handle

    @property
    def has_memory(self) -> bool:
        """False for models that keep nothing between decodes: encoders."""
        return bool(self._memory)

    def decode(self, batch: Batch | RowBatch) -> int:
        """Run the batch with the GIL released. 0 done, 1 no cells, 2 aborted, below 0 an error."""
        code: int = self._decode(self._handle, batch.struct)
        return code

    def logits(self, n_rows: int) -> NDArray[np.float32]:
        """float32 (n_rows, n_vocab): the last decode's output rows, in batch order. Waits for the
        device.

        It is a view into llama.cpp's own buffer, valid until the next decode.
        """
        at = self._get_logits(self._handle)
        if at != self._rows_at:
            # llama.cpp moves its buffer only when more rows are asked for than ever before.
            shape = (self._max_rows, self._n_vocab)
            raw = (ctypes.c_float * (shape[0] * shape[1])).from_address(at)
            self._rows = np.frombuffer(raw, np.float32).reshape(shape)
            self._rows_at = at
        return self._rows[:n_rows]

    def logits_of_none(self) -> NDArray[np.float32]:
        """float32 (0, n_vocab): the logits of a decode without output rows."""
        return self._none

    def row_vectors(self, n_rows: int, width: int) -> NDArray[np.float32]:
        """float32 (n_rows, width), valid until the next decode. For a context without pooling."""
        return np.ctypeslib.as_array(lib.llama_get_embeddings(self._handle), (n_rows, width))

    def seq_vector(self, seq: int, width: int) -> NDArray[np.float32]:
        """float32 (width,), valid until the next decode. For a context that pools."""
        return np.ctypeslib.as_array(lib.llama_get_embeddings_seq(self._handle, seq), (width,))

    def trim(self, seq: int, keep_tokens: int) -> bool:
        """Drop positions from `keep_tokens` on. Returns False where the model cannot."""
        return bool(lib.llama_memory_seq_rm(self._memory, seq, keep_tokens, -1))

    def copy(self, source: int, target: int, end: int, *, start: int = 0) -> None:
        """Share positions [start, end) of `source` with `target`; no bytes move."""
        lib.llama_memory_seq_cp(self._memory, source, target, start, end)

    def length(self, seq: int) -> int:
        """The number of positions that a sequence holds, counted from 0."""
        return int(lib.llama_memory_seq_pos_max(self._memory, seq)) + 1

    def whole(self, seq: int) -> bytes:
        """All that llama.cpp saves of one sequence: positions, keys and values, and states."""
        size = lib.llama_state_seq_get_size(self._handle, seq)
        buffer = (ctypes.c_uint8 * size)()
        written = lib.llama_state_seq_get_data(self._handle, buffer, size, seq)
        return bytes(memoryview(buffer)[:written])

    def whole_size(self, seq: int) -> int:
        """The bytes of `whole`. Nothing is copied."""
        return int(lib.llama_state_seq_get_size(self._handle, seq))

    def state_size(self, seq: int) -> int:
        """The bytes that `save_state` writes."""
        return int(lib.llama_state_seq_get_size_ext(self._handle, seq, _STATE))

    def save_state(self, seq: int, memory: NDArray[np.uint8]) -> int:
        """Write the state of a sequence into `memory`: what is true at its present end only. It is
        the states of recurrent layers and the window of layers that have one. Returns its bytes; 0
        when `memory` is too small. Releases the GIL.

        The copy lies in host memory. llama.cpp can also keep it on the device
        (`LLAMA_STATE_SEQ_FLAGS_ON_DEVICE`), but only one for each sequence (`mem_storage` of
        llama-context.cpp), and a conversation has many.
        """
        at = memory.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return int(lib.llama_state_seq_get_data_ext(self._handle, at, memory.size, seq, _STATE))

    def load_state(self, seq: int, memory: NDArray[np.uint8], n_bytes: int) -> bool:
        """Put back what `save_state` wrote; the other cells of `seq` stay. Returns False when it
        was refused, and then `seq` has no state. Releases the GIL.
        """
        at = memory.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        read = lib.llama_state_seq_set_data_ext(self._handle, at, n_bytes, seq, _STATE)
        return int(read) == n_bytes

    def begin(self, seq: int) -> int:
        """The first position of a sequence that every layer holds; -1 for an empty sequence."""
        return int(lib.llama_memory_seq_pos_min(self._memory, seq))

    def save(self, seq: int, memory: NDArray[np.uint8]) -> int:
        """Write `whole` into `memory`. Returns its bytes; 0 when `memory` is too small. Releases
        the GIL.
        """
        at = memory.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return int(lib.llama_state_seq_get_data(self._handle, at, memory.size, seq))

    def load(self, seq: int, memory: NDArray[np.uint8], n_bytes: int) -> bool:
        """Replace the cells of `seq` by those that `save` wrote. Returns False when too few cells
        are free, and then the sequence is empty. Releases the GIL.
        """
        at = memory.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return bool(lib.llama_state_seq_set_data(self._handle, at, n_bytes, seq))

    def clear(self) -> None:
        """Empty the whole pool."""
        lib.llama_memory_clear(self._memory, False)

    def set_causal(self, on: bool) -> None:
        """While off, the rows of a decode look at one another in both directions."""
        lib.llama_set_causal_attn(self._handle, on)

    def wait(self) -> None:
        """Wait for the device to end what it was given."""
        lib.llama_synchronize(self._handle)

    def set_warmup(self, on: bool) -> None:
        """While on, a decode touches every expert of a MoE model: all weights are paged in."""
        lib.llama_set_warmup(self._handle, on)

    def last_words(self) -> str:
        """llama.cpp's last error lines."""
        return TAP.reason()

    def close(self) -> None:
        """Free the context. Call it before the model is closed."""
        if self._handle:
            lib.llama_free(self._handle)
            self._handle = None


def _address_of_logits() -> Any:
    # The binding's own prototype builds a POINTER object at each call; an address is all we need.
    prototype = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    return prototype(("llama_get_logits", lib._lib))
