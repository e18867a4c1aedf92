"""Holds a model's facts of this moment, which are not sums over the window.

They are its memory, its cells and its queue. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from umad.metrics.memory import MemoryFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The facts of one model at this moment."""

    pending_ns: int
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    faulted_bytes: int | None = None
    faulted_over_tokens: int = 0
    restarts: int = 0
    cells_used: int = 0
    cells_retained: int = 0
    cells_total: int = 0
    parked: int = 0
    # How many times faster steps with guesses of next tokens are than plain ones; 0 for not known.
    speculation_gain: float = 0.0
    # How long an arrival waits for a step that it cuts; 0 for not known.
    cut_ms: float = 0.0
    waiting: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def total(
        models: "Sequence[Latest]", others: Sequence[MemoryFacts], *, pending_ns: int
    ) -> "Latest":
        """Add up all models, and the memory of processes that serve no single model."""
        waiting: dict[str, int] = {}
        for one in models:
            for lane, n in one.waiting.items():
                waiting[lane] = waiting.get(lane, 0) + n
        return Latest(
            pending_ns=pending_ns,
            rss_bytes=_sum_known([m.rss_bytes for m in models] + [o.rss_bytes for o in others]),
            pss_bytes=_sum_known([m.pss_bytes for m in models] + [o.pss_bytes for o in others]),
            faulted_bytes=_sum_known([one.faulted_bytes for one in models]),
            faulted_over_tokens=sum(one.faulted_over_tokens for one in models),
            restarts=sum(one.restarts for one in models),
            cells_used=sum(one.cells_used for one in models),
            cells_retained=sum(one.cells_retained for one in models),
            cells_total=sum(one.cells_total for one in models),
            parked=sum(one.parked for one in models),
            speculation_gain=min(
                [one.speculation_gain for one in models if one.speculation_gain], default=0.0
            ),
            cut_ms=max([one.cut_ms for one in models], default=0.0),
            waiting=waiting,
        )


def _sum_known(values: Sequence[int | None]) -> int | None:
    known = [one for one in values if one is not None]
    return sum(known) if known else None
