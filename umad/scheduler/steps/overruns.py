"""Counts the steps that other work made longer than the cap, and says when they have been too many.

The guard promises that of the steps that readers wait for, one in twenty at most is over the cap.
`latency_guard`'s trust makes what a step carries smaller until few steps with other work are over.
But a step cannot carry less than one token. Where the steps of a small model are short, half of
those that carry one token are over the cap. Then fewer steps may carry any.

So each step earns 1 / `EVERY`, and a step over the cap that carried other work pays 1. A machine
that others use makes steps without other work longer, too. How often that happens is learnt, and
each step that carries other work is forgiven somewhat more than that.

Pure; owner: the step thread.
"""

# One step in so many may be over for the sake of other work. p95 leaves one in twenty; on a machine
# that others use, steps without other work take most of that.
EVERY = 50
# What is earned in quiet times does not pay for more than so many steps in a row.
MOST = 4.0
# What is owed after a bad minute is forgotten beyond so many steps.
MOST_OWED = 4.0
# What lone steps tell is uncertain. So much of it is forgiven, that chance alone rarely stops work.
FORGIVEN = 1.25
# A step without other work counts for so much in what is known of them.
WEIGHT = 0.01


class Overruns:
    """The count of one engine."""

    def __init__(self) -> None:
        self._earned = MOST
        self._lone_rate = 0.0

    @property
    def allows(self) -> bool:
        """Whether a step may carry other work."""
        return self._earned >= 0.0

    @property
    def lone_rate(self) -> float:
        """The share of steps over the cap among those without other work, 0 to 1."""
        return self._lone_rate

    def settle(self, *, carried: bool, is_over: bool) -> None:
        """Book a step that readers waited for. carried: whether it had other work."""
        earned = self._earned + 1 / EVERY
        if carried:
            earned -= is_over - FORGIVEN * self._lone_rate
        else:
            self._lone_rate += WEIGHT * (is_over - self._lone_rate)
        self._earned = max(-MOST_OWED, min(MOST, earned))
