"""Lets this process step back for others that want the cores.

Linux may share the cores among sessions first (autogroup, sched(7)). Then niceness counts only
among the processes of one session, and a child with a session of its own competes as if it had
none. So a process that leads its session writes its niceness to the session's file, too. Where
there is no such file, as on macOS, niceness is all there is.
Not: priorities of single threads (`umad.engine.process`).
"""

import contextlib
import errno
import os
import time
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
# The kernel takes a value of somebody without privileges ten times a second from all together.
_TRIES = 5
_AGAIN_S = 0.15


def step_back(niceness: int) -> None:
    """Let others first, by so much more than until now."""
    with contextlib.suppress(OSError):
        os.nice(niceness)
    session_steps_back()


def session_steps_back() -> None:
    """Let the session step back as far as its first process does, which may have inherited that.
    The session of somebody else, which has other processes in it, stays as it is.
    """
    niceness = os.nice(0)
    if niceness <= 0 or os.getsid(0) != os.getpid():
        return
    for _ in range(_TRIES):
        try:
            AUTOGROUP.write_text(str(niceness), encoding="ascii")
        except OSError as error:
            if error.errno != errno.EAGAIN:
                return  # no such file, or one that may not be written
            time.sleep(_AGAIN_S)
        else:
            return
