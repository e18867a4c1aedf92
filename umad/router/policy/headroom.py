"""Tells how much room a reading leaves, as the least of four parts from 0 to 1. Pure.

    p95       how far the waits of interactive readers are below the cap: above their solo, by
              background work and other programs; and above what a token takes when little runs
              there, by the streams themselves. 0 once more than 5 of a hundred are beyond the cap,
              which is when the scorecard says that the guard did not hold
    traffic   how far the memory traffic (ΣBMT) is below its budget
    queue     1 with nobody waiting, 1/2 with one, 1/3 with two
    kv        the share of cells that no running request holds

Some things fill these parts and leave room all the same. Then a part is not less than `SHARED`:

    Background work takes what the cap and the budget leave, on purpose, and gives way to a
    newcomer. That is so as long as the cap holds.
    A token's time grows with the streams, and with long conversations, which are no crowd.
    One stream alone may move all that a machine can read, which is the budget unless its owner set
    another. A second stream beside it is computed with the same weights. But once more is moved
    than the budget, interactive work alone is beyond what the owner allows, and there is no room.

A part that was not measured is 1: a node where nobody reads has no waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from umad.router.policy.reading import Reading

# The share of waits beyond the cap, of a hundred, at which the cap is broken; and the step below
# which waits are judged with the slack of a longer one. Both as in `umad.metrics.summary`.
BEYOND_CAP_PCT = 5.0
SLACK_OF_MS = 5.0
# What is left where a newcomer shares what others seem to fill.
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


def headroom_of(reading: Reading, light_ms: Mapping[str, float] | None = None) -> Headroom:
    """Compute the parts.

    light_ms: how long a token of each model takes when little runs on this node, where known.
    """
    return Headroom(
        p95=min(_beside(reading), _crowd(reading, light_ms or {})),
        traffic=_traffic(reading),
        queue=1 / (1 + reading.waiting),
        kv=1 - reading.kv_used,
    )


def _beside(reading: Reading) -> float:
    """The waits above solo."""
    beyond_pct = reading.over_cap_pct or 0.0
    if beyond_pct > BEYOND_CAP_PCT:
        return 0.0
    least = SHARED if reading.background_share > 0 else 0.0
    allowed = reading.latency_cap - 1
    if reading.p95_over_solo is None or allowed <= 0:
        # A cap of 1 allows nothing beyond solo, so only the share beyond it can be judged.
        return max(least, 1 - beyond_pct / BEYOND_CAP_PCT)
    solo_ms = SLACK_OF_MS if reading.solo_ms is None else reading.solo_ms
    excess = max(0.0, reading.p95_over_solo - 1) * min(1.0, solo_ms / SLACK_OF_MS)
    return max(least, 1 - excess / allowed)


def _crowd(reading: Reading, light_ms: Mapping[str, float]) -> float:
    """The growth of the usual wait for a token, of the model that it grew most for."""
    allowed = max(reading.latency_cap - 1, 1e-6)
    part = 1.0
    for model, token_ms in reading.token_ms_of.items():
        light = light_ms.get(model)
        if light:
            excess = (token_ms - light) / max(light, SLACK_OF_MS)
            part = min(part, 1 - excess / allowed)
    return max(SHARED, part)


def _traffic(reading: Reading) -> float:
    if reading.bmt_gbps is None or not reading.bmt_budget_gbps:
        return 1.0
    used = reading.bmt_gbps / reading.bmt_budget_gbps
    return 0.0 if used > _MEASURED else max(SHARED, 1 - used)
