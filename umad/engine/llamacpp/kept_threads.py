"""Finds out whether threads that begin in one computation stay, and work for later ones.

The threads of GNU's OpenMP end with the thread that computed, and so do those of ggml itself. Those
of LLVM's and Intel's go on to whoever computes next, and a driver keeps its own.
Not: what follows (`umad.engine.company`). Pure, but that the process's files are looked up.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence

from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.library_binding import mapped_files

# Wheels carry a library under a name of its own: libomp-1a2b3c.so.5.
_HANDS_ON = re.compile(r"lib(omp|iomp5)\b.*")


def keeps_threads(
    devices: Iterable[Device], *, mapped: Callable[[], Sequence[str]] = mapped_files
) -> bool:
    """Whether a computation on one of these devices may leave threads behind."""
    if any(device.kind != "cpu" for device in devices):
        return True
    return any(_HANDS_ON.fullmatch(os.path.basename(path)) for path in mapped())
