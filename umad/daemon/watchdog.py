"""Notices an engine that has work to do and says nothing for too long, and one that has none and
keeps talking.

Not: acting on it (`umad.daemon.keeper`). Owner: the daemon's event loop.
"""

import asyncio
from collections.abc import Callable

from umad.clock import Clock
from umad.daemon.engine import Engine
from umad.daemon.engine_state import SERVING
from umad.errors import ProtocolViolation

# Most messages of an engine that has no work: the news of steps that were under way, and a few at
# load.
MOST_IDLE_WORDS = 10_000
# A look that comes so late was held up with the whole daemon: by Ctrl-Z, a debugger, a machine that
# slept. What the engine said meanwhile waits in its socket.
LATE_S = 1.0


class Watchdog:
    """Measures one engine's silence, from `last_news_ns`, while the engine owes news. Where the
    daemon itself did not run meanwhile, the engine has its time once more.

    hangs: called with the seconds of silence, at most once for each `watch`.
    """

    def __init__(
        self, engine: Engine, *, clock: Clock, stall_s: float, hangs: Callable[[float], None]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._stall_s = stall_s
        self._hangs = hangs
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0
        # The news after which a silence was excused.
        self._excused_ns = -1
        # Messages in a row while there was no work.
        self._n_idle = 0

    def heard(self, now_ns: int) -> None:
        """Note that the engine has said something. Raises `ProtocolViolation` for an engine that
        keeps talking while nobody waits.
        """
        engine = self._engine
        engine.last_news_ns = now_ns
        self._n_idle = self._n_idle + 1 if engine.is_idle else 0
        if self._n_idle > MOST_IDLE_WORDS:
            raise ProtocolViolation("an engine without work keeps sending messages")

    def listens_anew(self) -> None:
        """Note that another process speaks from now on."""
        self._n_idle = 0

    def watch(self) -> None:
        """Start to measure silence, because work was given to the engine."""
        self._engine.last_news_ns = self._clock.now_ns()
        if self._timer is None:
            self._arm(self._stall_s)

    def stop(self) -> None:
        """Stop measuring: there is nothing to watch any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, delay_s: float) -> None:
        self._due_ns = self._clock.now_ns() + round(delay_s * 1e9)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        engine = self._engine
        self._timer = None
        if engine.state not in SERVING or not engine.owes_news:
            return
        now_ns = self._clock.now_ns()
        silent_s = (now_ns - engine.last_news_ns) / 1e9
        if silent_s < self._stall_s:
            self._arm(self._stall_s - silent_s)
        elif now_ns - self._due_ns > LATE_S * 1e9 and engine.last_news_ns != self._excused_ns:
            self._excused_ns = engine.last_news_ns
            self._arm(self._stall_s)
        else:
            self._hangs(silent_s)
