"""Copies a model file's header without its vocabulary, for callers that only want shapes.

llama.cpp takes a second to read a vocabulary of 262,000 tokens, and a model that is opened only to
ask for its memory needs none. The copy is the header, followed by as many zeros as there are
weights; the zeros take no room on a disk. Owner: the main thread.
"""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

# The parts of a vocabulary that llama.cpp reads. Without them it takes the number of tokens from
# vocab_size.
_TOKENS = "tokenizer.ggml.tokens"
_LONG = (_TOKENS, "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")
_NO_VOCABULARY = "none"


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


@contextmanager
def header_copy(library: Any, path: Path, *, data_bytes: int) -> Iterator[Path | None]:
    """Yield a copy of the header; None where ggml does not accept the header, or there is no room.

    library: ggml's. data_bytes: bytes of the tensors.
    """
    with ExitStack() as stack:
        try:
            copy = _new_file(stack)
            is_there = _write(library, path, copy, data_bytes)
        except OSError:
            is_there = False
        yield copy if is_there else None


def _new_file(stack: ExitStack) -> Path:
    if sys.platform == "linux":  # a file without a name, so a killed process leaves none behind
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
