"""Follows a download that another process does, so that two pulls of one file are one.

The other process is told by the file's lock. How far it is stands in its marks; a program that
leaves none (the hub's own client) is known by the files it lets grow.
Not: taking over, which `umad.models.fetching.download` does once the lock is free: the kernel frees
it when its owner dies.
"""

from collections.abc import Callable
from pathlib import Path

from umad.errors import FetchFailed
from umad.models.fetching.partial import read_marks
from umad.models.fetching.progress import FetchProgress, Pace
from umad.units import NS_PER_S


class Follower:
    """Watches one file that another process fetches."""

    def __init__(
        self,
        final: Path,
        *,
        file: str,
        size_bytes: int,
        stall_s: float,
        on_progress: Callable[[FetchProgress], None],
    ) -> None:
        self._final = final
        self._file = file
        self._stall_s = stall_s
        self._on_progress = on_progress
        self._pace = Pace(file, size_bytes)
        self._seen: tuple[object, ...] | None = None
        self._moved_ns = 0

    def look(self, now_ns: int) -> None:
        """Report how far it is. Raises `FetchFailed` when nothing has moved for too long."""
        marks = read_marks(self._final)
        if marks is not None:
            self._on_progress(self._pace.read(marks.done_bytes, now_ns))
        seen = self._traces()
        if seen != self._seen:
            self._seen, self._moved_ns = seen, now_ns
        elif now_ns - self._moved_ns > self._stall_s * NS_PER_S:
            who = "another program" if marks is None else f"process {marks.pid}"
            raise FetchFailed(
                f"{who} fetches {self._file} and got nothing for {self._stall_s:.0f} s; end it, "
                "and pull again"
            )

    def _traces(self) -> tuple[object, ...]:
        traces = []
        for path in sorted(self._final.parent.glob(f"{self._final.name}*.incomplete")):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            traces.append((path.name, found.st_size, found.st_mtime_ns))
        return tuple(traces)
