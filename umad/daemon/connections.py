"""How many connections there are, and who gives way: by process, with room kept for the tools.

Where all are taken, the one goes that has been idle longest, of the process that has most
(`umad.crowd`). Where none of those is idle, a process that has no other connection gets one that
may only look and cancel: the owner's own tools (`umad ps`, `metrics`, `cancel`) always get in. Not:
what a connection says (`umad.daemon.session`). Owner: the daemon's event loop.
"""

from collections.abc import Hashable
from typing import Protocol

from umad.crowd import Crowd
from umad.errors import LimitExceeded

# Connections beyond the limit for tools; each is there for one answer.
TOOLS = 16
# Of the connections, for other processes than the one that has most; with those for tools enough,
# since idle ones give way.
_RESERVE = 64


class Guest(Hashable, Protocol):
    """A connection."""

    def give_way(self) -> None:
        """Say why, and end: it is idle, and another process needs the room."""
        ...


class OpenConnections:
    """limit: at once, but for `TOOLS`."""

    def __init__(self, limit: int) -> None:
        self._most_each = limit - limit // _RESERVE
        self._crowd: Crowd[Guest] = Crowd(limit, own_give_way=False)
        self._tools: Crowd[Guest] = Crowd(TOOLS, own_give_way=True)

    def __len__(self) -> int:
        return len(self._crowd) + len(self._tools)

    def admit(self, guest: Guest, pid: int) -> bool:
        """Take one of process `pid` in; whether it may do more than look and cancel.

        Raises `LimitExceeded`.
        """
        crowd = self._crowd
        n_own = crowd.count(pid)
        if crowd.is_full:
            _make_room(crowd, pid)
        if not crowd.is_full and n_own < self._most_each:
            crowd.enter(guest, pid)
            return True
        if n_own:
            raise LimitExceeded(
                f"this process has {n_own} connections, and {crowd.limit} may be open in all; "
                "use those, or try again later"
            )
        if self._tools.is_full:
            _make_room(self._tools, pid)
        if self._tools.is_full:
            raise LimitExceeded(f"{crowd.limit} connections are at work; try again later")
        self._tools.enter(guest, pid)
        return False

    def settle(self, guest: Guest, *, is_idle: bool) -> None:
        """Something of it has begun or ended."""
        for crowd in (self._crowd, self._tools):
            if is_idle:
                crowd.rest(guest)
            else:
                crowd.work(guest)

    def leave(self, guest: Guest) -> None:
        """It has gone."""
        self._crowd.leave(guest)
        self._tools.leave(guest)


def _make_room(crowd: Crowd[Guest], pid: int) -> None:
    going = crowd.who_gives_way(pid)
    if going is not None:
        crowd.leave(going)
        going.give_way()
