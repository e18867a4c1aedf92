"""Courtesy to the engines of other models: they share the device, but not this scheduler's guard.

While another engine serves somebody interactive, this one's background-only steps are short and
rare: they take `SHARE` of the time, so that about one interactive step in 25 next door runs beside
one. That stays inside what p95 leaves free, and background work never stops for good.
Not: how engines see each other (the engine's board). Pure; owner: the step thread.
"""

from dataclasses import dataclass

from umad.units import NS_PER_MS

# p95 leaves one step in twenty free to be longer; as in `guard`, one in 25 keeps a margin.
SHARE = 0.04
# A step next to somebody's stream: as long as a token or two of most models.
STEP_MS = 30.0
# The neighbour may fall idle at any time, and only looking tells.
LOOK_MS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What the other engines of the device did. Bytes are those since the last time of asking.

    interactive: one of them runs interactive work, or has just been handed some.
    waiting: background work of one of them waits until it may move bytes.
    bytes_per_s: the highest rate one of them holds for possible on this machine; 0 for unknown.
    """

    interactive: bool = False
    waiting: bool = False
    interactive_bytes: int = 0
    background_bytes: int = 0
    bytes_per_s: int = 0


NOBODY = Neighbours()


class Courtesy:
    """share: of the time, at least, that background steps get beside a busy neighbour."""

    def __init__(self, *, share: float) -> None:
        self._share = max(share, SHARE)
        self._next_ns = 0
        self.busy_next_door = False

    def wait_ms(self, now_ns: int) -> float:
        """Time until the next background step may begin, or until it is worth looking again."""
        if not self.busy_next_door:
            return 0.0
        return min(LOOK_MS, max(0.0, (self._next_ns - now_ns) / NS_PER_MS))

    def ran(self, device_ms: float, now_ns: int) -> None:
        """A background-only step has ended that took so long."""
        pause_ms = device_ms * (1 - self._share) / self._share
        self._next_ns = now_ns + int(pause_ms * NS_PER_MS)
