"""Reads how much room the machine's memory has, and how often programs wait for it.

    Linux   /proc/meminfo, /proc/pressure/memory (PSI), and for every control group above this
            process its limits, its use and its own PSI
    macOS   sysctl kern.memorystatus_vm_pressure_level, and psutil's figures

A reading opens a handful of small files. It may block while the kernel itself is short of memory,
so it belongs on a thread. Whatever cannot be read is left out: a guard that sees less does less.

What is called headroom is what can be taken with nothing swapped and nothing read again. The
kernel's MemAvailable counts all file pages as free for the taking. Pages that some program has
mapped are not: they are the weights of models, which the next token reads.
Not: what follows from a reading (`umad.memory_pressure`).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from umad.control_groups import memory_limit_1, memory_limit_2, number, own_groups
from umad.engine.process import sysctl_number
from umad.memory_pressure import MemoryReading, MemoryRoom, SystemLevel

MACHINE = "machine"
# xnu, osfmk/vm/vm_pageout.h and dispatch/source.h: 1 normal, 2 warn, 4 critical. The same level
# that memory_pressure(1) prints and DISPATCH_SOURCE_TYPE_MEMORYPRESSURE tells.
_LEVEL_NAME = "kern.memorystatus_vm_pressure_level"


class LinuxPressure:
    """Reads Linux's files below `root`, which is "/" except in tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._proc = root / "proc"

    def read(self) -> MemoryReading:
        """Read all of it. Blocks."""
        machine = self._machine()
        rooms = [] if machine is None else [machine]
        for folder in own_groups("memory", self._root):
            rooms += _of_version_1(folder)
        for folder in own_groups("", self._root):
            rooms += _of_version_2(folder)
        return MemoryReading(rooms=tuple(rooms))

    def _machine(self) -> MemoryRoom | None:
        facts = _numbers(self._proc / "meminfo")
        total = facts.get("MemTotal:", 0) * 1024
        if not total:
            return None
        available = (facts.get("MemAvailable:", 0) - facts.get("Mapped:", 0)) * 1024
        some_pct, full_pct = stalls(self._proc / "pressure/memory")
        return MemoryRoom(
            name=MACHINE,
            limit_bytes=total,
            # Shared memory is mapped too, and was never counted as available.
            headroom_bytes=max(0, available + _mapped_shared(facts)),
            some_pct=some_pct,
            full_pct=full_pct,
        )


def _of_version_2(folder: Path) -> list[MemoryRoom]:
    limit = memory_limit_2(folder)
    used = number(folder / "memory.current")
    if limit is None or used is None:
        return []
    stat = _numbers(folder / "memory.stat")
    files = stat.get("inactive_file", 0) + stat.get("active_file", 0)
    some_pct, full_pct = stalls(folder / "memory.pressure")
    return [
        MemoryRoom(
            name=str(folder),
            limit_bytes=limit,
            headroom_bytes=_headroom(limit, used, files, stat.get("file_mapped", 0)),
            some_pct=some_pct,
            full_pct=full_pct,
        )
    ]


def _of_version_1(folder: Path) -> list[MemoryRoom]:
    limit = memory_limit_1(folder)
    used = number(folder / "memory.usage_in_bytes")
    if limit is None or used is None:
        return []
    stat = _numbers(folder / "memory.stat")
    files = stat.get("total_inactive_file", 0) + stat.get("total_active_file", 0)
    return [
        MemoryRoom(
            name=str(folder),
            limit_bytes=limit,
            headroom_bytes=_headroom(limit, used, files, stat.get("total_mapped_file", 0)),
        )
    ]


def _headroom(limit: int, used: int, files: int, mapped: int) -> int:
    return max(0, limit - used + max(0, files - mapped))


def _mapped_shared(facts: dict[str, int]) -> int:
    """The most bytes of shared memory that are counted as mapped, and were never available."""
    return min(facts.get("Shmem:", 0), facts.get("Mapped:", 0)) * 1024


def stalls(path: Path) -> tuple[float | None, float | None]:
    """avg10 of the lines "some" and "full" of a PSI file, in percent; None where there is none."""
    found: dict[str, float] = {}
    for line in _text(path).splitlines():
        kind, _, rest = line.partition(" ")
        fields = dict(one.partition("=")[::2] for one in rest.split())
        try:
            found[kind] = float(fields["avg10"])
        except (KeyError, ValueError):
            continue
    return found.get("some"), found.get("full")


class MacPressure:
    """Reads macOS's pressure level. Written from documentation, and not run on a Mac yet.

    level: asks for the sysctl's number. memory: bytes in all, and bytes available.
    """

    def __init__(
        self,
        level: Callable[[], int | None] = lambda: sysctl_number(_LEVEL_NAME),
        memory: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._level = level
        self._memory = memory or _memory_of_psutil

    def read(self) -> MemoryReading:
        """Ask the system."""
        total, available = self._memory()
        number = self._level()
        known = number in [one.value for one in SystemLevel]
        return MemoryReading(
            rooms=(MemoryRoom(name=MACHINE, limit_bytes=total, headroom_bytes=available),),
            level=SystemLevel(number) if known else None,
        )


def _memory_of_psutil() -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def pressure_source() -> Callable[[], MemoryReading]:
    """The source of this platform."""
    return MacPressure().read if sys.platform == "darwin" else LinuxPressure().read


def processes_of(group: str) -> frozenset[int]:
    """The processes of a control group, named as its room is, and of the groups below it."""
    return frozenset(
        int(pid) for file in Path(group).rglob("cgroup.procs") for pid in _text(file).split()
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):
        return ""


def _numbers(path: Path) -> dict[str, int]:
    """The first number of each line, by the line's first word."""
    found: dict[str, int] = {}
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[1].isdigit():
            found[words[0]] = int(words[1])
    return found
