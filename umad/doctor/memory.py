"""Checks the room in memory, how often programs wait for it, swap, and the limit on locking."""

import contextlib
import resource
from collections.abc import Callable

import psutil

from umad.daemon.pressure import largest_program
from umad.daemon.pressure_sources import MACHINE, pressure_source
from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.memory_pressure import MemoryReading, Strain, strain_of

CHECK = "memory"
_GB = 1e9
# A machine that swapped that much of its memory is slow whenever it is read again.
_MUCH_SWAPPED = 0.1


def check(around: Surroundings) -> list[Finding]:
    """Look at memory now."""
    found = rooms(pressure_source()())
    found += _swap()
    if around.settings.engine.mlock:
        found += locked(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])
    if not around.settings.memory_guard:
        found.append(
            note(CHECK, "memory_guard is off: nothing is given up before the machine swaps")
        )
    return found


def rooms(
    reading: MemoryReading, largest: Callable[[frozenset[int], str], object] = largest_program
) -> list[Finding]:
    """Findings about a reading."""
    room = reading.shortest
    if room is None:
        return [note(CHECK, "this system does not tell how much memory is left")]
    where = "the machine's memory" if room.name == MACHINE else "the memory of its control group"
    words = (
        f"{room.headroom_bytes / _GB:.1f} GB of {room.limit_bytes / _GB:.1f} GB of {where} are left"
    )
    if room.some_pct is not None:
        words += f", programs wait for memory {room.some_pct:g} % of the time"
    if reading.level is not None:
        words += f", the system calls it {reading.level.name.lower()}"
    strain = strain_of(reading)
    if strain >= Strain.TIGHT:
        who: object = "another program"
        with contextlib.suppress(psutil.Error, OSError):
            who = largest(frozenset(), room.name) or who
        return [
            wrong(
                CHECK,
                f"memory is {strain.name.lower()}: {words}",
                str(who),
                mend=f"end what needs it (most has {who}), or: umad unload MODEL",
            )
        ]
    return [good(CHECK, words)]


def _swap() -> list[Finding]:
    swap, total = psutil.swap_memory(), psutil.virtual_memory().total
    if swap.used <= _MUCH_SWAPPED * total:
        return []
    return [
        note(
            CHECK,
            f"{swap.used / _GB:.1f} GB are swapped out and are slow when they are needed again",
            mend="serve smaller models, or with a smaller --ctx-size",
        )
    ]


def locked(limit_bytes: int) -> list[Finding]:
    """A finding where `mlock` is on, and the kernel locks little."""
    if limit_bytes == resource.RLIM_INFINITY:
        return [good(CHECK, "mlock may lock any model")]
    return [
        wrong(
            CHECK,
            f"mlock is on, and this user may lock {limit_bytes / _GB:.2f} GB",
            mend="ulimit -l unlimited, before umad serve",
        )
    ]
