"""Provides the time to umad. Pure code is handed `now_ns`; shells own a `Clock`.

Not a calendar: `now_ns` is monotonic and comparable only within one boot of one machine.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock. Never blocks; safe from any thread."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary fixed point; shared by all processes of a boot."""
        ...


class MonotonicClock:
    """The machine's own monotonic clock."""

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC, in nanoseconds."""
        return time.monotonic_ns()
