"""Decides when the transcriber may run beside other engines' interactive steps, and how long. Pure.

What somebody feels is a step that takes longer, so steps are counted and not time: one of `ONE_IN`
may run beside the transcriber. A spell is no longer than a step, so a step beside it takes twice
its time at most, and touches two of them. A share of the time would not do: 30 ms of every 750 are
beside 9 of 188 steps of 4 ms, and beside 2 of 15 steps of 50 ms.

    look(steps, now)     what the board shows: steps by seat, of engines with interactive work
    may_begin            whether enough steps went by since the last spell
    begin() → seconds    it runs for so long
    end(steps, now)      it was stopped again

Not: stopping anything (`umad.speech.pace`). Owner: the pace's thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from umad.units import NS_PER_S

# p95 leaves one step in twenty free to be longer. What the machine does by itself makes some of
# those, so the transcriber takes half of them.
ONE_IN = 40
# A spell is at least so long, because to stop and to go on takes some tens of microseconds, and at
# most so long, because a prompt's step may take seconds.
LEAST_S, MOST_S = 0.002, 0.030
# How often to look whether a spell may begin.
SOON_S, LATE_S = 0.005, 0.020
# How much the last steps count for how long a step is.
_NEWEST = 0.25


@dataclass(slots=True, kw_only=True)
class _Neighbour:
    """An engine with interactive work."""

    # Its steps at the last look that saw another number, and when that was.
    count: int
    at_ns: int
    # No spell before it has taken so many.
    needed: int
    # Seconds of one; None until it is known.
    step_s: float | None = None
    # Its steps when the spell began that runs.
    began: int = 0


class Spells:
    """The spells of one transcriber."""

    def __init__(self) -> None:
        self._neighbours: dict[int, _Neighbour] = {}

    def look(self, steps: Mapping[int, int], now_ns: int) -> None:
        """Take in what the board shows. Somebody who is new has just had a look's time of the
        transcriber beside a step.
        """
        for seat in self._neighbours.keys() - steps.keys():
            del self._neighbours[seat]
        for seat, count in steps.items():
            known = self._neighbours.get(seat)
            # Another engine may have taken that seat and begun at zero.
            if known is None or count < known.count:
                self._neighbours[seat] = _Neighbour(
                    count=count, at_ns=now_ns, needed=count + ONE_IN
                )
            elif count > known.count:
                self._measure(known, count, now_ns)

    def _measure(self, known: _Neighbour, count: int, now_ns: int) -> None:
        step_s = (now_ns - known.at_ns) / NS_PER_S / (count - known.count)
        before_s = step_s if known.step_s is None else known.step_s
        known.step_s = before_s + _NEWEST * (step_s - before_s)
        known.count, known.at_ns = count, now_ns

    @property
    def may_begin(self) -> bool:
        """Whether a spell may begin now."""
        return all(
            one.count >= one.needed and one.step_s is not None for one in self._neighbours.values()
        )

    @property
    def wait_s(self) -> float:
        """When to look again whether it may."""
        missing_s = [
            (one.needed - one.count) * (one.step_s or 0.0) for one in self._neighbours.values()
        ]
        return min(LATE_S, max(SOON_S, *missing_s)) if missing_s else SOON_S

    def begin(self) -> float:
        """A spell begins. Returns the seconds that it may last."""
        for one in self._neighbours.values():
            one.began = one.count
        shortest_s = min((one.step_s or 0.0 for one in self._neighbours.values()), default=MOST_S)
        return min(MOST_S, max(LEAST_S, shortest_s))

    def end(self, steps: Mapping[int, int], now_ns: int) -> None:
        """The spell has ended."""
        self.look(steps, now_ns)
        for one in self._neighbours.values():
            if one.needed <= one.began:
                # One that it began in, and all that began beside it.
                n_touched = one.count - one.began + 1
                one.needed = one.count + n_touched * (ONE_IN - 1)
