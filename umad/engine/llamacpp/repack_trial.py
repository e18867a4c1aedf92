"""Compares small products of matrices by the kernels that `repack` would use with the plain ones.

llama.cpp's "extra buffer types" (AMX, KleidiAI, its own repacking) keep weights in another order,
for instructions that plain kernels never use. A processor may name such instructions while a
virtual machine does not let them work; a process that uses them is then killed. So this runs in a
process that may be killed (`umad.engine.llamacpp.repack_child`), and names each pair before it
tries it.

It asks the library that it is handed, as `umad.engine.llamacpp.devices` does; ggml.h, ggml-alloc.h
and ggml-backend.h have the prototypes. Not: what follows from a fault
(`umad.engine.llamacpp.repack_check`).
"""

import ctypes
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from ctypes import c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.models.gguf import BLOCKS

# Whole blocks of every type (256 weights) and whole tiles of every kernel (64 rows).
WIDTH, ROWS = 512, 128
# One token uses kernels of its own. 40 tokens leave a rest that fills no tile of 16.
TOKENS = (1, 40)
# The largest error, as a share of the sum of squares. Kernels round differently, and
# test-backend-ops of llama.cpp allows as much for a product of matrices.
MOST_ERROR = 5e-4
# Memory for ggml's notes about a few tensors. Their numbers lie elsewhere.
_NOTES_BYTES = 2**20
_F32, _F16, _BF16 = 0, 1, 30

# Called with the name of a buffer type, and the name and ggml's number of a type of weights.
Said = Callable[[str, str, int], None]


class RepackTrial:
    """Tries every pair of an extra buffer type and a type of weights that llama.cpp would use.

    trying: called before a pair is tried. wrong: called when its numbers are not the plain ones.
    """

    def __init__(self, library: ctypes.CDLL, *, trying: Said, wrong: Said) -> None:
        self._ggml = _Ggml(library)
        self._trying = trying
        self._wrong = wrong
        random = np.random.default_rng(0)
        self._weights = random.standard_normal((ROWS, WIDTH), np.float32)
        self._tokens = random.standard_normal((max(TOKENS), WIDTH), np.float32)

    def run(self, *, without: Collection[str] = ()) -> None:
        """Try all but the buffer types named in `without`."""
        ggml = self._ggml
        for index in range(ggml.call("ggml_backend_dev_count", c_size_t)):
            device = ggml.call("ggml_backend_dev_get", c_void_p, c_size_t(index))
            for buffers in ggml.extra_buffer_types(device):
                name = ggml.text("ggml_backend_buft_name", c_void_p(buffers))
                if name not in without:
                    self._try_types(device, buffers, name)

    def _try_types(self, device: int, buffers: int, name: str) -> None:
        ggml = self._ggml
        plain = ggml.call("ggml_backend_dev_buffer_type", c_void_p, c_void_p(device))
        backend = ggml.call("ggml_backend_dev_init", c_void_p, c_void_p(device), None)
        for kind in filter(ggml.can_quantize, BLOCKS):
            kind_name = ggml.text("ggml_type_name", c_int(kind))
            for n_tokens in TOKENS:
                tokens = self._tokens[:n_tokens]
                with ggml.product(kind, n_tokens, weights_in=buffers, rest_in=plain) as repacked:
                    if not ggml.supports(device, repacked):
                        continue
                    self._trying(name, kind_name, kind)
                    found = ggml.computed(backend, repacked, self._weights, tokens)
                with ggml.product(kind, n_tokens, weights_in=plain, rest_in=plain) as usual:
                    expected = ggml.computed(backend, usual, self._weights, tokens)
                if not _alike(found, expected):
                    self._wrong(name, kind_name, kind)
        ggml.call("ggml_backend_free", None, c_void_p(backend))


def _alike(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    with np.errstate(all="ignore"):  # wrong numbers may be any
        error = np.square(found - expected).sum() / np.square(expected).sum()
    return bool(error <= MOST_ERROR)  # False for what is no number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """The tensors of `out = weights · tokens`, with their memory, and the graph that computes
    `out`.
    """

    kind: int
    weights: int
    tokens: int
    out: int
    graph: int


class _InitParams(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


class _Ggml:
    """The few functions of ggml that a trial needs."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        function = getattr(self._library, name)
        function.restype = result
        return function(*arguments)

    def text(self, name: str, argument: Any) -> str:
        value: bytes = self.call(name, c_char_p, argument) or b"?"
        return value.decode("utf-8", "replace")

    def extra_buffer_types(self, device: int) -> Iterator[int]:
        """List them as llama.cpp does when it loads a model (`make_cpu_buft_list`)."""
        registry = self.call("ggml_backend_dev_backend_reg", c_void_p, c_void_p(device))
        wanted = b"ggml_backend_dev_get_extra_bufts"
        address = self.call(
            "ggml_backend_reg_get_proc_address", c_void_p, c_void_p(registry), c_char_p(wanted)
        )
        if address:
            function = ctypes.CFUNCTYPE(ctypes.POINTER(c_void_p), c_void_p)(address)
            listed = function(c_void_p(device))
            index = 0
            while listed and listed[index]:
                yield listed[index]
                index += 1

    def can_quantize(self, kind: int) -> bool:
        """True if weights of this type can be made from any numbers."""
        if kind in (_F16, _BF16):
            return True
        # Some types need statistics of a model; no buffer type supports those.
        needs_more = self.call("ggml_quantize_requires_imatrix", c_bool, c_int(kind))
        return bool(self.call("ggml_is_quantized", c_bool, c_int(kind)) and not needs_more)

    @contextmanager
    def product(
        self, kind: int, n_tokens: int, *, weights_in: int, rest_in: int
    ) -> Iterator[_Product]:
        """Make the tensors of a product, with memory in these buffer types; freed
        on the way out.
        """
        notes = [
            self.call("ggml_init", c_void_p, _InitParams(_NOTES_BYTES, None, True))
            for _ in range(2)
        ]
        weights = self._matrix(notes[0], kind, ROWS)
        tokens = self._matrix(notes[1], _F32, n_tokens)
        out = self.call(
            "ggml_mul_mat", c_void_p, c_void_p(notes[1]), c_void_p(weights), c_void_p(tokens)
        )
        graph = self.call("ggml_new_graph", c_void_p, c_void_p(notes[1]))
        self.call("ggml_build_forward_expand", None, c_void_p(graph), c_void_p(out))
        memory = [
            self.call(
                "ggml_backend_alloc_ctx_tensors_from_buft", c_void_p, c_void_p(at), c_void_p(where)
            )
            for at, where in zip(notes, (weights_in, rest_in), strict=True)
        ]
        if not all(memory):
            raise MemoryError("ggml has no memory for a few small tensors")
        yield _Product(kind=kind, weights=weights, tokens=tokens, out=out, graph=graph)
        for one in memory:
            self.call("ggml_backend_buffer_free", None, c_void_p(one))
        for one in notes:
            self.call("ggml_free", None, c_void_p(one))

    def _matrix(self, notes: int, kind: int, rows: int) -> int:
        shape = (c_int64(WIDTH), c_int64(rows))
        made: int = self.call("ggml_new_tensor_2d", c_void_p, c_void_p(notes), c_int(kind), *shape)
        return made

    def supports(self, device: int, product: _Product) -> bool:
        """True if llama.cpp would keep weights of this type there."""
        return bool(
            self.call(
                "ggml_backend_dev_supports_op", c_bool, c_void_p(device), c_void_p(product.out)
            )
        )

    def computed(
        self,
        backend: int,
        product: _Product,
        weights: NDArray[np.float32],
        tokens: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Compute the product of `weights` and `tokens`: float32 (n, ROWS).

        weights: float32 (ROWS, WIDTH), quantized here. tokens: float32 (n, WIDTH).
        """
        row_bytes = self.call("ggml_row_size", c_size_t, c_int(product.kind), c_int64(WIDTH))
        quantized = np.zeros(row_bytes * ROWS, np.uint8)
        self.call(
            "ggml_quantize_chunk",
            c_size_t,
            c_int(product.kind),
            c_void_p(weights.ctypes.data),
            c_void_p(quantized.ctypes.data),
            c_int64(0),
            c_int64(ROWS),
            c_int64(WIDTH),
            None,
        )
        self._copy("ggml_backend_tensor_set", product.weights, quantized)
        self._copy("ggml_backend_tensor_set", product.tokens, tokens)
        # A kernel that writes nothing must not pass by the numbers of the product before.
        out = np.full((len(tokens), ROWS), np.nan, np.float32)
        self._copy("ggml_backend_tensor_set", product.out, out)
        self.call("ggml_backend_graph_compute", c_int, c_void_p(backend), c_void_p(product.graph))
        self._copy("ggml_backend_tensor_get", product.out, out)
        return out

    def _copy(self, name: str, tensor: int, numbers: NDArray[Any]) -> None:
        address = c_void_p(numbers.ctypes.data)
        self.call(name, None, c_void_p(tensor), address, c_size_t(0), c_size_t(numbers.nbytes))
