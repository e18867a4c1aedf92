"""Tells Linux two things of this process: whose death ends it, and what its threads are called.

Imports next to nothing, because an engine does both before it imports the rest of itself. Each
function does nothing where the platform has no such thing. See prctl(2).
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent process `parent` ends, however it ends. On
    platforms without that, the end of the socket ends this process a little later.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before we asked
            os._exit(1)


def name_thread(name: str) -> None:
    """Name the calling thread for `top` and `perf`; 15 characters are shown."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
