"""Makes a running llama.cpp decode give up, from any thread; the callback runs no Python code.

llama.cpp calls the C library's strlen with a buffer as its argument. When the buffer's first byte
is not zero, the result reads as "abort".

Devices that do not look there have a gate (`gate`), which looks at the same byte.
"""

import ctypes
from pathlib import Path
from typing import Any

from umad.engine.llamacpp.gate import Gate

# ggml_abort_callback of ggml.h.
_Callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


class AbortFlag:
    """The switch of all contexts made with it. Keep it alive as long as one of them."""

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        self.callback: Any = ctypes.cast(ctypes.CDLL(None).strlen, _Callback)
        self.argument = ctypes.cast(self._flag, ctypes.c_void_p)
        # Of contexts on devices that do not look at the flag; None where all do, or there is none.
        self.gate: Gate | None = None

    def add_gate(self, file: Path, library: Any) -> Gate:
        """Have a gate in contexts that are made from now on. file, library: as of `Gate`."""
        self.gate = Gate(file, self.argument, library)
        return self.gate

    def put_into(self, params: Any) -> None:
        """Name the gate in the parameters of a context, where there is one."""
        if self.gate is not None:
            params.cb_eval = ctypes.cast(self.gate.callback, type(params.cb_eval))
            params.cb_eval_user_data = self.gate.argument

    def set(self) -> None:
        """Make running decodes return 2 within milliseconds. Any thread."""
        self._flag[0] = b"\x01"

    def clear(self) -> None:
        """Let decodes run again."""
        self._flag[0] = b"\x00"
