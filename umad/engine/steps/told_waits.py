"""Decides when the daemon is told again why requests wait. Owner: the step thread."""

from umad.scheduler import Scheduler
from umad.units import NS_PER_MS

# The daemon is told why requests wait at most this often. The second time is added for each waiting
# request: people read `umad ps`, and a thousand reasons are 20 KB.
TELL_WAITS_NS = 200 * NS_PER_MS
TELL_EACH_WAIT_NS = 2 * NS_PER_MS


class ToldWaits:
    """The reasons that the daemon was told last."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        # When it must be told again.
        self.due_ns = 0
        self._told: dict[int, str] = {}

    def now(self, now_ns: int) -> dict[int, str] | None:
        """The reasons why requests wait; None where the daemon was told a moment ago."""
        if now_ns < self.due_ns:
            return None
        waits = self._scheduler.waits(now_ns)
        self.due_ns = now_ns + TELL_WAITS_NS + TELL_EACH_WAIT_NS * len(waits)
        if not waits and not self._told:
            return None
        self._told = waits
        return waits
