"""A model of metadata alone: llama.cpp makes up tensors of the right shapes, and no weights.

With it the memory of a model of any size can be asked for on any machine. Not a test.
"""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.models.gguf_bytes import gguf
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.llama import Model

_llama: Any = llama  # the binding inside is not for others; tests may

_N_VOCAB = 1024  # of no matter for what a context keeps


class _FileOptions(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def header_model(
    folder: Path,
    architecture: str,
    own: Mapping[str, object],
    loose: Mapping[str, object] | None = None,
) -> Model:
    """own: metadata without its prefix, "block_count" and so on. loose: such as has none."""
    metadata: dict[str, object] = {
        "general.architecture": architecture,
        "tokenizer.ggml.model": "none",
        f"{architecture}.vocab_size": _N_VOCAB,
        **{f"{architecture}.{key}": value for key, value in own.items()},
        **(loose or {}),
    }
    path = folder / "header.gguf"
    path.write_bytes(gguf(metadata))
    lib = _llama.lib
    read, free = _llama.libggml.gguf_init_from_file, _llama.libggml.gguf_free
    read.argtypes, read.restype = [ctypes.c_char_p, _FileOptions], ctypes.c_void_p
    free.argtypes, free.restype = [ctypes.c_void_p], None
    header = read(str(path).encode(), _FileOptions(no_alloc=True, ctx=None))
    assert header
    params = lib.llama_model_default_params()
    params.no_alloc = True
    params.n_gpu_layers = 0
    fill = lib.llama_model_set_tensor_data_t(lambda _tensor, _data: None)
    model = object.__new__(Model)
    model.handle = lib.llama_model_init_from_user(header, fill, None, params)
    model.n_vocab = _N_VOCAB
    free(header)
    assert model.handle, _llama.TAP.reason()
    return model
