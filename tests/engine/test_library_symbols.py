"""The list of functions that a library has to have, held against the calls in the code."""

import re
from pathlib import Path

from umad.engine.llamacpp.library_symbols import GGML, LLAMA, MTMD

WING = Path(__file__).parents[2] / "umad" / "engine" / "llamacpp"
NAMES = "(?:llama|ggml|gguf|mtmd)"
# The list itself, and the types and names of structs, which are no functions.
NOT_CALLS = {
    "llama_adapter_lora_p_ctypes",
    "llama_batch",
    "llama_model_params",
    "llama_context_params",
    "llama_model_quantize_params",
    "mtmd_context_params",
    "mtmd_input_part",
}
# Looked up by `ggml_backend_reg_get_proc_address`, optional, or asked for only where they are.
NOT_NEEDED = {
    "ggml_backend_dev_get_extra_bufts",
    "ggml_backend_init",
    "ggml_backend_load",
    "ggml_backend_load_all",
    "ggml_version",
    "llama_version",
}


def called() -> set[str]:
    """Every word that looks like one of their functions and is called or looked up."""
    found: set[str] = set()
    for path in WING.glob("*.py"):
        if path.name in ("library_symbols.py", "llama_log.py", "struct_check.py"):
            continue
        text = path.read_text()
        found |= set(re.findall(rf"(?:lib|library|_lib|_library)\.({NAMES}_\w+)", text))
        found |= set(re.findall(rf"b?\"({NAMES}_[a-z0-9_]+)\"", text))
    return found


def test_every_function_that_umad_calls_is_looked_for_in_a_library() -> None:
    assert called() - NOT_CALLS - NOT_NEEDED - {"llama_cpp", "llama_library"} == (
        # The binding calls this one itself, when it is imported.
        set(LLAMA + GGML + MTMD) - {"llama_max_devices"}
    )


def test_the_list_names_each_function_once_in_the_order_of_the_alphabet() -> None:
    assert list(LLAMA) == sorted(set(LLAMA))
    assert list(GGML) == sorted(set(GGML))
    assert list(MTMD) == sorted(set(MTMD))
