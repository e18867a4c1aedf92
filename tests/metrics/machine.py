"""A scorecard on a clock that stands still until it is told to go on."""

import json
from collections.abc import Mapping
from typing import Any

from umad.metrics import MemoryFacts, Scorecard
from umad.protocol.link import StepStats
from umad.request import FinishReason

MS = 1_000_000


S = 1_000_000_000


START_NS = 1_000 * S  # any point: the clock's zero means nothing


class Machine:
    """A scorecard and the time it is told."""

    def __init__(self, *, latency_cap: float = 1.2, budget_gbps: float | None = None) -> None:
        self.card = Scorecard(latency_cap=latency_cap, budget_gbps=budget_gbps, window_s=10.0)
        self.now_ns = START_NS
        self.solo_ms = 0.0  # what the next tokens would have cost alone
        self.carried = 0  # what their step carries, in bits of `umad.step`; True is background
        self._totals = dict.fromkeys(
            (
                *("cuts", "preemptions", "prompt_tokens", "cached_tokens", "sampled"),
                *("copied_rows", "guess_steps", "guesses_held"),
                *("media_encoded", "media_reused", "encode_us", "row_copies"),
            ),
            0,
        )

    def wait(self, ms: float) -> None:
        self.now_ns += round(ms * MS)

    def accept(
        self,
        rid: int,
        *,
        lane: str = "interactive",
        app: str = "app",
        model: str = "m",
        cap: float | None = None,
    ) -> None:
        self.card.accepted(rid, model, lane, app, self.now_ns, latency_cap=cap)

    def tokens(self, rid: int, n: int = 1) -> None:
        self.card.tokens(rid, n, self.now_ns, self.solo_ms, self.carried)

    def end(self, rid: int, reason: FinishReason = "stop") -> None:
        self.card.ended(rid, reason, self.now_ns)

    def step(
        self, *, model: str = "m", totals: Mapping[str, int] | None = None, **facts: Any
    ) -> None:
        for name, news in (totals or {}).items():
            self._totals[name] += news
        counters: dict[str, Any] = {f"{name}_total": n for name, n in self._totals.items()}
        self.card.step(model, StepStats(ended_ns=self.now_ns, **counters, **facts))

    def restart(self) -> None:
        self._totals = dict.fromkeys(self._totals, 0)
        self.card.engine_restarted("m")

    def read(self, **memory: MemoryFacts) -> dict[str, Any]:
        snapshot = self.card.snapshot(self.now_ns, memory)
        json.dumps(snapshot, allow_nan=False)
        return snapshot


def stream(machine: Machine, rid: int, gaps_ms: list[float]) -> None:
    """First token of `rid` now, then one after each gap."""
    machine.tokens(rid)
    for gap_ms in gaps_ms:
        machine.wait(gap_ms)
        machine.tokens(rid)
