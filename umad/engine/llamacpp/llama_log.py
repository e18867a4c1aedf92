"""Sends llama.cpp's log lines to logging, and keeps the last errors to explain a failure.

Owner: the process, which has one; called by llama.cpp on whatever thread it logs from.
"""

import ctypes
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger("umad.engine.llamacpp.llama")

_LEVEL_ERROR, _LEVEL_CONT = 4, 5  # ggml_log_level
_LAST_LINES = 8
# The errors that llama.cpp logs when a step is cut: GGML_STATUS_ABORTED is 1, llama_decode's 2.
_OF_A_CUT = ("failed with error 1", "compute status: 1", "failed to decode, ret = 2")
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class LlamaLog:
    """Receives llama.cpp's log lines.

    Lines below an error go to DEBUG, because llama.cpp logs a lot at load. So do the errors that it
    logs at every cut, because a cut is no fault here.
    """

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=_LAST_LINES)
        self._partial = ""
        self._level = 0
        self._on_line: Callable[[str], None] | None = None
        # Kept for the life of the process, because llama.cpp holds the bare pointer.
        self.callback = _CALLBACK(self._on_text)

    def _on_text(self, level: int, text: bytes, _data: object) -> None:
        if level != _LEVEL_CONT:
            self._level = level
        self._partial += text.decode("utf-8", "replace")
        *lines, self._partial = self._partial.split("\n")
        for line in lines:
            if self._on_line is not None:
                self._on_line(line)
            if self._level == _LEVEL_ERROR and not line.endswith(_OF_A_CUT):
                self.errors.append(line.strip())
                log.warning("%s", line)
            else:
                log.debug("%s", line)

    def reason(self) -> str:
        """Return the kept lines, oldest first, and forget them."""
        text = "; ".join(line for line in self.errors if line)
        self.errors.clear()
        return text or "llama.cpp gave no reason"

    @contextmanager
    def listening(self, on_line: Callable[[str], None] | None = None) -> Iterator[list[str]]:
        """Collect every line logged meanwhile, whatever its level, or call `on_line` with each as
        it comes. One listener at a time.
        """
        heard: list[str] = []
        self._on_line = on_line or heard.append
        try:
            yield heard
        finally:
            self._on_line = None
