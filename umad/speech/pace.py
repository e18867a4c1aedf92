"""Lets the transcriber run beside other engines' interactive work without being felt.

A window of a long recording is background work, whatever its lane. While another engine has
interactive work the transcriber is stopped, and runs for a spell now and then (`umad.speech.spells`
says when). The only window of a short recording is somebody's dictation: it runs as it can, and the
board shows it to the others as interactive work.
Not: the device board (`umad.engine.board`). Owner: a thread of its own; `began` and `ended` are the
desk's.
"""

import threading
from collections.abc import Callable

from umad.clock import Clock
from umad.engine.board.seat import BoardSeat
from umad.engine.prctl import name_thread
from umad.speech.spells import Spells
from umad.speech.transcriber import Transcriber
from umad.units import NS_PER_S

# Shared memory wakes nobody, so it is looked at while the transcriber runs. A look costs 15 µs.
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
        self._spells = Spells()
        # Runs beside interactive work until then; None where it is stopped, or nobody minds.
        self._spell_ends_ns: int | None = None
        self._is_stopped = False
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
        look_s = 0.0
        try:
            while not self._ended.wait(look_s):
                now_ns = self._clock.now_ns()
                if now_ns - said_ns >= _ALIVE_S * NS_PER_S:
                    said_ns = now_ns
                    self._alive()
                if self._is_hurried:
                    look_s = _SHOW_S / 2
                    if now_ns - shown_ns >= _SHOW_S * NS_PER_S:
                        shown_ns = now_ns
                        self._seat.standing(1, now_ns)
                else:
                    look_s = self._stepped(now_ns)
        finally:
            self._go_on()

    def _stepped(self, now_ns: int) -> float:
        """Stop or continue; return the seconds until the next look."""
        steps = self._seat.interactive_steps(now_ns)
        if self._spell_ends_ns is not None and steps:
            if now_ns < self._spell_ends_ns:
                return (self._spell_ends_ns - now_ns) / NS_PER_S
            self._pause()
            self._spells.end(steps, now_ns)
            return self._spells.wait_s
        self._spells.look(steps, now_ns)
        if not steps:
            self._go_on()
            return LOOK_S if self._seat.has_neighbours else _ALONE_S
        if not self._is_stopped:
            self._pause()
        elif self._spells.may_begin:
            spell_s = self._spells.begin()
            self._go_on()
            self._spell_ends_ns = now_ns + int(spell_s * NS_PER_S)
            return spell_s
        return self._spells.wait_s

    def _go_on(self) -> None:
        self._transcriber.go_on()
        self._is_stopped, self._spell_ends_ns = False, None

    def _pause(self) -> None:
        self._transcriber.pause()
        self._is_stopped, self._spell_ends_ns = True, None
        self.n_pauses += 1
