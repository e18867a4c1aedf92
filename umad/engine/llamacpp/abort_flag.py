"""Makes a running llama.cpp decode give up, from any thread; the callback runs no Python code.

llama.cpp calls the C library's strlen with a buffer as its argument. When the buffer's first byte
is not zero, the result reads as "abort".
"""

import ctypes
from typing import Any

# ggml_abort_callback of ggml.h.
_Callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


class AbortFlag:
    """The switch of all contexts made with it. Keep it alive as long as one of them."""

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
