"""Tells how much room a reading leaves, as the least of four parts from 0 to 1. Pure.

    p95       how far the waits of interactive readers are below the cap. 0 once more than 5 of a
              hundred are beyond it, which is when the scorecard says that the guard did not hold
    traffic   how far the memory traffic (ΣBMT) is below its budget
    queue     1 with nobody waiting, 1/2 with one, 1/3 with two
    kv        the share of cells that no running request holds

Two things fill the first two parts and leave room all the same:

    Background work takes what the cap and the budget leave, on purpose, and gives way to a
    newcomer. While it runs and the cap holds, `p95` is not less than `YIELDED`.
    One stream alone may move all that a machine can read, which is the budget unless its owner set
    another. A second stream beside it is computed with the same weights. So `traffic` is not less
    than `SHARED`, until more is moved than the budget: then interactive work alone is beyond what
    the owner allows.

A part that was not measured is 1: a node where nobody reads has no waits.
"""

from dataclasses import dataclass

from umad.router.policy.reading import Reading

# The share of waits beyond the cap, of a hundred, at which the cap is broken; and the step below
# which waits are judged with the slack of a longer one. Both as in `umad.metrics.summary`.
BEYOND_CAP_PCT = 5.0
SLACK_OF_MS = 5.0
# What background work gives up for a newcomer at least, and what a stream leaves for another one
# that reads the same weights.
YIELDED = 0.25
SHARED = 0.25
# So far beyond the budget traffic may be by the way in which it is measured.
_MEASURED = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """The four parts, each from 0 (none) to 1 (idle)."""

    p95: float
    traffic: float
    queue: float
    kv: float

    @property
    def least(self) -> float:
        """What counts."""
        return min(self.p95, self.traffic, self.queue, self.kv)

    @property
    def narrowest(self) -> str:
        """The name of the part that counts, in the words of the docstring above."""
        parts = {"p95": self.p95, "traffic": self.traffic, "queue": self.queue, "kv": self.kv}
        return min(parts, key=lambda name: parts[name])


def headroom_of(reading: Reading) -> Headroom:
    """Compute the parts."""
    return Headroom(
        p95=_p95(reading, YIELDED if reading.background_share > 0 else 0.0),
        traffic=_traffic(reading),
        queue=1 / (1 + reading.waiting),
        kv=1 - reading.kv_used,
    )


def _p95(reading: Reading, yields: float) -> float:
    beyond_pct = reading.over_cap_pct or 0.0
    if beyond_pct > BEYOND_CAP_PCT:
        return 0.0
    allowed = reading.latency_cap - 1
    if reading.p95_over_solo is None or allowed <= 0:
        # A cap of 1 allows nothing beyond solo, so only the share beyond it can be judged.
        return max(yields, 1 - beyond_pct / BEYOND_CAP_PCT)
    solo_ms = SLACK_OF_MS if reading.solo_ms is None else reading.solo_ms
    excess = max(0.0, reading.p95_over_solo - 1) * min(1.0, solo_ms / SLACK_OF_MS)
    return max(yields, 1 - excess / allowed)


def _traffic(reading: Reading) -> float:
    if reading.bmt_gbps is None or not reading.bmt_budget_gbps:
        return 1.0
    used = reading.bmt_gbps / reading.bmt_budget_gbps
    return 0.0 if used > _MEASURED else max(SHARED, 1 - used)
