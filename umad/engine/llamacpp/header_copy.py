"""A model file's header once more, without its vocabulary, for when only shapes are wanted.

llama.cpp takes a second over a vocabulary of 262,000 tokens, and a model opened to be asked what it
takes needs none. The copy is the header with as many zeros behind it as there are weights, none of
which takes room on a disk. Owner: the main thread.
"""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

# What llama.cpp reads of a vocabulary's tokens; how many there are it then takes from vocab_size.
_TOKENS = "tokenizer.ggml.tokens"
_LONG = (_TOKENS, "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")
_NO_VOCABULARY = "none"


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


@contextmanager
def header_copy(library: Any, path: Path, *, data_bytes: int) -> Iterator[Path | None]:
    """library: ggml's. data_bytes: of the tensors. None where there can be no copy: a file whose
    header ggml does not take, or no room for it."""
    with ExitStack() as stack:
        try:
            copy = _new_file(stack)
            is_there = _write(library, path, copy, data_bytes)
        except OSError:
            is_there = False
        yield copy if is_there else None


def _new_file(stack: ExitStack) -> Path:
    if sys.platform == "linux":  # one without a name: a process that is killed leaves none behind
        descriptor = os.memfd_create("header")
        stack.callback(os.close, descriptor)
        return Path(f"/proc/self/fd/{descriptor}")
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umad-"))) / "header.gguf"


def _write(library: Any, path: Path, copy: Path, data_bytes: int) -> bool:
    header = _function(library.gguf_init_from_file, ctypes.c_void_p, ctypes.c_char_p, _InitParams)(
        str(path).encode(), _InitParams(no_alloc=True, ctx=None)
    )
    if not header:
        return False
    handle, text = ctypes.c_void_p, ctypes.c_char_p
    find = _function(library.gguf_find_key, ctypes.c_int64, handle, text)
    count = _function(library.gguf_get_arr_n, ctypes.c_size_t, handle, ctypes.c_int64)
    read = _function(library.gguf_get_val_str, text, handle, ctypes.c_int64)
    remove = _function(library.gguf_remove_key, ctypes.c_int64, handle, text)
    set_text = _function(library.gguf_set_val_str, None, handle, text, text)
    set_number = _function(library.gguf_set_val_u32, None, handle, text, ctypes.c_uint32)
    write = _function(library.gguf_write_to_file, ctypes.c_bool, handle, text, ctypes.c_bool)
    free = _function(library.gguf_free, None, handle)
    try:
        tokens = find(header, _TOKENS.encode())
        architecture = find(header, b"general.architecture")
        if tokens < 0 or architecture < 0:
            return False
        prefix = read(header, architecture)
        set_number(header, prefix + b".vocab_size", count(header, tokens))
        for key in _LONG:
            remove(header, key.encode())
        set_text(header, b"tokenizer.ggml.model", _NO_VOCABULARY.encode())
        if not write(header, str(copy).encode(), True):
            return False
    finally:
        free(header)
    with copy.open("r+b") as file:
        file.truncate(copy.stat().st_size + data_bytes)
    return True


def _function(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, list(arguments)
    return function
