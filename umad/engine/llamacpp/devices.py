"""Lists the devices that ggml can compute on, and those of them that are to compute: all, or what
the option `device` names. It asks the library that it is handed.

llama-cpp-python binds none of these functions, so they are looked up by name; ggml-backend.h has
their prototypes.
"""

import ctypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.engine.library.device_names import named_devices, strange_name
from umad.errors import BadConfig

# Backends for GPUs, as the files of their libraries are called.
_GPU_FILE = re.compile(r"libggml-(cuda|hip|metal|musa|opencl|sycl|vulkan)\.(so|dylib)")

_ACCELERATORS = ("gpu", "igpu")


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


def names_of(devices: Iterable[Device]) -> str:
    """Devices as a line lists them."""
    return ", ".join(
        one.name if one.kind == "cpu" else f"{one.name} ({one.description})" for one in devices
    )


def chosen(devices: tuple[Device, ...], named: str | None) -> tuple[Device, ...]:
    """The devices that compute: the accelerators that are named, and all that belong to the
    processor. named: as the option has it. Raises `BadConfig` for a name that no device has.
    """
    if named is None:
        return devices
    if strange := strange_name([one.name for one in devices], named):
        raise BadConfig(
            f"device names {strange!r}, and there is none of that name; there are "
            f"{names_of(devices)}",
            field="device",
        )
    wanted = {one.lower() for one in named_devices(named)}
    return tuple(
        one for one in devices if one.kind not in _ACCELERATORS or one.name.lower() in wanted
    )


def device_list(library: ctypes.CDLL, named: str | None) -> Any:
    """llama.cpp's list of the accelerators that compute, to be kept while the model is opened; None
    for all. named: as the option has it, of devices that there are. library: ggml's.
    """
    if named is None:
        return None
    handles = [
        device_handle(library, one.name)
        for one in chosen(devices_of(library), named)
        if one.kind in _ACCELERATORS
    ]
    return (ctypes.c_void_p * (len(handles) + 1))(*handles, None)


def device_handle(library: ctypes.CDLL, name: str) -> int | None:
    """ggml's pointer to a device; None where there is none of that name. library: ggml's."""
    by_name = _function(library, "ggml_backend_dev_by_name", ctypes.c_void_p, ctypes.c_char_p)
    found: int | None = by_name(name.encode())
    return found


def looks_always(devices: Iterable[Device]) -> bool:
    """True if an abort reaches a running decode within milliseconds.

    Only ggml's CPU backend checks before every node. Metal checks between its two command buffers,
    the second of which holds most of the graph; the others do not check at all. They need a gate.
    """
    return all(device.kind not in _ACCELERATORS for device in devices)


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
