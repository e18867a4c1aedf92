"""Finds the program behind a peer of the daemon, from its process.

Not: identifying the process of a connection (`umad.peer`, whose names this module has too), nor
deciding what the peer may do or which lane it gets (`umad.daemon.identity`).
"""

import psutil

from umad.peer import Peer, peer_of

__all__ = ["Peer", "peer_of", "process_name", "process_path"]


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
