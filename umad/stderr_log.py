"""Writes lines to stderr without ever waiting for the reader.

A pipe that nobody reads fills up, and a daemon that then waits in a log call stops every stream. So
lines go through a bounded queue to a thread of their own; when the queue is full, lines are
dropped.
"""

import errno
import logging
import os
import queue
import select
import threading
import traceback
from collections.abc import Callable
from typing import Any

from typing_extensions import override

# Not `sys.stderr`: its buffer for a stuck reader would delay the end of the process.
STDERR_FD = 2
QUEUED_LINES = 4096
# stderr is a file on a disk that is full now, and may have room later.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Time to write what is queued at the end. A stuck reader must not keep the process alive.
CLOSE_S = 1.0
MOST_CAUSES = 8
# A model's file chooses its own names, and llama.cpp quotes them. Control characters are escaped,
# so that no terminal obeys them.
_OBEYED = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def _write(data: memoryview) -> int:
    """Write some of `data` to stderr, when there is room; the number of bytes."""
    while True:
        try:
            return os.write(STDERR_FD, data)
        except BlockingIOError:
            # The terminal or the pipe is another program's too, and that one does not wait.
            # Not select.poll: on macOS it does not wait for a terminal, and this would spin.
            select.select([], [STDERR_FD], [])


class DiscreetFormatter(logging.Formatter):
    """Writes records in `FORMAT`, without the text of unexpected errors unless verbose.

    The text of an unexpected error may quote a prompt. So only its kind and its place are written,
    and its text only where that was asked for.
    """

    def __init__(self, format_: str = FORMAT, *, verbose: bool) -> None:
        super().__init__(format_)
        self._verbose = verbose

    @override
    def formatException(self, ei: Any) -> str:
        if self._verbose:
            return super().formatException(ei)
        told: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None and len(told) < MOST_CAUSES:
            where = "".join(traceback.format_tb(error.__traceback__)).rstrip()
            kind = type(error)
            told.append(f"{where}\n{kind.__module__}.{kind.__qualname__}".strip("\n"))
            error = error.__cause__ or error.__context__
        return "\nbecause of\n".join(told)


class StderrLog(logging.Handler):
    """The root logger's handler between `open` and `close`."""

    def __init__(self, *, after_line: Callable[[], None] | None = None) -> None:
        """after_line: called by the writing thread between two lines. It must raise nothing."""
        super().__init__()
        self._after_line = after_line
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUED_LINES)
        self._thread = threading.Thread(target=self._write, name="stderr", daemon=True)
        self._n_dropped = 0

    def open(self, level: str, *, verbose: bool = False) -> None:
        """Take log records from `level` on."""
        self.setFormatter(DiscreetFormatter(verbose=verbose))
        self._thread.start()
        root = logging.getLogger()
        root.setLevel(level.upper())
        root.addHandler(self)

    @override
    def close(self) -> None:
        """Write what is queued, within `CLOSE_S`."""
        logging.getLogger().removeHandler(self)
        if self._thread.is_alive():
            self._put(None)
            self._thread.join(CLOSE_S)
        super().close()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._put(self.format(record))

    def say(self, line: str) -> None:
        """Write `line` itself, in order with the records."""
        self._put(line)

    def _put(self, line: str | None) -> None:
        try:
            if self._n_dropped:
                self._lines.put_nowait(f"{self._n_dropped} lines were dropped here")
                self._n_dropped = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._n_dropped += 1

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            text = line.translate(_OBEYED)
            left = memoryview(f"{text}\n".encode(errors="backslashreplace"))
            try:
                while left:
                    left = left[_write(left) :]
            except OSError as error:
                if error.errno not in _FULL:
                    return  # closed at one of the two ends: no one will ever read it
                self._n_dropped += 1
            if self._after_line is not None:
                self._after_line()
