"""Tells a load about the engines beside it, and the daemon how far the load is.

A load takes the disk, the memory's bandwidth and the cores for a while, and an engine that ends
takes a core. Where another engine has interactive work meanwhile, they take less. Not: how files
are read (`umad.engine.llamacpp.read_through`). Any thread, one at a time.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from umad.engine.aside import run_aside, step_back
from umad.engine.board.seat import BoardSeat
from umad.units import NS_PER_S

_Result = TypeVar("_Result")

# More often nobody looks.
_TOLD_NS = NS_PER_S // 4


class Company:
    """The company of one load.

    tell: called with the share of the file that has been read, a few times a second at most.
    """

    def __init__(
        self, seat: BoardSeat, *, now_ns: Callable[[], int], tell: Callable[[float], None]
    ) -> None:
        self._seat = seat
        self._now_ns = now_ns
        self._tell = tell
        self._told_ns: int | None = None
        # What computes starts threads that stay, and work for whoever computes later.
        self.keeps_threads = False

    @property
    def is_busy(self) -> bool:
        """Whether another engine has interactive work now."""
        return self._seat.others(self._now_ns()).interactive

    def aside(self, part: Callable[[], _Result]) -> _Result:
        """Run a part of the load, on idle cores alone once another engine has interactive work.
        It may not start threads that stay.
        """
        return run_aside(part, is_busy=lambda: self.is_busy)

    def compute_aside(self, part: Callable[[], _Result]) -> _Result:
        """The same for a part that computes. Where this leaves threads behind, it runs as usual:
        they would serve requests later, and stay on idle cores alone.
        """
        return part() if self.keeps_threads else self.aside(part)

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Inside, the daemon does not stop this process, because that would be measured too."""
        self._seat.let_stop(False)
        try:
            yield
        finally:
            self._seat.let_stop(True)

    def has_loaded(self) -> None:
        """From now on the daemon does not stop this process."""
        self._seat.let_stop(False)

    def leave(self) -> None:
        """Nothing runs here any more. The kernel takes the memory back, on idle cores alone where
        another engine has interactive work.

        A core is busy with that for a tenth of a second per gigabyte: beside the end of a process
        of 500 MB two tokens of a chat took 40 to 53 ms instead of 16, and at most 25 like this
        (two cores, Linux 6.18).
        """
        if self.is_busy:
            step_back()

    def has_read(self, share: float) -> None:
        """So much of the file has been read, from 0 to 1."""
        now_ns = self._now_ns()
        if self._told_ns is None or now_ns - self._told_ns >= _TOLD_NS:
            self._told_ns = now_ns
            self._tell(min(1.0, share))
