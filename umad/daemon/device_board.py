"""Makes the device board and seats the engines on it. Read and written by engines alone.

The page is an unnamed file: it goes when its last user does, whatever ended that. What is on it and
why stands in `umad.engine.board.seat`. Owner: the daemon's event loop.
"""

import fcntl
import mmap
import os
import sys
import tempfile
from types import TracebackType
from typing import Self

from umad.engine.board.seat import BOARD_BYTES, SEATS, lay_out, take_seat, words_of

# linux/fcntl.h.
_F_ADD_SEALS = 1033
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW = 1, 2, 4


class DeviceBoard:
    """fd: of the page, for engines to inherit. Close it by leaving the `with`."""

    def __init__(self) -> None:
        self.fd = _unnamed_file()
        os.ftruncate(self.fd, BOARD_BYTES)
        _keep_size(self.fd)
        self._words = words_of(mmap.mmap(self.fd, BOARD_BYTES))
        lay_out(self._words)
        self._seats: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.fd)

    def seat(self, model: str) -> int:
        """The seat of a model's engine that is about to start; wiped if somebody sat there.

        A model keeps its seat over restarts. Past `SEATS` models of one daemon's life the one that
        started longest ago is asked to move over: if it still runs, two engines count as one.
        """
        found = self._seats.pop(model, None)
        if found is None and len(self._seats) < SEATS:
            found = len(self._seats)
        if found is None:
            found = self._seats.pop(next(iter(self._seats)))
        self._seats[model] = found
        take_seat(self._words, found)
        return found


def _unnamed_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("umad-board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _keep_size(fd: int) -> None:
    """An engine that made the page smaller would end whoever looks at it next, this process too.
    Only Linux can rule that out."""
    if sys.platform == "linux":
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_SEAL | _SEAL_SHRINK | _SEAL_GROW)
