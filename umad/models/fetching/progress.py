"""Says how much of a file is there, how fast it comes and how long it will take.

Pure: bytes and times are handed in. Not: printing, which is the caller's (`umad.cli.pull`).
"""

from collections import deque
from dataclasses import dataclass

from umad.units import NS_PER_S

# Long enough to be steady beside a server's bursts, short enough to follow a line that gets slow.
_WINDOW_NS = 10 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchProgress:
    """The progress of one file."""

    # As its source names it.
    file: str
    # Those that an earlier run had fetched count too.
    done_bytes: int
    total_bytes: int
    # Over the last seconds of this run; what was there before it does not count.
    bytes_per_s: float
    # None while no speed is known.
    remaining_s: float | None


class Pace:
    """The speed of one file, from readings of how many bytes are there."""

    def __init__(self, file: str, total_bytes: int) -> None:
        self._file = file
        self._total_bytes = total_bytes
        # (ns, bytes), oldest first; the first one is the newest that lies before the window.
        self._readings: deque[tuple[int, int]] = deque()

    def read(self, done_bytes: int, now_ns: int) -> FetchProgress:
        """Take a reading, and say what follows from it and from those before."""
        readings = self._readings
        readings.append((now_ns, done_bytes))
        while len(readings) > 2 and readings[1][0] <= now_ns - _WINDOW_NS:
            readings.popleft()
        then_ns, then_bytes = readings[0]
        spent_ns = now_ns - then_ns
        speed = (done_bytes - then_bytes) * NS_PER_S / spent_ns if spent_ns > 0 else 0.0
        left_bytes = self._total_bytes - done_bytes
        remaining_s = left_bytes / speed if speed > 0 else None
        return FetchProgress(
            file=self._file,
            done_bytes=done_bytes,
            total_bytes=self._total_bytes,
            bytes_per_s=max(speed, 0.0),
            remaining_s=0.0 if left_bytes <= 0 else remaining_s,
        )
