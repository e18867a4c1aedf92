"""Counts the wall time during which at least one piece of work was pending. Pure.

Idle time says nothing about a scheduler, so efficiency is measured against this clock.
"""

from collections import deque

# The most spans that are kept. With more in a window (2,000 requests a second, one at a time) the
# oldest are lost.
MAX_SPANS = 2**16


class PendingClock:
    """Counts overlapping spans of work; remembers the spans of the last window."""

    __slots__ = ("_began_ns", "_live", "_spans", "_window_ns")

    def __init__(self, *, window_ns: int) -> None:
        self._window_ns = window_ns
        self._live = 0
        self._began_ns = 0
        self._spans: deque[tuple[int, int]] = deque(maxlen=MAX_SPANS)

    @property
    def live(self) -> int:
        """Pieces of work pending now."""
        return self._live

    def began(self, now_ns: int) -> None:
        """One more piece of work is pending."""
        if self._live == 0:
            self._began_ns = now_ns
        self._live += 1

    def ended(self, now_ns: int) -> None:
        """One piece of work is no longer pending."""
        self._live -= 1
        if self._live == 0:
            self._spans.append((self._began_ns, now_ns))
            while self._spans and self._spans[0][1] <= now_ns - self._window_ns:
                self._spans.popleft()

    def wall_ns(self, now_ns: int) -> int:
        """How many nanoseconds work was pending in the window that ends now."""
        from_ns = now_ns - self._window_ns
        closed = sum(max(0, end - max(began, from_ns)) for began, end in self._spans)
        open_ns = now_ns - max(self._began_ns, from_ns) if self._live else 0
        return closed + open_ns
