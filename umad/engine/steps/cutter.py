"""Aborts a running decode that others need not wait for, because somebody interactive has come:
one of background work, a lone newcomer's long slice, or many guesses of one stream.

Any thread may ask for a cut; only the step thread arms the switch. A request may come too late,
after the decode it meant has ended. The lock keeps such a request from hitting the next decode.
"""

import threading
from collections.abc import Callable

from umad.clock import MonotonicClock

_CLOCK = MonotonicClock()


class Cutter:
    """The switch of one engine."""

    def __init__(
        self,
        *,
        abort: Callable[[], None],
        clear: Callable[[], None],
        now_ns: Callable[[], int] = _CLOCK.now_ns,
    ) -> None:
        """abort: makes the running decode return early. clear: takes that back."""
        self._abort = abort
        self._clear = clear
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._armed = False
        # When the running decode was first asked to end; 0 if it was not.
        self._asked_ns = 0

    def arm(self) -> None:
        """A decode that may be cut is about to begin."""
        with self._lock:
            self._armed = True
            self._asked_ns = 0

    def disarm(self) -> int:
        """The decode has ended, cut or not. Returns the nanoseconds since a cut was asked for, 0
        where none was."""
        with self._lock:
            self._armed = False
            self._clear()
            return self._now_ns() - self._asked_ns if self._asked_ns else 0

    def cut(self) -> bool:
        """Abort the running decode if it may be cut. Returns whether it was."""
        with self._lock:
            if self._armed:
                self._abort()
                self._asked_ns = self._asked_ns or self._now_ns()
            return self._armed
