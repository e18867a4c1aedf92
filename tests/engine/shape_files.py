"""Files of llama.cpp's own test models, made from their metadata alone. Not a test.

`header_model` has a model without a file. Here llama.cpp says which tensors it would make, and they
are written as zeros: a file of any architecture in some milliseconds, without a compiler. What it
computes means nothing; what it takes is what a real one of that shape takes.
"""

import ctypes
import json
from pathlib import Path
from typing import Any

from tests.models.gguf_bytes import gguf
from umad.engine.llamacpp import llama

_llama: Any = llama  # the binding inside is not for others; tests may

TABLE = json.loads((Path(__file__).parent / "zoo_memory.json").read_text())
_F32 = 0


class _FileOptions(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


class _Tensor(ctypes.Structure):
    """The beginning of ggml_tensor."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
    )


def names() -> list[str]:
    """Every shape there is."""
    return [row["name"] for row in TABLE["models"]]


def write_shape(path: Path, name: str, **more: object) -> Path:
    """Write the model of that name to `path`. more: metadata of its own, with _ for a dot where two
    stand in a row."""
    row = next(row for row in TABLE["models"] if row["name"] == name)
    common = {k: v for k, v in TABLE["common"].items() if k not in row.get("without", ())}
    own = common | row["own"] | {key.replace("__", "."): value for key, value in more.items()}
    metadata: dict[str, object] = {
        "general.architecture": row["architecture"],
        "tokenizer.ggml.model": "none",
        **{f"{row['architecture']}.{key}": value for key, value in own.items()},
        **(row.get("loose") or {}),
    }
    path.write_bytes(gguf(metadata))
    tensors = _tensors(path)
    path.write_bytes(gguf(metadata, tensors))
    return path


def _tensors(path: Path) -> list[tuple[str, tuple[int, ...], int, int]]:
    """The tensors that llama.cpp makes for the metadata in `path`."""
    lib, ggml = _llama.lib, _llama.libggml
    read, free = ggml.gguf_init_from_file, ggml.gguf_free
    read.argtypes, read.restype = [ctypes.c_char_p, _FileOptions], ctypes.c_void_p
    free.argtypes, free.restype = [ctypes.c_void_p], None
    named = ggml.ggml_get_name
    named.argtypes, named.restype = [ctypes.c_void_p], ctypes.c_char_p
    found: dict[str, tuple[int, ...]] = {}

    def seen(tensor: Any, _data: Any) -> None:
        at = ctypes.cast(tensor, ctypes.c_void_p)
        shape = tuple(ctypes.cast(at, ctypes.POINTER(_Tensor)).contents.ne)
        while len(shape) > 1 and shape[-1] == 1:
            shape = shape[:-1]
        found[named(at).decode()] = shape

    header = read(str(path).encode(), _FileOptions(no_alloc=True, ctx=None))
    assert header
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    fill = lib.llama_model_set_tensor_data_t(seen)
    model = lib.llama_model_init_from_user(header, fill, None, params)
    free(header)
    assert model, _llama.TAP.reason()
    lib.llama_model_free(model)
    return [(name, shape, _F32, 4 * _product(shape)) for name, shape in found.items()]


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product
