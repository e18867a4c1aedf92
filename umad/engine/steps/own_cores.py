"""Keeps the threads of a decode on cores of their own.

The kernel likes to place a thread that is woken beside the thread that wakes it, and on a busy
machine it does not look for a free core. A decode's threads wake each other hundreds of times a
step. So two of them were seen on one core for 3 to 19 ms, each running until it had to wait for the
other one, while the other core was idle. A first token came 8 ms late by that.

So each helper, a thread that OpenMP has started for the step thread, is tied to one core. The step
thread is not tied, because what it starts would be tied with it, and because it may go where the
daemon or a client is not. A helper whose core it has taken gets the free one, before the decode
that needs both.

Where another program wants a core, a tied thread cannot give way to it, so `spinning` lets the
helpers go then. Nothing is tied where the machine has more cores than a decode has threads: there
the kernel finds free ones.

Linux only. Owner: the step thread.
"""

import ctypes
import os
from collections.abc import Callable, Collection, Sequence

# (thread, the cores that it may run on). Raises OSError for a thread that has ended.
Tie = Callable[[int, Collection[int]], None]


class OwnCores:
    """The cores of one engine's helpers."""

    def __init__(
        self,
        cores: Sequence[int],
        *,
        threads: int,
        tie: Tie | None = None,
        core: Callable[[], int] | None = None,
    ) -> None:
        """cores: those that this process may use. threads: those of a decode, the step thread
        included. core: the one that the caller runs on."""
        self._cores = tuple(cores)
        self._tie = _tied if tie is None else tie
        self._core = _core_of_this() if core is None else core
        self._is_on = 1 < threads == len(self._cores)
        # The helper of each core.
        self._tied: dict[int, int] = {}

    def keep(self, helpers: Sequence[int]) -> None:
        """Tie each of these threads to a core. Those that are tied already stay."""
        if not self._is_on or set(self._tied.values()) == set(helpers):
            return
        self._tied = {core: one for core, one in self._tied.items() if one in helpers}
        free = [core for core in self._cores if core not in self._tied and core != self._core()]
        new = [one for one in helpers if one not in self._tied.values()]
        for core, helper in zip(free, new, strict=False):
            self._set(helper, core)

    def make_room(self) -> None:
        """Give the helper on whose core the step thread runs another one. Call before a decode; it
        takes a microsecond."""
        if not self._tied:
            return
        core = self._core()
        helper = self._tied.get(core)
        if helper is None:
            return
        free = [one for one in self._cores if one not in self._tied]
        if free:
            del self._tied[core]
            self._set(helper, free[0])

    def let_go(self) -> None:
        """Let all helpers run anywhere again."""
        for helper in self._tied.values():
            self._try(helper, self._cores)
        self._tied = {}

    def _set(self, helper: int, core: int) -> None:
        if self._try(helper, (core,)):
            self._tied[core] = helper

    def _try(self, helper: int, cores: Collection[int]) -> bool:
        try:
            self._tie(helper, cores)
        except OSError:  # it has ended
            return False
        return True


def _tied(thread: int, cores: Collection[int]) -> None:
    os.sched_setaffinity(thread, cores)


def _core_of_this() -> Callable[[], int]:
    # PyDLL, because giving the interpreter's lock away costs more than the call.
    library = ctypes.PyDLL(None)
    return library.sched_getcpu if hasattr(library, "sched_getcpu") else lambda: -1
