"""Makes llama.cpp's calls for LoRA adapters: load one, put some on a context, free one.

Not: which adapters are in memory (`adapters`). Owner: the step thread. llama.cpp keeps a model's
adapters in a set that it looks through while it reserves a context's graphs, so no other thread may
load or free one.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class AdapterCalls:
    """The calls for one model and one context of it.

    library: the binding. reason: llama.cpp's last error lines; forget: forgets them.
    """

    def __init__(
        self,
        library: Any,
        model: Any,
        context: Any,
        *,
        reason: Callable[[], str],
        forget: Callable[[], None],
    ) -> None:
        self._library = library
        self._model = model
        self._context = context
        self._reason = reason
        self._forget = forget

    def load(self, path: Path) -> Any:
        """Read an adapter into memory; return its handle. Raises `OSError` with llama.cpp's words
        where it refuses."""
        self._forget()
        handle = self._library.llama_adapter_lora_init(self._model, str(path).encode())
        if not handle:
            # Whoever asks for an adapter may not know where it lies.
            raise OSError(self._reason().replace(str(path), "its file"))
        return handle

    def put_on(self, adapters: Sequence[tuple[Any, float]]) -> None:
        """Compute from now on with these adapters, by handle and scale, and with no others."""
        n = len(adapters)
        handles = (self._library.llama_adapter_lora_p_ctypes * n)(*[one for one, _ in adapters])
        scales = (ctypes.c_float * n)(*[scale for _, scale in adapters])
        self._library.llama_set_adapters_lora(self._context, handles, n, scales)

    def free(self, handle: Any) -> None:
        """Give an adapter's memory back. It must not be on a context."""
        self._library.llama_adapter_lora_free(handle)
