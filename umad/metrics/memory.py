"""Reads how much memory a process holds, and how much of it had to be read from disk again.

Not: llama.cpp's own view of its buffers (the engine's facts). A reading blocks for a fraction of a
millisecond, because smaps_rollup walks the process's mappings.
"""

import contextlib
import resource
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFacts:
    """The memory of one process."""

    rss_bytes: int
    # Shared pages count in parts. None where the platform does not say.
    pss_bytes: int | None = None
    # Bytes of the page faults that had to wait for the disk since the process began (the kernel may
    # have read more around each). None where the platform does not say.
    faulted_bytes_total: int | None = None


def read_memory(pid: int) -> MemoryFacts | None:
    """Return the facts of a living process; None when it is gone or umad may not look at it."""
    try:
        rss = int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
    return MemoryFacts(
        rss_bytes=rss, pss_bytes=_pss_bytes(pid), faulted_bytes_total=_faulted_bytes(pid)
    )


def _pss_bytes(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return None


def _faulted_bytes(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        # proc_pid_stat(5): the name in parentheses may hold spaces; majflt is the 12th field.
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(after_name[9]) * resource.getpagesize()
    return None
