"""Adds what the platform offers to a process: deep stacks, cores, memory.

Each function does its best, and does nothing where the platform has no such thing.
"""

import contextlib
import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from umad.control_groups import cores_limit, memory_limit

# A thread of this niceness has a quarter of a core that others want, too.
QUARTER_OF_A_CORE = 5
TENTH_OF_A_CORE = 10
# llguidance recurses along chains of references: 256 KiB of schema went 8,000 deep and overran 32
# MiB. Only the pages that are touched take memory.
DEEP_STACK_BYTES = 256 * 2**20
# <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES, _KEPT_BYTES = 4 * 2**20, 8 * 2**20
_starting = threading.Lock()


def start_deep_thread(run: Callable[[], None], name: str) -> None:
    """Start a daemon thread with a stack for libraries that recurse deeply. Where there is no room
    for such a stack, the thread gets one of the usual size.
    """
    with _starting:
        usual = threading.stack_size(DEEP_STACK_BYTES)
        try:
            threading.Thread(target=run, name=name, daemon=True).start()
            return
        except RuntimeError:  # the address space is limited
            pass
        finally:
            threading.stack_size(usual)
    threading.Thread(target=run, name=name, daemon=True).start()


def let_others_first(niceness: int = QUARTER_OF_A_CORE) -> None:
    """Let the calling thread, and those that it starts, use the time that decode threads leave, and
    a part of a core where they leave none. Only Linux can set that for one thread. Not for a thread
    that holds the interpreter's lock while it works: on busy cores all threads would wait for that
    lock.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def tells_waits() -> bool:
    """True if the kernel tells how long threads waited for a core."""
    return Path("/proc/self/schedstat").is_file()


def locked_bytes() -> int | None:
    """Bytes of this process that the kernel keeps from being paged out; None where it does not
    tell.
    """
    found = re.search(r"^VmLck:\s*(\d+) kB$", _read(Path("/proc/self/status")), re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def decode_threads() -> int:
    """The number of cores that do equal work: physical ones this process may use; on Apple the fast
    ones.

    llama.cpp gets slower when two threads share one core, or when a fast core waits for a slow one
    at each of a graph's barriers.
    """
    if sys.platform == "darwin":
        fast = sysctl_number("hw.perflevel0.physicalcpu")
        if fast:
            return fast
    allowed = psutil.cpu_count(logical=True) or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False) or allowed
    return max(1, min(allowed, physical, cores_limit() or allowed))


def memory_bytes() -> int:
    """Memory that this process could ever have: the machine's, or less where a control group
    limits it.
    """
    total: int = psutil.virtual_memory().total
    return min(total, memory_limit() or total)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def sysctl_number(name: str) -> int | None:
    """A 32-bit number of sysctl(3), on macOS; None where there is no such one."""
    value, size = ctypes.c_int32(), ctypes.c_size_t(4)
    failed = ctypes.CDLL(None).sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if failed else value.value


def map_large_blocks() -> None:
    """Have every block of 4 MiB or more mapped by itself, so that it goes back to the system when
    it is freed, and takes no memory before it is used. Call it before a model is loaded.

    Without this, glibc raises the limit to the size of each large block that is freed, up to 32
    MiB, and serves the next ones from the heaps of its threads, where they leave holes. Measured on
    tiny models: an engine holds 10 to 20 MB less, and the same in every run. Nothing is done where
    there is no glibc, or where the user has chosen (mallopt(3)).
    """
    setting = getattr(ctypes.CDLL(None), "mallopt", None)
    if setting is None or any(name.startswith("MALLOC_") for name in os.environ):
        return
    setting(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    # Setting one of them ends the adjusting of both. What is freed at a heap's end is mostly wanted
    # again by the next step.
    setting(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def trim_heap() -> None:
    """Give the pages of freed memory back to the system, where the C library has a call for it
    (glibc). Otherwise large, short-lived memory stays resident for the life of the process.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
