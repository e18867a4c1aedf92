"""Decides when embedding work runs beside the other work of a step, and for how long.

Beside interactive rows, embedding is background work: it takes the time that the guard allows, in
place of other background work. So embedding a whole library costs a stream no more than the cap.
While no interactive request decodes, short requests take turns with newcomers' prompts and go
before background work; bulk takes turns with background work.

Not: which texts run (`embeds.queue`).
Pure; owner: the step thread.
"""

from umad.scheduler.embeds.queue import EmbedQueue
from umad.scheduler.steps.candidates import Candidates, Hold, Reason
from umad.scheduler.steps.composer import LEAST_MS, BackgroundTerms
from umad.scheduler.steps.latency_guard import LatencyGuard
from umad.scheduler.steps.limits import StepLimits
from umad.step import EmbedSlice

# Where a slice cannot be cut, an arrival waits for its end. A longer wait would be noticed.
SLICE_MS = 50.0
# More rows in a slice compute more texts a second, because each slice reads the weights once. So a
# slice of bulk that an arrival can cut doubles so often, as long as none is cut. After a cut it is
# as short as at first, and little is computed again where arrivals are frequent.
_MOST_DOUBLINGS = 3


class EmbedTurns:
    """Decides on the embedding slices of one engine.

    floor: the share of the device's time that background work always gets. cut_ms: the longest
    slice of bulk where arrivals cut it.
    """

    def __init__(
        self,
        queue: EmbedQueue,
        *,
        guard: LatencyGuard,
        floor: float,
        cut_ms: float = SLICE_MS,
    ) -> None:
        self._queue = queue
        self._guard = guard
        self._floor = floor
        self._cut_ms = cut_ms
        self._was_ours = False

    def take(
        self, candidates: Candidates, limits: StepLimits, terms: BackgroundTerms, now_ns: int
    ) -> tuple[EmbedSlice | None, Hold | None]:
        """Return the slice that the next step carries, and a hold on the work that it replaces.
        Both are None where the step carries no embedding work."""
        if not (candidates.embeds or self._queue.has_short):
            return None, None
        if candidates.decode:
            within_ms, careful = self._beside_ms(candidates, limits, now_ns), True
        else:
            within_ms, careful = self._alone_ms(candidates, terms), False
        if within_ms <= 0:
            return None, None
        embed = self._queue.next(within_ms, now_ns, careful=careful)
        return embed, Hold(reason=Reason.EMBEDDINGS, newcomers=True, background=True)

    def _alone_ms(self, candidates: Candidates, terms: BackgroundTerms) -> float:
        """Milliseconds of a slice while no interactive request decodes; 0 for no slice now."""
        is_short = self._queue.has_short
        if candidates.prefill and not is_short:
            return 0.0
        others = candidates.prefill if is_short else candidates.has_background
        floor_is_owed = self._guard.background_share < self._floor
        if is_short and not others and candidates.has_background and floor_is_owed:
            # Short requests may keep coming, but background work must still get its floor.
            return 0.0
        if others and not self._is_our_turn():
            return 0.0
        doublings = 0 if is_short else min(self._queue.uncut_in_a_row, _MOST_DOUBLINGS)
        longest_ms = max(SLICE_MS, min(self._cut_ms, SLICE_MS * (1 << doublings)))
        return longest_ms if terms.most_ms is None else min(longest_ms, terms.most_ms)

    def _beside_ms(self, candidates: Candidates, limits: StepLimits, now_ns: int) -> float:
        """Milliseconds of a slice beside interactive rows; 0 for no slice now."""
        is_short = self._queue.has_short
        if candidates.prefill and not (is_short and self._is_our_turn()):
            return 0.0
        if candidates.has_background and not is_short and not self._is_our_turn():
            return 0.0
        return limits.allowance_ms(max(LEAST_MS, self._queue.least_ms(now_ns)))

    def _is_our_turn(self) -> bool:
        self._was_ours = not self._was_ours
        return self._was_ours
