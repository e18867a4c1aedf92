"""Lets a load that only background work waits for rest while interactive work runs.

    has room ─▶ waits for a rest, `HOLD_S` at most ─▶ begins ⇄ is stopped, `STOP_S` in all ─▶ ready

A load on idle cores alone (`umad.engine.aside`) is felt nevertheless. Linux lets a thread of
SCHED_IDLE run for a whole tick, 4 ms, once the thread beside it has slept and then run for a tick,
and a thread that computes tokens sleeps between any two of them: p95 of a chat's tokens was 1.5
times what it was alone, all through the load (two cores, Linux 6.18). A chat rests most of the
time, though: its user reads, thinks and types. So the process of a load is stopped (SIGSTOP) while
interactive work runs, and goes on when it rests. It does not wait for ever: what is left of a load
after these times goes on, on idle cores alone.

A process is stopped only where it says so on the board: it is being loaded, it measures nothing at
the moment, and it ends with the daemon even if that is killed. Only Linux can promise the last.
Not: which models are loaded when (`umad.daemon.rotation`). Owner: the daemon's event loop.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from umad.clock import Clock
from umad.units import NS_PER_S

log = logging.getLogger(__name__)

# How long a load that could begin waits for a rest, and how long it is stopped for others in all.
# The second is shorter than any wait of a load for a child of its own (30 s, a compiler): a wait
# goes on while the load is stopped.
HOLD_S = 10.0
STOP_S = 20.0
# A load has a bound of its own (`limits.load_s`). It is stopped for this part of it at most.
STOP_SHARE = 0.25
# Whoever asks in a rest waits for a first token for longer than this.
LOOK_S = 0.02


class Loading(Protocol):
    """The process of a load."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def stop_for_a_while(self) -> None:
        """Stop it where it is. It goes on with `go_on`."""
        ...

    def go_on(self) -> None:
        """Let it go on; no effect on one that runs."""
        ...


class Allowance:
    """The time that one load may lose to others. Pure: times are handed in."""

    __slots__ = ("_left_ns", "_since_ns")

    def __init__(self, most_ns: int) -> None:
        self._left_ns = most_ns
        self._since_ns: int | None = None

    def waits(self, is_felt: bool, now_ns: int) -> bool:
        """Whether the load waits from now on, until this is asked again. is_felt: whether others
        would feel it.
        """
        if self._since_ns is not None:
            self._left_ns -= now_ns - self._since_ns
        waits = is_felt and self._left_ns > 0
        self._since_ns = now_ns if waits else None
        return waits


class Interactive(Protocol):
    """What the engines show of their work (`umad.daemon.device_board`)."""

    def is_interactive(self, now_ns: int) -> bool:
        """Whether any engine has interactive work."""
        ...

    def may_stop(self, model: str) -> bool:
        """Whether the process of that model's engine says that it may be stopped for a while."""
        ...


@dataclass(slots=True)
class _Load:
    loading: Loading
    allowance: Allowance
    is_stopped: bool = False


class LoadPauses:
    """The loads of one daemon that only background work waits for."""

    def __init__(self, board: Interactive | None, *, clock: Clock, load_s: float) -> None:
        """board: None where nothing is ever stopped. load_s: the bound of a load."""
        # Elsewhere a process that is stopped would outlive a daemon that is killed.
        self._board = board if sys.platform == "linux" else None
        self._clock = clock
        self._stop_ns = round(min(STOP_S, STOP_SHARE * load_s) * NS_PER_S)
        self._loads: dict[str, _Load] = {}
        self._held: dict[str, Allowance] = {}
        self._is_meant: Callable[[str], bool] = lambda _: False
        self._timer: asyncio.TimerHandle | None = None

    def holds(self, model: str) -> bool:
        """Whether a load that could begin waits for a rest. To be asked again within `LOOK_S`."""
        if self._board is None:
            return False
        now_ns = self._clock.now_ns()
        allowance = self._held.setdefault(model, Allowance(round(HOLD_S * NS_PER_S)))
        return allowance.waits(self._board.is_interactive(now_ns), now_ns)

    def begins(self, model: str) -> None:
        """The load begins."""
        self._held.pop(model, None)

    def follow(self, loads: Iterable[Loading], is_meant: Callable[[str], bool]) -> None:
        """Look after these loads from now on, and no longer after others. is_meant: whether only
        background work waits for that model.
        """
        if self._board is None:
            return
        self._is_meant = is_meant
        now = {one.name: one for one in loads}
        for name in self._loads.keys() - now.keys():
            self._let_go_on(self._loads.pop(name))
        for name, loading in now.items():
            if name not in self._loads:
                self._loads[name] = _Load(loading, Allowance(self._stop_ns))
        if self._loads and self._timer is None:
            self._look()

    def stop(self) -> None:
        """Look after nothing any more; what is stopped goes on."""
        self.follow((), lambda _: False)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        board = self._board
        if board is None or not self._loads:
            return
        now_ns = self._clock.now_ns()
        is_felt = board.is_interactive(now_ns)
        for name, load in self._loads.items():
            may = load.is_stopped or board.may_stop(name)
            waits = load.allowance.waits(is_felt and may and self._is_meant(name), now_ns)
            if waits and not load.is_stopped:
                load.is_stopped = True
                load.loading.stop_for_a_while()
                log.debug("load is stopped for interactive work model=%s", name)
            elif not waits:
                self._let_go_on(load)
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    @staticmethod
    def _let_go_on(load: _Load) -> None:
        if load.is_stopped:
            load.is_stopped = False
            load.loading.go_on()
