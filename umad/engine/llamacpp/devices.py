"""Lists the devices that ggml can compute on. It asks the library that it is handed.

llama-cpp-python binds none of these functions, so they are looked up by name; ggml-backend.h has
their prototypes.
"""

import ctypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Backends for GPUs, as the files of their libraries are called.
_GPU_FILE = re.compile(r"libggml-(cuda|hip|metal|musa|opencl|sycl|vulkan)\.(so|dylib)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One ggml device."""

    name: str
    description: str
    # cpu, gpu, igpu or accel, as ggml calls it.
    kind: str
    backend: str
    # All its memory, which for some kinds is the machine's own memory.
    memory_bytes: int


def looks_always(devices: Iterable[Device]) -> bool:
    """True if an abort reaches a running decode within milliseconds.

    Only ggml's CPU backend checks before every node. Metal checks between its two command buffers,
    the second of which holds most of the graph; the others do not check at all. They need a gate.
    """
    return all(device.kind not in ("gpu", "igpu") for device in devices)


def silent_backends(library: ctypes.CDLL, folder: Path) -> tuple[str, ...]:
    """The backends for GPUs that are there and have found no device. folder: of the library.

    One that finds no driver at all may not even register itself, or cannot be opened; then its file
    still tells of it.
    """
    heard: set[str] = set()
    silent: set[str] = set()
    for index in range(_function(library, "ggml_backend_reg_count", ctypes.c_size_t)()):
        at = _function(library, "ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)(index)
        name = _function(library, "ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)(at)
        count = _function(library, "ggml_backend_reg_dev_count", ctypes.c_size_t, ctypes.c_void_p)
        (heard if count(at) else silent).add(name.decode("utf-8", "replace").lower())
    files = (_GPU_FILE.fullmatch(one.name) for one in folder.glob("libggml-*"))
    silent |= {found[1] for found in files if found}
    return tuple(sorted(silent - heard))


def devices_of(library: ctypes.CDLL) -> tuple[Device, ...]:
    """Every device the loaded backends offer."""
    kinds = ("cpu", "gpu", "igpu", "accel", "meta")
    found = []
    for index in range(_function(library, "ggml_backend_dev_count", ctypes.c_size_t)()):
        handle = _function(library, "ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)(index)

        def text(name: str, at: int = handle) -> str:
            value = _function(library, name, ctypes.c_char_p, ctypes.c_void_p)(at)
            return (value or b"").decode("utf-8", "replace")

        kind = _function(library, "ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(handle)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        _function(
            library,
            "ggml_backend_dev_memory",
            None,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )(handle, ctypes.byref(free), ctypes.byref(total))
        registry = _function(
            library, "ggml_backend_dev_backend_reg", ctypes.c_void_p, ctypes.c_void_p
        )(handle)
        found.append(
            Device(
                name=text("ggml_backend_dev_name"),
                description=text("ggml_backend_dev_description"),
                kind=kinds[kind] if kind < len(kinds) else str(kind),
                backend=text("ggml_backend_reg_name", registry),
                memory_bytes=total.value,
            )
        )
    return tuple(found)


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function
