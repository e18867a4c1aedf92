"""Limits the number of connections, shares them between processes, and keeps room for the tools.

When all connections are taken, the process that has most loses the one that has been idle longest
(`umad.crowd`). When none of those is idle, a process that has no other connection gets one that may
only look and cancel, so the owner's own tools (`umad ps`, `metrics`, `cancel`) always get in. Not:
what a connection says (`umad.daemon.session`). Owner: the daemon's event loop.
"""

from collections.abc import Hashable
from typing import Protocol

from umad.crowd import Crowd
from umad.errors import LimitExceeded

# Connections beyond the limit, kept for tools. Each of them serves one answer.
TOOLS = 16
# One connection in `_RESERVE` is kept for other processes than the one that has most. With the
# connections for tools that is enough, because idle ones are closed for newcomers.
_RESERVE = 64


class Guest(Hashable, Protocol):
    """A connection, as far as this module uses it."""

    def give_way(self) -> None:
        """Tell the client why, and close the idle connection: another process needs the room."""
        ...


class OpenConnections:
    """The open connections of one daemon: at most `limit` at once, and `TOOLS` more for tools."""

    def __init__(self, limit: int) -> None:
        self._most_each = limit - limit // _RESERVE
        self._crowd: Crowd[Guest] = Crowd(limit, own_give_way=False)
        self._tools: Crowd[Guest] = Crowd(TOOLS, own_give_way=True)

    def __len__(self) -> int:
        return len(self._crowd) + len(self._tools)

    def admit(self, guest: Guest, pid: int) -> bool:
        """Take in a connection of process `pid`; return whether it may do more than look and
        cancel.

        Raises `LimitExceeded` where there is no room.
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
        """Note whether the connection is idle now: a request of it has begun or ended."""
        for crowd in (self._crowd, self._tools):
            if is_idle:
                crowd.rest(guest)
            else:
                crowd.work(guest)

    def leave(self, guest: Guest) -> None:
        """Remove a connection that has closed."""
        self._crowd.leave(guest)
        self._tools.leave(guest)


def _make_room(crowd: Crowd[Guest], pid: int) -> None:
    going = crowd.who_gives_way(pid)
    if going is not None:
        crowd.leave(going)
        going.give_way()
