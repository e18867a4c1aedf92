"""Makes background work short and rare while another model's engine runs interactive work.

The engines of other models share the device, but this scheduler's guard does not protect them. So
while another engine runs interactive work, the background-only steps of this one take `SHARE` of
the time. A background step of one token or two makes two or three of the other engine's
interactive steps longer, one in 25 of them altogether. That stays within what p95 leaves free, and
background work never stops for good.

Not: how engines see each other (the engine's board).
Pure; owner: the step thread.
"""

from dataclasses import dataclass

from umad.units import NS_PER_MS

# p95 leaves one step in twenty free to be longer. The other engine's own guard uses some of that,
# too. With a share of 0.04, 2.6 % of a chat's tokens came beside a step of another model, and 6 %
# were late for other work in all.
SHARE = 0.02
# The longest background-only step beside another engine's stream: as long as a token or two of most
# models.
STEP_MS = 30.0
# How long to wait before looking at the neighbour again, which may fall idle at any time.
LOOK_MS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What the other engines of the device did. Bytes count from the last time of asking."""

    # One of them runs interactive work, or has just been handed some.
    interactive: bool = False
    # Background work of one of them waits until it may move bytes.
    waiting: bool = False
    interactive_bytes: int = 0
    background_bytes: int = 0
    # The highest rate that one of them takes for possible on this machine; 0 for unknown.
    bytes_per_s: int = 0


NOBODY = Neighbours()


class Courtesy:
    """Spaces background steps out beside a busy neighbour.

    share: the share of the time that background steps get there; `SHARE` at least.
    """

    def __init__(self, *, share: float) -> None:
        self._share = max(share, SHARE)
        self._next_ns = 0
        self.busy_next_door = False

    def wait_ms(self, now_ns: int) -> float:
        """Milliseconds until the next background step may begin, or until the neighbour is to be
        looked at again."""
        if not self.busy_next_door:
            return 0.0
        return min(LOOK_MS, max(0.0, (self._next_ns - now_ns) / NS_PER_MS))

    def ran(self, device_ms: float, now_ns: int) -> None:
        """Book that a background-only step of `device_ms` has ended."""
        pause_ms = device_ms * (1 - self._share) / self._share
        self._next_ns = now_ns + int(pause_ms * NS_PER_MS)
