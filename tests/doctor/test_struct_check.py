"""Structs that are laid out as the library has them, and structs that are not."""

import ctypes
from types import SimpleNamespace

from llama_cpp import llama_cpp as lib  # noqa: TID251  # what is checked

from umad.engine.llamacpp.struct_check import struct_faults


def test_the_binding_fits_the_library_that_is_installed() -> None:
    assert struct_faults(lib) == ()


def test_a_library_with_one_field_more_is_noticed() -> None:
    """Its struct is read at places that are off by a field."""
    true = lib.llama_context_default_params()
    fields = [(name, kind) for name, kind, *_ in type(true)._fields_]

    class Older(ctypes.Structure):
        """As an older binding would declare it: without the third field."""

        _fields_ = [one for at, one in enumerate(fields) if at != 2]

    raw = bytes(true)[: ctypes.sizeof(Older)]
    shifted = SimpleNamespace(
        llama_context_default_params=lambda: Older.from_buffer_copy(raw),
        llama_model_default_params=lib.llama_model_default_params,
        llama_model_quantize_default_params=lib.llama_model_quantize_default_params,
    )

    faults = struct_faults(shifted)

    assert "llama_context_default_params.n_seq_max" in faults
    assert any("yarn" in one or "type" in one for one in faults)


def test_a_function_that_the_library_lacks_is_named() -> None:
    assert "llama_model_default_params" in struct_faults(SimpleNamespace())
