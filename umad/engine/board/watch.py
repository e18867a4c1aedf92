"""Cuts a background-only step short when another model's engine is handed interactive work.

Shared memory wakes no thread, so a thread looks at the board, but only while such a step runs and
only where there is another engine. Owner: a thread of its own; `began` and `ended` are the step
thread's.
"""

import threading

from umad.engine.board.seat import BoardSeat
from umad.engine.prctl import name_thread
from umad.engine.steps.cutter import Cutter

# A cut takes 6 to 13 ms to act. Looking this often makes it at most 5 ms later, and costs a thread
# 15 µs each time.
LOOK_S = 0.005
_WAIT_S = 1.0


class BoardWatch:
    """Runs one thread, which sleeps unless a step may have to be cut."""

    def __init__(self, seat: BoardSeat, cutter: Cutter) -> None:
        self._seat = seat
        self._cutter = cutter
        self._armed = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umad-board", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def began(self) -> None:
        """A step that may be cut begins."""
        if self._seat.has_neighbours:
            self._ended.clear()
            self._armed.set()

    def ended(self) -> None:
        """The step is over."""
        self._armed.clear()
        self._ended.set()

    def _run(self) -> None:
        name_thread("umad-board")
        while True:
            if not self._armed.wait(_WAIT_S):
                continue
            while not self._ended.wait(LOOK_S):
                if self._seat.arrived_elsewhere():
                    self._cutter.cut()
                    self._ended.wait(_WAIT_S)
                    break
