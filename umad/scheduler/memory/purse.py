"""Holds the milliseconds of copying that one step may still spend. Owner: the step thread."""

from dataclasses import dataclass


@dataclass(slots=True)
class Purse:
    """Milliseconds of copying that a step may still spend. If there are any, they buy at least one
    copy."""

    left_ms: float
    spent: bool = False

    def affords(self, ms: float) -> bool:
        """Whether a copy of `ms` may still be made in this step."""
        return self.left_ms > 0 and not (self.spent and ms > self.left_ms)

    def buys(self, ms: float) -> bool:
        """Pay for a copy of `ms`; False where that is too much."""
        if not self.affords(ms):
            return False
        self.left_ms -= ms
        self.spent = True
        return True
