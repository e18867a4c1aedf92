"""Copies between pool and host memory as freight of the steps: how many one may carry.

Beside interactive rows copies take the place of background work, for as long as the guard allows
that; a copy that a newcomer waits for may take as long as a slice of the newcomer's prompt. Where
nothing interactive decodes, copies have a few milliseconds of each step.
Not: what is copied, and whether that is worth it (`parking`).
Pure; owner: the step thread.
"""

from umad.config import SchedulerSettings
from umad.scheduler.compose import Ready
from umad.scheduler.copying import CopyCost
from umad.scheduler.cost import CostModel
from umad.scheduler.guard import LatencyGuard
from umad.scheduler.parking import Parker
from umad.step import MemoryOp, StepResult

# For the copies of a step without interactive rows: what arrives meanwhile hardly feels it.
COPY_MS = 8.0


class Freight:
    """Of one engine's steps. slab_cells: of the smallest copy."""

    def __init__(
        self,
        *,
        parker: Parker,
        copying: CopyCost,
        slab_cells: int,
        cost: CostModel,
        guard: LatencyGuard,
        settings: SchedulerSettings,
        guarded: frozenset[str],
    ) -> None:
        self._parker = parker
        self._copying = copying
        self._slab_cells = slab_cells
        self._cost = cost
        self._guard = guard
        self._settings = settings
        self._guarded = guarded
        self._for_background = False

    def load(self, ready: Ready) -> tuple[MemoryOp, ...]:
        """The copies of the next step. Background work whose place they take is removed from
        `ready`."""
        self._for_background = False
        if not self._parker.has_work:
            return ()
        newcomer_ms, background_ms = self._room_ms(ready)
        copies, self._for_background = self._parker.next_ops(
            guarded=self._guarded, newcomer_ms=newcomer_ms, background_ms=background_ms
        )
        if ready.decode and self._for_background:
            ready.background_decode.clear()
            ready.background_prefill.clear()
        return copies

    @property
    def is_background(self) -> bool:
        """The step's copies take the place of other background work."""
        return self._for_background

    def background_ms(self, result: StepResult) -> float:
        """Of what a step's copies took, the part that was background work; 0 for none."""
        if not self._for_background or result.house is None:
            return 0.0
        return result.house.copy_ms

    def _room_ms(self, ready: Ready) -> tuple[float, float]:
        """Milliseconds for copies that a newcomer waits for, and for all others."""
        n_rows = len(ready.decode)
        if not n_rows:
            return COPY_MS, 0.0 if ready.prefill else COPY_MS
        solo_ms = self._cost.solo_ms(n_rows, sum([entry.n_tokens for entry in ready.decode]))
        within_ms = self._guard.within_ms(solo_ms, [entry.latency_cap for entry in ready.decode])
        slab_ms = self._copying.copy_ms(self._slab_cells)
        return (
            self._settings.newcomer_steps * solo_ms,
            self._guard.allowance_ms(solo_ms, within_ms, slab_ms),
        )
