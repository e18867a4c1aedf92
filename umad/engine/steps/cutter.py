"""Aborts a decode in the middle when better work has come and only background work is in it.

Any thread may ask; only the step thread arms. A request that comes too late, when the decode it
meant has ended, must never hit the next one: that is what the lock is for.
"""

import threading
from collections.abc import Callable


class Cutter:
    """One engine's switch."""

    def __init__(self, *, abort: Callable[[], None], clear: Callable[[], None]) -> None:
        """`abort` makes the running decode return early, `clear` takes that back."""
        self._abort = abort
        self._clear = clear
        self._lock = threading.Lock()
        self._armed = False

    def arm(self) -> None:
        """A decode that may be cut is about to begin."""
        with self._lock:
            self._armed = True

    def disarm(self) -> None:
        """It has ended, cut or not."""
        with self._lock:
            self._armed = False
            self._clear()

    def cut(self) -> bool:
        """Abort the running decode if it may be; whether it was."""
        with self._lock:
            if self._armed:
                self._abort()
            return self._armed
