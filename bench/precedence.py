"""Puts a measurement ahead of a shared machine's other work, or behind what it measures; undoes it
afterwards.

A nice value alone does little on Linux desktops and many servers: with autogroups each login
session gets an equal share, whatever nice values are inside it. A neighbour that compiles then
costs a decode of two threads not half its speed but nearly all of it (measured: 411 to 16
tokens/s): at each of some hundred barriers a token waits for the thread that was not running. Not a
substitute for a quiet machine. Owner: the measuring process. Its children inherit both settings,
but those that open a session of their own begin a new group: see `include_children`.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.errors import BenchError

_AUTOGROUP = Path("/proc/self/autogroup")
_FIRST = -20  # the strongest nice value: a group of weight 88,761 beside groups of 1,024
# Of weight 110: behind what is measured, and not shut out by a neighbour that computes for ever.
_BEHIND = 10


@contextlib.contextmanager
def ahead() -> Iterator[None]:
    """Inside, this process, its session and its children go first; needs the rights to do so."""
    nice_before = os.getpriority(os.PRIO_PROCESS, 0)
    group_before = _group_nice()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _FIRST)
        if group_before is not None:
            _AUTOGROUP.write_text(str(_FIRST))
    except OSError as error:
        raise BenchError(f"going ahead of other work needs root: {error.strerror}") from error
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice_before)
        if group_before is not None:
            _AUTOGROUP.write_text(str(group_before))


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Inside, this process and its session give way to all others: a crowd of clients in one
    process must not take the cores from the server it asks. What it started before keeps its place
    where that has a session of its own. Not undone without the rights to."""
    nice_before, group_before = os.getpriority(os.PRIO_PROCESS, 0), _group_nice()
    os.setpriority(os.PRIO_PROCESS, 0, _BEHIND)
    if group_before is not None:
        _AUTOGROUP.write_text(str(_BEHIND))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, nice_before)
            if group_before is not None:
                _AUTOGROUP.write_text(str(group_before))


def include_children() -> None:
    """Gives the groups of all descendants this process's own nice value; no effect otherwise."""
    ours = _group_nice()
    for child in psutil.Process().children(recursive=True) if ours else []:
        # A child that has just ended has no group to change.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            Path(f"/proc/{child.pid}/autogroup").write_text(str(ours))


def _group_nice() -> int | None:
    """The nice value of this session's autogroup; None where there are none."""
    if not _AUTOGROUP.exists():
        return None
    words = _AUTOGROUP.read_text().split()  # "/autogroup-12 nice 0"
    return int(words[2]) if len(words) == 3 else None
