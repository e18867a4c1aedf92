"""Says how long a model stays loaded after its last use. Pure.

The first rule whose pattern fits the model's name decides; infinite pins the model, so that it
never leaves by itself. A model that somebody loaded by name, and not for a request, stays until
another one needs its room, unless a rule names it. A request of an admin sets the time anew.
Not: who leaves for whom (`umad.daemon.room`).
"""

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase

from umad.errors import BadRequest
from umad.units import NS_PER_S

# The pattern of the rule for all models that no other rule fits.
ALL = "*"
_MINUTE_S = 60
# Ten years. Nothing overflows that is computed from it.
MOST_S = 10 * 366 * 86_400
# Whoever asks for a model hands it work a moment later. It has to be there still.
GRACE_NS = NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive:
    """How long one model stays after its last use."""

    seconds: float = math.inf
    # No other model makes it leave.
    is_pinned: bool = False

    @classmethod
    def asked(cls, seconds: float) -> "KeepAlive":
        """As a request says it; a negative time pins the model. Raises `BadRequest`."""
        if math.isnan(seconds):
            raise BadRequest("keep_alive_s must be a number of seconds", field="keep_alive_s")
        if seconds < 0:
            return cls(is_pinned=True)
        return cls(seconds=min(seconds, MOST_S))

    def ends_ns(self, used_ns: int) -> int | None:
        """When a model leaves that was used last at `used_ns`; None for never."""
        if self.seconds == math.inf:
            return None
        return used_ns + max(GRACE_NS, round(self.seconds * NS_PER_S))

    @property
    def words(self) -> str:
        """The time in words."""
        if self.seconds >= 2 * _MINUTE_S:
            return f"{self.seconds / _MINUTE_S:.0f} minutes"
        return f"{self.seconds:g} s"


def keep_alive_of(
    model: str, rules: tuple[tuple[str, float], ...], *, stays: bool = False
) -> KeepAlive:
    """What the rules say of a model. stays: somebody loaded it by name, and not for a request."""
    for pattern, seconds in rules:
        if fnmatchcase(model, pattern):
            is_general = stays and pattern == ALL
            return KeepAlive(
                seconds=math.inf if is_general else seconds, is_pinned=seconds == math.inf
            )
    return KeepAlive()
