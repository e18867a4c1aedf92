"""Computes, once per plan, a step's interactive rows and how much other work they allow.

Copies, embeddings and the composer all ask how much other work a step may carry. They ask the same
`StepLimits`, so they agree even where more streams run than fit into a step.

Pure; owner: the step thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.candidates import Candidates
from umad.scheduler.steps.latency_guard import LatencyGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """Limits of one step. Times are milliseconds."""

    # Interactive requests whose tokens this step decodes.
    rows: tuple[ScheduledRequest, ...] = ()
    # KV cells that those rows read.
    n_cells: int = 0
    # How long the rows' readers wait with no other work in the step.
    solo_ms: float = 0.0
    # The rows' latency caps; None for the engine's own.
    caps: tuple[float | None, ...] = ()
    guard: LatencyGuard = field(repr=False)

    @property
    def within_ms(self) -> float:
        """The step's length at which the strictest cap of its rows is reached."""
        return self.guard.within_ms(self.solo_ms, self.caps)

    def allowance_ms(self, least_ms: float) -> float:
        """Milliseconds of background work that this step may carry beside its rows.

        least_ms: the cost of the smallest useful piece of that work. The result is 0 where even
        that piece has to wait.
        """
        return self.guard.allowance_ms(self.solo_ms, self.within_ms, least_ms)


def limits_of(
    candidates: Candidates, *, cost: CostModel, guard: LatencyGuard, most_rows: int
) -> StepLimits:
    """Compute the limits of the step that serves these candidates. most_rows: the most decode rows
    it may have."""
    if not candidates.decode:
        return StepLimits(guard=guard)
    rows = longest_waiting(candidates.decode, most_rows)
    n_cells = cells_read(rows)
    return StepLimits(
        rows=rows,
        n_cells=n_cells,
        solo_ms=cost.solo_ms(len(rows), n_cells),
        caps=tuple([entry.latency_cap for entry in rows]),
        guard=guard,
    )


def cells_read(entries: Sequence[ScheduledRequest]) -> int:
    """KV cells that the next rows of these requests read."""
    return sum([entry.n_tokens for entry in entries])


def longest_waiting(entries: tuple[ScheduledRequest, ...], n: int) -> tuple[ScheduledRequest, ...]:
    """Return all `entries`, or only the `n` whose last step is longest ago."""
    if len(entries) <= n:
        return entries
    return tuple(sorted(entries, key=lambda entry: entry.turn)[:n])
