"""Makes the device board and gives the engines seats on it. Only engines read and write it.

The board is an unnamed file: it disappears with its last user, however that user ended.
`umad.engine.board.page` says what is on the board and why. Owner: the daemon's event loop.
"""

import fcntl
import mmap
import os
import sys
import tempfile
from types import TracebackType
from typing import Self

from umad.engine.board.page import (
    BOARD_BYTES,
    SEATS,
    anybody_is_interactive,
    lay_out,
    may_stop,
    take_seat,
    words_of,
)

# linux/fcntl.h.
_F_ADD_SEALS = 1033
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW = 1, 2, 4


class DeviceBoard:
    """The page that all engines share. Leaving the `with` block closes it."""

    def __init__(self) -> None:
        # The page's descriptor, which engines inherit.
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
        """The seat of a model's engine that is about to start; the seat is wiped before use.

        A model keeps its seat over restarts. After `SEATS` models in one daemon's life, the model
        that started longest ago loses its seat to the new one. If that model still runs, the two
        engines count as one.
        """
        found = self._seats.pop(model, None)
        if found is None and len(self._seats) < SEATS:
            found = len(self._seats)
        if found is None:
            found = self._seats.pop(next(iter(self._seats)))
        self._seats[model] = found
        take_seat(self._words, found)
        return found

    def is_interactive(self, now_ns: int) -> bool:
        """Whether any engine has interactive work."""
        return anybody_is_interactive(self._words, now_ns)

    def may_stop(self, model: str) -> bool:
        """Whether the process of that model's engine says that it may be stopped for a while."""
        seat = self._seats.get(model)
        return seat is not None and may_stop(self._words, seat)


def _unnamed_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("umad-board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _keep_size(fd: int) -> None:
    """Forbid a change of the page's size.

    An engine that made the page smaller would end every process that reads it next, this one too.
    Only Linux can forbid that.
    """
    if sys.platform == "linux":
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_SEAL | _SEAL_SHRINK | _SEAL_GROW)
