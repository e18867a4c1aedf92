"""Decides when a medium is encoded or its rows are computed, and how much of that a step carries.

Rows are a decode of their own. Like a prompt's tokens, those of an interactive request are read in
slices bounded by the streams' own step, and those of a background request within the guard's
allowance. A run that is atomic cannot be sliced: it has a step to itself, as soon as the allowance
for it was saved up. The encoder has turns in the same way; it is held between them, so a large
image costs nobody more than its turns.

Only the run that comes next is encoded: what a request shares with another one needs no rows. One
encoder works at a time. After its request was cancelled it has one turn more, as background work,
in which it is ended, or goes on for another request that waits for the same rows.

Not: rows, and what is kept of them (`umad.engine.media`).
Pure; owner: the step thread.
"""

from collections.abc import Callable

from umad.config import SchedulerSettings
from umad.media_slices import EncodeTurn, RowSlice
from umad.scheduler.costs.step_cost import CostModel, slice_cells
from umad.scheduler.memory.residency import Residency
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.candidates import Candidates, Hold, Reason
from umad.scheduler.steps.composer import LEAST_MS, BackgroundTerms
from umad.scheduler.steps.limits import StepLimits
from umad.scheduler.steps.patience import Patience
from umad.step import StepPlan, StepResult

# Of an encoder or of rows while no interactive request decodes. An arrival waits for its end.
ALONE_MS = 50.0
# A shorter turn of an encoder is mostly waiting for its next node (`EncodeGate`).
LEAST_TURN_MS = 2.0
# A node of the encoder may be longer than its turn, and nothing holds it. Then a step computes
# beside it, and takes up to twice as long. Readers may wait three steps, so the turn and the wait
# for its node take one at most. Where nobody reads, steps do nothing better, but arrivals wait.
LATE_STEPS = 1.0
LATE_MS = 100.0
# Rows are a decode of their own, which reads all weights: one row may take as long as a step of
# streams. Where one is more than the cap allows, one step in so many carries some, which p99 is
# free of, and its readers wait so many steps' time, of three that they may.
RARE_EVERY = 101
RARE_STEPS = 2.6
# How much of a new measurement is believed.
LEARNING_RATE = 0.2
_MOST_FACTOR = 16.0


class MediaTurns:
    """The turns of one engine's media.

    has_rows: whether the rows of a request's run are at hand; else they have to be encoded.
    """

    def __init__(
        self,
        *,
        cost: CostModel,
        settings: SchedulerSettings,
        batch_tokens: int,
        has_rows: Callable[[int, int], bool],
    ) -> None:
        self._cost = cost
        self._settings = settings
        self._patience = Patience(settings.newcomer_ms)
        self._batch_tokens = batch_tokens
        self._has_rows = has_rows
        # Rows take so many times as long as the cost model expects of as many tokens.
        self._factor = 1.0
        # What the shortest turns of the encoder take.
        self._least_turn_ms = LEAST_TURN_MS
        # A turn ends at a node, and so takes longer than it was given.
        self._over_ms = 0.0
        # Steps of readers since rows made one of them longer than the cap.
        self._since_rare = RARE_EVERY
        # (request, run) whose encoder is under way.
        self.encoding: tuple[int, int] | None = None
        self._was_ours = False

    def take(
        self, candidates: Candidates, limits: StepLimits, terms: BackgroundTerms
    ) -> tuple[RowSlice | EncodeTurn | None, Hold | None]:
        """What the next step carries of media, and a hold on the work that it replaces. Both are
        None where it carries nothing."""
        self._since_rare += bool(candidates.decode)
        entry = next(iter((*candidates.media, *candidates.background_media)), None)
        if entry is None and self.encoding is None:
            return None, None
        bulk = not candidates.media
        if bulk and terms.hold is not None and terms.hold.background:
            return None, None
        if not self._is_our_turn(candidates, bulk=bulk):
            return None, None
        piece: RowSlice | EncodeTurn | None
        if entry is not None and (span := entry.span) and self._has_rows(entry.rid, span.run):
            piece = self._rows(entry, candidates, limits, terms, bulk=bulk)
        else:
            piece = self._turn(entry, candidates, limits, terms, bulk=bulk)
        if piece is None:
            return None, None
        return piece, Hold(reason=Reason.MEDIA, newcomers=True, background=True)

    def settle(
        self,
        plan: StepPlan,
        result: StepResult,
        residency: Residency,
        entry: ScheduledRequest | None,
    ) -> None:
        """Book a step that carried a medium. entry: its request; None where it has ended."""
        if plan.encode is not None:
            self.encoding = None if result.is_encoded else (plan.encode.rid, plan.encode.run)
            longer_ms = result.media_ms - plan.encode.ms
            if not result.is_encoded and result.media_ms:
                self._over_ms += LEARNING_RATE * (max(0.0, longer_ms) - self._over_ms)
            if plan.encode.ms <= 2 * self._least_turn_ms and not result.is_encoded:
                took_ms = max(LEAST_TURN_MS, self._least_turn_ms + longer_ms)
                self._least_turn_ms += LEARNING_RATE * (took_ms - self._least_turn_ms)
            return
        rows = plan.rows
        if rows is None:
            return
        if entry is not None:
            residency.grow(entry, rows.n_cells)
        if rows.predicted_ms > 0:
            factor = self._factor * result.media_ms / rows.predicted_ms
            factor = min(_MOST_FACTOR, max(1 / _MOST_FACTOR, factor))
            self._factor += LEARNING_RATE * (factor - self._factor)

    # -- inside ---------------------------------------------------------------------------------

    def _is_our_turn(self, candidates: Candidates, *, bulk: bool) -> bool:
        """Media take turns with the prompts that they would hold back."""
        if bulk and candidates.prefill:
            return False
        others = candidates.has_background if bulk else candidates.prefill
        if not others:
            return True
        self._was_ours = not self._was_ours
        return self._was_ours

    def _within_ms(
        self, candidates: Candidates, limits: StepLimits, terms: BackgroundTerms, *, bulk: bool
    ) -> float | None:
        """Milliseconds for media in this step; None where the guard decides."""
        if not candidates.decode:
            alone_ms = max(ALONE_MS, self._settings.slice_ms) if not bulk else ALONE_MS
            return alone_ms if terms.most_ms is None or not bulk else min(alone_ms, terms.most_ms)
        if bulk:
            return None
        return self._patience.piece_ms(len(limits.rows), limits.solo_ms)

    def _rows(
        self,
        entry: ScheduledRequest,
        candidates: Candidates,
        limits: StepLimits,
        terms: BackgroundTerms,
        *,
        bulk: bool,
    ) -> RowSlice | None:
        span = entry.span
        assert span is not None
        start = entry.n_computed
        left = span.end - start
        within_ms = self._within_ms(candidates, limits, terms, bulk=bulk)
        if within_ms is None:
            within_ms = self._beside_readers_ms(left if span.is_atomic else 1, start, limits)
            if within_ms <= 0:
                return None
        n_cells = left
        if not span.is_atomic:
            fitting = self._cost.prefill_within(
                within_ms / self._factor, beside=0, n_max=self._batch_tokens, start=start
            )
            n_cells = min(left, max(1, fitting))
        return RowSlice(
            rid=entry.rid,
            seq=entry.seq,
            start=start,
            n_cells=n_cells,
            run=span.run,
            offset=start - span.start,
            bulk=bulk,
            predicted_ms=self._ms(n_cells, start),
        )

    def _beside_readers_ms(self, least: int, start: int, limits: StepLimits) -> float:
        """Milliseconds for rows of background work in a step of readers, of which `least` are
        computed at once; 0 for none."""
        least_ms = max(LEAST_MS, self._ms(least, start))
        rare_ms = (RARE_STEPS - 1) * limits.solo_ms
        if least_ms <= limits.within_ms - limits.solo_ms or least_ms > rare_ms:
            return limits.allowance_ms(least_ms)
        if self._since_rare < RARE_EVERY:
            return 0.0
        self._since_rare = 0
        return rare_ms

    def _ms(self, n_cells: int, start: int) -> float:
        return self._factor * self._cost.prefill.at(n_cells, slice_cells(n_cells, start), 0)

    def _turn(
        self,
        entry: ScheduledRequest | None,
        candidates: Candidates,
        limits: StepLimits,
        terms: BackgroundTerms,
        *,
        bulk: bool,
    ) -> EncodeTurn | None:
        work = self.encoding
        if work is None:
            if entry is None or entry.span is None:
                return None
            work = (entry.rid, entry.span.run)
        within_ms = self._within_ms(candidates, limits, terms, bulk=bulk)
        if within_ms is None:
            within_ms = limits.allowance_ms(self._least_turn_ms) - self._over_ms
            if within_ms <= -self._over_ms:
                return None
        turn_ms = max(within_ms, LEAST_TURN_MS)
        beside_ms = max(0.0, LATE_STEPS * limits.solo_ms - turn_ms)
        return EncodeTurn(
            rid=work[0],
            run=work[1],
            ms=turn_ms,
            bulk=bulk,
            beside_readers=bool(candidates.decode),
            late_ms=beside_ms if candidates.decode else LATE_MS,
        )
