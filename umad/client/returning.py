"""Decides how long a client looks for a daemon that has gone, and says in the log that it is back.

A daemon that is started again, by a service manager or by hand, listens anew after a second or two.
Whoever asked in between would be told that there is no daemon. What ran when it went is lost all
the same: the client was told so, and asks again.
Not: the connecting, which differs between a loop and a thread.
"""

import logging

from umad.client.options import ClientOptions

# Between two looks. To find nobody there costs one call of the system.
LOOK_AGAIN_S = 0.05
_log = logging.getLogger(__name__)


class Return:
    """The return of one daemon, which may never happen."""

    def __init__(self, lost_s: float, options: ClientOptions) -> None:
        """lost_s: when the connection was lost, on the clock that is asked later."""
        self._lost_s = lost_s
        self._wait_s = options.return_s
        self._is_awaited = False

    def is_awaited(self, now_s: float) -> bool:
        """Whether it makes sense to look again a little later. The first time, the log says so."""
        if now_s - self._lost_s >= self._wait_s:
            return False
        if not self._is_awaited:
            self._is_awaited = True
            _log.warning("the daemon has gone; looking for it wait_s=%g", self._wait_s)
        return True

    def came(self, server: str, now_s: float) -> None:
        """A daemon has greeted again."""
        # A connection that was only closed, to make room for others, is nothing to worry about.
        level = logging.WARNING if self._is_awaited else logging.INFO
        _log.log(
            level,
            "connected again to the daemon server=%s after_s=%.1f",
            server,
            now_s - self._lost_s,
        )
