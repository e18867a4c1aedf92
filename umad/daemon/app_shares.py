"""Bounds what one app may have of the daemon, so that the rest is left to the others.

A request for tokens or vectors is checked here before it is taken on, and reported when it ends.
A further limit of an app belongs here.

    whose   the owner of a gateway's key, however many app names the owner uses; for the machine's
            user, the app itself

Not: bounds of the whole daemon (`admission`) or of one connection (`session`), nor the order in
which apps are served (the engine's scheduler).
Owner: the daemon's event loop.
"""

from umad.config import LimitSettings
from umad.errors import QueueFull


class AppShares:
    """The live completions and embeddings of every app."""

    def __init__(self, limits: LimitSettings) -> None:
        # A quarter of the queue is for others.
        self._most_live = limits.queue - limits.queue // 4
        # Without those that have none.
        self._live: dict[str, int] = {}

    def check(self, whose: str, n: int, *, app: str) -> None:
        """Raise `QueueFull` where `n` more would be more than the app's part of the queue.

        app: the name that the error tells.
        """
        n_live = self._live.get(whose, 0)
        if n_live + n > self._most_live:
            raise QueueFull(
                f"{app} has {n_live} completions and embeddings live already, at most "
                f"{self._most_live} of one app may be; wait for some to end"
            )

    def began(self, whose: str, n: int) -> None:
        """Count `n` more that live."""
        self._live[whose] = self._live.get(whose, 0) + n

    def ended(self, whose: str, n: int) -> None:
        """Count `n` fewer that live."""
        left = self._live.pop(whose, 0) - n
        if left > 0:
            self._live[whose] = left
