"""When embedding work runs, and for how many milliseconds, beside everything else of a step.

Beside interactive rows it is background work and nothing more: it takes what the guard allows, in
the place of other such work, so that a whole library being embedded costs a stream no more than the
cap. Where nothing interactive decodes, short requests take turns with newcomers' prompts and go
before background work; bulk takes turns with background work.
Not: which texts (`embeds`). Pure; owner: the step thread.
"""

from umad.scheduler.compose import LEAST_MS, Ready
from umad.scheduler.cost import CostModel
from umad.scheduler.embeds import EmbedQueue
from umad.scheduler.guard import LatencyGuard
from umad.step import EmbedSlice

# An arrival waits for the end of a slice where it cannot be cut: about as long as anybody notices.
SLICE_MS = 50.0


class EmbedTurns:
    """One engine's. floor: the share of the device's time that background work always gets."""

    def __init__(
        self, queue: EmbedQueue, *, cost: CostModel, guard: LatencyGuard, floor: float
    ) -> None:
        self._queue = queue
        self._cost = cost
        self._guard = guard
        self._floor = floor
        self._was_ours = False

    def take(self, ready: Ready, now_ns: int) -> EmbedSlice | None:
        """The slice that the next step carries, or None. What gives way to it is removed from
        `ready`."""
        if not (ready.embeds or self._queue.has_short):
            return None
        if ready.decode:
            return self._beside(ready, now_ns)
        is_short = self._queue.has_short
        others = ready.prefill if is_short else ready.background_decode or ready.background_prefill
        if ready.prefill and not is_short:
            return None
        if is_short and not others:
            # Short requests may come for ever; the floor is background work's all the same.
            background = ready.background_decode or ready.background_prefill
            if background and self._guard.background_share < self._floor:
                return None
        if others and not self._is_our_turn():
            return None
        ready.prefill.clear()
        _clear_background(ready)
        within_ms = SLICE_MS if ready.background_ms is None else min(SLICE_MS, ready.background_ms)
        return self._queue.next(within_ms, now_ns, careful=False)

    def _beside(self, ready: Ready, now_ns: int) -> EmbedSlice | None:
        is_short = self._queue.has_short
        if ready.prefill and not (is_short and self._is_our_turn()):
            return None
        others = ready.background_decode or ready.background_prefill
        if others and not is_short and not self._is_our_turn():
            return None
        n_rows = len(ready.decode)
        solo_ms = self._cost.solo_ms(n_rows, sum([entry.n_tokens for entry in ready.decode]))
        within_ms = self._guard.within_ms(solo_ms, [entry.latency_cap for entry in ready.decode])
        least_ms = max(LEAST_MS, self._queue.least_ms(now_ns))
        allowance_ms = self._guard.allowance_ms(solo_ms, within_ms, least_ms)
        if allowance_ms <= 0:
            return None
        ready.prefill.clear()
        _clear_background(ready)
        return self._queue.next(allowance_ms, now_ns, careful=True)

    def _is_our_turn(self) -> bool:
        self._was_ours = not self._was_ours
        return self._was_ours


def _clear_background(ready: Ready) -> None:
    ready.background_decode.clear()
    ready.background_prefill.clear()
