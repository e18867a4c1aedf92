"""The switch that makes a running llama.cpp decode give up, from any thread, with no Python in it.

The C library's strlen is llama.cpp's callback and a buffer its argument: a first byte that is not
zero reads as "abort".
"""

import ctypes
from typing import Any

# ggml_abort_callback of ggml.h.
_Callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


class AbortFlag:
    """Of all contexts made with it. Keep it as long as one of them."""

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        self.callback: Any = ctypes.cast(ctypes.CDLL(None).strlen, _Callback)
        self.argument = ctypes.cast(self._flag, ctypes.c_void_p)

    def set(self) -> None:
        """Make running decodes return 2 within milliseconds. Any thread."""
        self._flag[0] = b"\x01"

    def clear(self) -> None:
        """Let decodes run again."""
        self._flag[0] = b"\x00"
