"""Lets the transcriber run beside other engines' interactive work without being felt.

A window of a long recording is background work, whatever its lane. While another engine has
interactive work the transcriber runs for `STEP_MS` at a time and for `SHARE` of the time, as the
background steps of engines do (`umad.scheduler.steps.neighbours`), and is stopped in between. The
only window of a short recording is somebody's dictation: it runs as it can, and the board shows it
to the others as interactive work.
Not: the device board (`umad.engine.board`). Owner: a thread of its own; `began` and `ended` are the
desk's.
"""

import threading
from collections.abc import Callable

from umad.clock import Clock
from umad.engine.board.seat import BoardSeat
from umad.engine.process import name_thread
from umad.scheduler.steps.neighbours import SHARE, STEP_MS, Courtesy
from umad.speech.transcriber import Transcriber
from umad.units import NS_PER_MS

# Shared memory wakes nobody, so it is looked at. A look costs 15 µs.
LOOK_S = 0.005
# Without any other engine there is nobody to look at.
_ALONE_S = 0.25
# The board takes an engine for dead that has shown nothing for two seconds.
_SHOW_S = 0.5
_WAIT_S = 1.0
# The daemon's watchdog wants to hear something of an engine that has work.
_ALIVE_S = 5.0


class Pace:
    """Stops and continues one transcriber."""

    def __init__(
        self,
        transcriber: Transcriber,
        seat: BoardSeat,
        clock: Clock,
        *,
        alive: Callable[[], None],
    ) -> None:
        """alive: called every few seconds of a window."""
        self._transcriber = transcriber
        self._seat = seat
        self._clock = clock
        self._alive = alive
        self._runs = threading.Event()
        self._ended = threading.Event()
        self._is_hurried = False
        self._courtesy = Courtesy(share=SHARE)
        # How often it was stopped; for tests and the log.
        self.n_pauses = 0

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="umad-pace", daemon=True).start()

    def began(self, *, hurried: bool) -> None:
        """A window begins. hurried: the only one of a short recording that somebody waits for."""
        self._is_hurried = hurried
        if hurried:
            self._seat.arrived(self._clock.now_ns())
            self._seat.standing(1, self._clock.now_ns())
        self._ended.clear()
        self._runs.set()

    def ended(self) -> None:
        """The window is over."""
        self._runs.clear()
        self._ended.set()
        if self._is_hurried:
            self._seat.standing(0, self._clock.now_ns())

    def _run(self) -> None:
        name_thread("umad-pace")
        while True:
            if self._runs.wait(_WAIT_S):
                self._follow()

    def _follow(self) -> None:
        """Accompany one window to its end."""
        said_ns = shown_ns = self._clock.now_ns()
        # Since when it runs beside others; None while it is stopped or nobody minds.
        beside_ns: int | None = None
        try:
            while not self._ended.wait(self._look_s):
                now_ns = self._clock.now_ns()
                if now_ns - said_ns >= _ALIVE_S * 1e9:
                    said_ns = now_ns
                    self._alive()
                if self._is_hurried:
                    if now_ns - shown_ns >= _SHOW_S * 1e9:
                        shown_ns = now_ns
                        self._seat.standing(1, now_ns)
                    continue
                beside_ns = self._stepped(beside_ns, now_ns)
        finally:
            self._transcriber.go_on()

    @property
    def _look_s(self) -> float:
        return LOOK_S if self._seat.has_neighbours else _ALONE_S

    def _stepped(self, beside_ns: int | None, now_ns: int) -> int | None:
        """Stop or continue; return since when it runs beside others."""
        courtesy = self._courtesy
        is_busy = self._seat.others(now_ns).interactive
        began_now = is_busy and not courtesy.busy_next_door
        courtesy.busy_next_door = is_busy
        if not is_busy:
            self._transcriber.go_on()
            return None
        if began_now:
            # It has run beside whoever came for as long as a look takes.
            courtesy.ran(LOOK_S * 1e3, now_ns)
            self._pause()
            return None
        if beside_ns is not None:
            ran_ms = (now_ns - beside_ns) / NS_PER_MS
            if ran_ms < STEP_MS:
                return beside_ns
            self._pause()
            courtesy.ran(ran_ms, now_ns)
            return None
        if courtesy.wait_ms(now_ns) > 0:
            return None
        self._transcriber.go_on()
        return now_ns

    def _pause(self) -> None:
        self._transcriber.pause()
        self.n_pauses += 1
