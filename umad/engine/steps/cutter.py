"""Aborts a running decode that holds only background work, because better work has come.

Any thread may ask for a cut; only the step thread arms the switch. A request may come too late,
after the decode it meant has ended. The lock keeps such a request from hitting the next decode.
"""

import threading
from collections.abc import Callable


class Cutter:
    """The switch of one engine."""

    def __init__(self, *, abort: Callable[[], None], clear: Callable[[], None]) -> None:
        """abort: makes the running decode return early. clear: takes that back."""
        self._abort = abort
        self._clear = clear
        self._lock = threading.Lock()
        self._armed = False

    def arm(self) -> None:
        """A decode that may be cut is about to begin."""
        with self._lock:
            self._armed = True

    def disarm(self) -> None:
        """The decode has ended, cut or not."""
        with self._lock:
            self._armed = False
            self._clear()

    def cut(self) -> bool:
        """Abort the running decode if it may be cut. Returns whether it was."""
        with self._lock:
            if self._armed:
                self._abort()
            return self._armed
