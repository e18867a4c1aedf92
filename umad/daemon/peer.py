"""Finds the program behind a peer of the daemon, from its process.

Not: identifying the process of a connection (`umad.peer`, whose names this module has too), nor
deciding what the peer may do or which lane it gets (`umad.daemon.identity`).
"""

import os
from functools import cache

import psutil

from umad.peer import Peer, peer_of

__all__ = ["Peer", "parent_names", "peer_of", "process_name", "process_path"]
# Most processes above one that are looked at. An editor's helpers are five deep, a hook's script
# four; each look took an eighth of a millisecond of the daemon's loop on a busy machine.
MOST_PARENTS = 16


def process_path(pid: int) -> str | None:
    """The path of a process's executable; None where it has gone or may not be inspected."""
    try:
        return psutil.Process(pid).exe() or None
    except (psutil.Error, ValueError, OSError):
        return None


def process_name(pid: int) -> str | None:
    """The name of a process; None where it has gone or may not be inspected."""
    try:
        return psutil.Process(pid).name() or None
    except (psutil.Error, ValueError):
        return None


def parent_names(pid: int) -> tuple[str, ...]:
    """The names of the processes above a process, the nearest first.

    Those that stand above the daemon, too, are left out: whatever started the daemon (a terminal, a
    CI job) says nothing about one of its apps. Empty where nothing may be inspected.
    """
    names: list[str] = []
    try:
        process = psutil.Process(pid)
        for _ in range(MOST_PARENTS):
            above = process.parent()
            if above is None or above.pid <= 1 or above in _above_here():
                break
            names.append(above.name())
            process = above
    except (psutil.Error, ValueError, OSError):
        pass  # it ended meanwhile; what was found is still true
    return tuple(names)


@cache
def _above_here() -> frozenset[psutil.Process]:
    """This process and those above it, as they are when it is first asked."""
    here = psutil.Process(os.getpid())
    try:
        return frozenset((here, *here.parents()))
    except (psutil.Error, OSError):
        return frozenset((here,))
