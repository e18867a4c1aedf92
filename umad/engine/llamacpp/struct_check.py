"""Holds the structs that the binding declares against the library that is really loaded.

The binding writes llama.cpp's structs down in Python. A library of another version has them in
another order, and every call then reads and writes the wrong fields, mostly without a crash. The
library's own defaults tell: laid out as declared they make sense, and shifted by a field they do
not. Asks the binding that it is handed. Not: versions by number (`umad.doctor.versions`).
"""

import ctypes
import math
from typing import Any

# Functions that return defaults, and fields whose default has never been another one.
_DEFAULTS: dict[str, dict[str, float]] = {
    "llama_context_default_params": {
        "n_seq_max": 1,
        "yarn_ext_factor": -1.0,
        "type_k": 1,  # GGML_TYPE_F16
        "type_v": 1,
        "embeddings": 0,
        "offload_kqv": 1,
    },
    "llama_model_default_params": {"main_gpu": 0, "vocab_only": 0, "check_tensors": 0},
    "llama_model_quantize_default_params": {"nthread": 0, "quantize_output_tensor": 1, "pure": 0},
}
# No count, enumeration or factor among the defaults is larger.
_MOST = 1e12


def struct_faults(library: Any) -> tuple[str, ...]:
    """The fields that make no sense, as "function.field"; none where the structs fit.

    library: the module `llama_cpp.llama_cpp`.
    """
    faults: list[str] = []
    for name, anchors in _DEFAULTS.items():
        make = getattr(library, name, None)
        if make is None:
            faults.append(name)
            continue
        params = make()
        raw = bytes(params)
        for field, kind in params._fields_:
            place = getattr(type(params), field)
            part = raw[place.offset : place.offset + place.size]
            is_odd = not makes_sense(part, kind)
            if is_odd or (field in anchors and getattr(params, field) != anchors[field]):
                faults.append(f"{name}.{field}")
        faults += [f"{name}.{one}" for one in anchors if not hasattr(params, one)]
    return tuple(faults)


def makes_sense(part: bytes, kind: Any) -> bool:
    """True where the bytes of a default can be of a field of that type."""
    if kind is ctypes.c_bool:
        return part in (b"\0", b"\1")
    if issubclass(kind, ctypes.c_float | ctypes.c_double):
        value = kind.from_buffer_copy(part).value
        return math.isfinite(value) and abs(value) < _MOST
    if issubclass(kind, ctypes._SimpleCData) and kind is not ctypes.c_void_p:
        return abs(int(kind.from_buffer_copy(part).value)) < _MOST
    # Pointers and functions: no default points anywhere.
    return not any(part)
