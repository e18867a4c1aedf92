"""Holds what a download may use: connections, bytes a second, room on the disk, tries.

`RateLimit` is shared by all parts of a fetch. Not: the download (`umad.models.fetching.download`).
"""

import threading
from dataclasses import dataclass

from umad.units import NS_PER_S

_GB = 10**9
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """The limits of one fetch."""

    # Ranges that are fetched at the same time. One connection of a far server rarely fills a line,
    # and hubs refuse clients that open many.
    parts: int = 4
    # All parts together; None for as fast as they come.
    bytes_per_s: int | None = None
    # The disk keeps so much free, before and during a download: a full one stops other programs.
    keep_free_bytes: int = _GB
    # Failures in a row, with not a byte between them, before a fetch gives up.
    tries: int = 6
    # Before the second try; each further one waits twice as long, up to eight times this.
    first_wait_s: float = 1.0
    # A server that is silent for so long has failed.
    silence_s: float = 30.0
    # Another process that fetches the same file and gets no byte for so long is reported.
    stall_s: float = 600.0

    def piece_bytes(self, size_bytes: int) -> int:
        """The size of the pieces that a file is cut into; each is one request.

        A request costs a round trip: at 64 MiB less than 5 % of a connection of 30 MB/s that is
        100 ms away. A small file has smaller pieces, so that all parts have some.
        """
        return min(max(size_bytes // (4 * self.parts), _MIB), 64 * _MIB)


class RateLimit:
    """Keeps all threads that share it within a number of bytes a second. Any thread."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        # When all bytes that were taken so far have had their time.
        self._free_ns = 0

    def take(self, n_bytes: int, now_ns: int) -> int:
        """Book `n_bytes` that came; returns for how many nanoseconds to read no more."""
        if self._bytes_per_s is None:
            return 0
        with self._lock:
            self._free_ns = max(self._free_ns, now_ns) + n_bytes * NS_PER_S // self._bytes_per_s
            return self._free_ns - now_ns
