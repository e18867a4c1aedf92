"""Holds what a model needs against the machine's memory, and shares out what is left.

A model that does not fit is refused in one line with the figures and with what would help. Not:
what it needs (`context_memory`), or its shape (`fitting`). Pure.
"""

from pathlib import Path

from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.vulkan_driver import SOFTWARE
from umad.engine.llamacpp.window_cache import WindowCache
from umad.errors import ModelTooLarge
from umad.estimate import MEMORY_SHARE
from umad.units import BYTES_PER_MB

# This share of the machine's memory is for parked sequences, unless a size is asked for.
_PARK_SHARE = 0.1
# Backends whose devices use the machine's own memory though ggml calls them GPUs.
_SHARED_MEMORY_BACKENDS = ("Metal", "MTL")


def check_memory(
    *,
    file_bytes: int,
    kv_bytes: int,
    available_bytes: int,
    path: Path,
    cells: int,
    seq_bytes: int = 0,
    n_seqs: int = 0,
    compute_bytes: int = 0,
    windows: WindowCache | None = None,
    is_full: bool = False,
    n_scratch: int = 0,
    taken_bytes: int = 0,
) -> None:
    """Raise `ModelTooLarge`, with figures, when all of it cannot be in memory at once.

    file_bytes: of the weights that have to be in memory. taken_bytes: what engines of other models
    take.

    windows: cells apart from those that `kv_bytes` counts. is_full: the pool's cells have layers
    with a window, which could be smaller. n_scratch: how many of `n_seqs` are nobody's.
    """
    room_bytes = MEMORY_SHARE * available_bytes - taken_bytes
    other_bytes = file_bytes + kv_bytes + compute_bytes

    def own_bytes(n: int) -> int:
        """The bytes that so many streams keep for themselves."""
        return n * seq_bytes + (0 if windows is None else windows.bytes(n))

    if other_bytes + own_bytes(n_seqs) <= room_bytes:
        return
    more = ""
    if seq_bytes * n_seqs:
        each = f"{seq_bytes / BYTES_PER_MB:.1f} MB"
        more += f", {mb(seq_bytes * n_seqs)} for the states of {n_seqs} streams ({each} each)"
    if windows is not None:
        more += f", {mb(windows.bytes(n_seqs))} for the windows of {n_seqs} streams"
    if compute_bytes:
        more += f", {mb(compute_bytes)} to work in"
    most = 0
    if own_bytes(n_seqs):
        able = (n for n in range(n_seqs, 0, -1) if other_bytes + own_bytes(n) <= room_bytes)
        most = next(able, 0) - n_scratch
    if file_bytes > MEMORY_SHARE * available_bytes:
        advice = "choose a smaller model or quantisation"
    elif file_bytes > room_bytes:
        advice = "unload another model first"
    elif most > 0:
        advice = f"serve with --max-seqs {most}, or without it"
    elif is_full:
        advice = "serve with --swa-full off, a smaller --ctx-size or --kv-type q8"
    else:
        advice = "serve with a smaller --ctx-size or --kv-type q8"
    others = f", of which other models take {mb(taken_bytes)}" if taken_bytes else ""
    raise ModelTooLarge(
        f"{path} needs {mb(file_bytes)} for weights and {mb(kv_bytes)} for "
        f"{cells} cells of KV{more}; this machine has {mb(available_bytes)}{others}: {advice}"
    )


def mb(n_bytes: float) -> str:
    """A number of bytes as text."""
    return f"{n_bytes / BYTES_PER_MB:.0f} MB"


def park_bytes(wanted: int | None, *, left_bytes: int, memory_bytes: int) -> int:
    """Host memory for parking: what was asked for, or a share of the machine's. Raises
    `ModelTooLarge` when weights and KV leave less than was asked for.
    """
    left_bytes = max(0, left_bytes - int((1 - MEMORY_SHARE) * memory_bytes))
    if wanted is None:
        return min(int(_PARK_SHARE * memory_bytes), left_bytes // 2)
    if wanted > left_bytes:
        raise ModelTooLarge(
            f"park_bytes of {mb(wanted)} is more than the {mb(left_bytes)} that "
            "weights and KV leave of this machine's memory: ask for less, or for auto"
        )
    return wanted


def device_bytes(devices: tuple[Device, ...]) -> int:
    """Memory of the devices that have their own, beside the machine's."""
    return sum(
        device.memory_bytes
        for device in devices
        if device.kind == "gpu"
        and device.backend not in _SHARED_MEMORY_BACKENDS
        and not device.description.startswith(SOFTWARE)
    )
