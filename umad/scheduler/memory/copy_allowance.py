"""Limits how many copies between the KV pool and host memory one step carries.

Beside interactive rows, copies take the place of background work, and only as many milliseconds as
the guard allows. A copy that a newcomer waits for may take as long as a slice of the newcomer's
prompt. While no interactive request decodes, copies get a few milliseconds of each step.

Not: what is copied, and whether that is worth it (`parking`).
Pure; owner: the step thread.
"""

from umad.config import SchedulerSettings
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.memory.parking import Parker
from umad.scheduler.steps.candidates import Candidates, Hold, Reason
from umad.scheduler.steps.limits import StepLimits
from umad.step import MemoryOp, StepResult

# For the copies of a step without interactive rows. A request that arrives meanwhile hardly notices
# so short a wait.
COPY_MS = 8.0


class CopyAllowance:
    """The copies of one engine's steps. slab_cells: how many cells the smallest copy has."""

    def __init__(
        self,
        *,
        parker: Parker,
        copying: CopyCost,
        slab_cells: int,
        settings: SchedulerSettings,
        guarded: frozenset[str],
    ) -> None:
        self._parker = parker
        self._copying = copying
        self._slab_cells = slab_cells
        self._settings = settings
        self._guarded = guarded
        self._for_background = False

    def load(
        self, candidates: Candidates, limits: StepLimits
    ) -> tuple[tuple[MemoryOp, ...], Hold | None]:
        """Return the copies of the next step, and a hold on the background work they replace."""
        self._for_background = False
        if not self._parker.has_work:
            return (), None
        newcomer_ms, background_ms = self._room_ms(candidates, limits)
        copies, self._for_background = self._parker.next_ops(
            guarded=self._guarded, newcomer_ms=newcomer_ms, background_ms=background_ms
        )
        if not self._for_background:
            return copies, None
        return copies, Hold(reason=Reason.COPIES, background=bool(candidates.decode), embeds=True)

    def background_ms(self, result: StepResult) -> float:
        """How many milliseconds of a step's copies count as background work; 0 for none."""
        if not self._for_background or result.house is None:
            return 0.0
        return result.house.copy_ms

    def _room_ms(self, candidates: Candidates, limits: StepLimits) -> tuple[float, float]:
        """Return the milliseconds for copies that a newcomer waits for, and for all others."""
        if not limits.rows:
            return COPY_MS, 0.0 if candidates.prefill else COPY_MS
        return (
            self._settings.newcomer_steps * limits.solo_ms,
            limits.allowance_ms(self._copying.copy_ms(self._slab_cells)),
        )
