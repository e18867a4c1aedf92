"""Composes one step from the candidates: it picks the rows, the slices, and the size of each slice.

Interactive decode rows always run. Beside them run newcomers' prompts in bounded slices
(`newcomers`), or background work within the guard's allowance. While no interactive request
decodes, newcomers have the device to themselves. Without any interactive work, background rows and
slices run at full speed, in pieces so small that a cut loses little.

Not: which requests are in the pool (`scheduler`, `residency`), which are held back (`governor`).
Pure; owner: the step thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from umad.config import SchedulerSettings
from umad.scheduler.costs.step_cost import CostModel, slice_cells
from umad.scheduler.costs.tiles import ATTENTION_ROWS
from umad.scheduler.queue.orders import Order
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.candidates import Candidates, Hold, Reason
from umad.scheduler.steps.cut_cost import CutCost
from umad.scheduler.steps.limits import StepLimits, cells_read, longest_waiting
from umad.scheduler.steps.newcomers import NewcomerLine, prefill_slice
from umad.scheduler.steps.scoring import with_bounded_scores
from umad.scheduler.steps.slice_size import SlicePicker
from umad.step import DecodeSlice, EmbedSlice, MemoryOp, PrefillSlice, StepPlan

# On an accelerator one more row may cost 0 ms, but an allowance of 0 ms means that nothing may run.
# So the smallest piece is taken to cost at least this.
LEAST_MS = 0.01
NO_BOUND_MS = float("inf")
# The length of a slice of a lone newcomer's long prompt. So often its app hears how far the prompt
# is, and so much is lost at most when another request cuts the slice.
LONE_NEWCOMER_MS = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTerms:
    """The terms on which background work may run in this step."""

    # The work that the budget or a busy neighbour keeps back; None for none.
    hold: Hold | None = None
    # The longest background-only step in milliseconds; None where only the settings bound it.
    most_ms: float | None = None
    # Bytes are scarce, so a step makes the most of the weights it reads: it takes the longest slice
    # that `slice_ms` and `most_ms` allow.
    thrifty: bool = False


FREE = BackgroundTerms()


class StepComposer:
    """Turns `Candidates` into a `StepPlan`."""

    def __init__(
        self,
        *,
        cost: CostModel,
        settings: SchedulerSettings,
        slices: SlicePicker,
        batch_tokens: int,
        order: Order,
        most_scored_rows: int,
        max_seqs: int,
        cut_cost: CutCost,
    ) -> None:
        self._cut_cost = cut_cost
        self._most_scored_rows = most_scored_rows
        self._max_seqs = max_seqs
        self._cost = cost
        self._settings = settings
        self._batch_tokens = batch_tokens
        self._slices = slices
        self._can_pad = cost.tiles and batch_tokens >= ATTENTION_ROWS
        self._line = NewcomerLine(
            cost=cost, settings=settings, batch_tokens=batch_tokens, order=order
        )
        # Set when the guard or interactive work left no room for background work in the last plan.
        self.hold: Hold | None = None

    def compose(
        self,
        candidates: Candidates,
        limits: StepLimits,
        terms: BackgroundTerms,
        memory: tuple[MemoryOp, ...],
        embed: EmbedSlice | None = None,
        *,
        most_ms: float | None = None,
    ) -> StepPlan:
        """Compose the next step, with `embed` in it. The plan is idle when no request can run.
        most_ms: how long a step of newcomers alone may take, where others wait for it.
        """
        self.hold = None
        plan = self._streams(candidates, limits, terms, memory, most_ms)
        if embed is None:
            return plan
        return replace(
            plan,
            embed=embed,
            background=embed.bulk and not plan.n_rows,
            cuttable=embed.cuttable and not plan.n_rows,
            saves_state=False,
        )

    def _streams(
        self,
        candidates: Candidates,
        limits: StepLimits,
        terms: BackgroundTerms,
        memory: tuple[MemoryOp, ...],
        most_ms: float | None,
    ) -> StepPlan:
        if candidates.decode:
            return self._beside_interactive(candidates, limits, memory)
        if candidates.prefill:
            # No interactive request decodes yet, so only the newcomers' first tokens count.
            if candidates.has_background:
                self.hold = Hold(reason=Reason.NEWCOMERS, background=True)
            slices, cuttable = self._newcomers_only(candidates.prefill, most_ms)
            return self._plan([], slices, memory, cuttable=cuttable)
        if candidates.has_background:
            return self._background_only(candidates, terms, memory)
        return StepPlan(memory=memory)

    def _newcomers_only(
        self, newcomers: Sequence[ScheduledRequest], most_ms: float | None
    ) -> tuple[list[PrefillSlice], bool]:
        """Return the newcomers' slices, and whether another arrival may cut them."""
        slices = self._line.alone(newcomers, most_ms)
        first = newcomers[0]
        if len(newcomers) > 1 or most_ms is not None or not self._slices.wait.can_cut:
            return slices, False
        # Larger slices read a lone long prompt sooner. A request that comes meanwhile cuts the
        # slice, and so has the device sooner than at the end of a small slice.
        n_tokens = self._slices.pick(
            room=min(self._batch_tokens, first.n_in_slice),
            start=first.n_computed,
            # Recurrent layers compute whole chunks of tokens, which a second has few of on a CPU.
            within_ms=None if self._cut_cost.saves else LONE_NEWCOMER_MS,
        )
        if n_tokens <= slices[0].n_tokens:
            return slices, False
        return [prefill_slice(first, n_tokens)], True

    def _beside_interactive(
        self, candidates: Candidates, limits: StepLimits, memory: tuple[MemoryOp, ...]
    ) -> StepPlan:
        rows: Sequence[ScheduledRequest] = limits.rows
        n_own, solo_ms, within_ms = len(rows), limits.solo_ms, limits.within_ms
        slices: list[PrefillSlice] = []
        if candidates.prefill:
            if candidates.has_background:
                self.hold = Hold(reason=Reason.NEWCOMERS, background=True)
            slices = self._line.beside(candidates.prefill, n_rows=n_own, solo_ms=solo_ms)
            # The newcomers' slices are interactive work too, so their time counts as solo time.
            solo_ms += self._cost.mixed.at(*_tokens_and_cells(slices), beside=n_own)
            within_ms = limits.guard.within_ms(solo_ms, limits.caps)
        elif candidates.has_background:
            rows, slices = self._within_allowance(candidates, limits)
            if len(rows) == n_own and not slices:
                self.hold = Hold(reason=Reason.GUARD, background=True)
        return self._plan(rows, slices, memory, solo_ms=solo_ms, within_ms=within_ms)

    def _within_allowance(
        self, candidates: Candidates, limits: StepLimits
    ) -> tuple[Sequence[ScheduledRequest], list[PrefillSlice]]:
        """Return the rows, interactive ones first and background ones behind them, and background
        slices, all within the guard's allowance."""
        decode, n_own, own_cells = self._cost.decode, len(limits.rows), limits.n_cells
        own_ms = decode.at(n_own, own_cells)
        room = self._batch_tokens - n_own
        guests = longest_waiting(candidates.background_decode, room)
        prompts = candidates.background_prefill
        pieces_ms = []
        if guests:
            pieces_ms.append(decode.at(n_own + 1, own_cells + guests[0].n_tokens) - own_ms)
        start = prompts[0].n_computed if prompts else 0
        if prompts:
            pieces_ms.append(self._cost.mixed.slice_ms(1, start, n_own))
        if not pieces_ms:
            return limits.rows, []
        allowance_ms = limits.allowance_ms(max(LEAST_MS, min(pieces_ms)))
        if allowance_ms <= 0 or room <= 0:
            return limits.rows, []
        n_guests, spent_ms, cells = 0, 0.0, own_cells
        for guest in guests:
            cells += guest.n_tokens
            extra_ms = decode.at(n_own + n_guests + 1, cells) - own_ms
            if extra_ms > allowance_ms:
                break
            n_guests, spent_ms = n_guests + 1, extra_ms
        room -= n_guests
        slices: list[PrefillSlice] = []
        if prompts and room:
            n_tokens = self._cost.prefill_within(
                allowance_ms - spent_ms, beside=n_own + n_guests, n_max=room, start=start
            )
            slices = _cut_slices(prompts, n_tokens, room)
        return [*limits.rows, *guests[:n_guests]], slices

    def _background_only(
        self, candidates: Candidates, terms: BackgroundTerms, memory: tuple[MemoryOp, ...]
    ) -> StepPlan:
        rows = longest_waiting(candidates.background_decode, self._batch_tokens)
        room = self._batch_tokens - len(rows)
        slices: list[PrefillSlice] = []
        if candidates.background_prefill and room:
            start = candidates.background_prefill[0].n_computed
            n_tokens = self._background_slice(candidates.background_prefill, terms, len(rows), room)
            if terms.thrifty:
                within_ms = min(self._settings.slice_ms, terms.most_ms or NO_BOUND_MS)
                longest = self._cost.prefill_within(within_ms, beside=0, n_max=room, start=start)
                n_tokens = max(n_tokens, longest)
            slices = _cut_slices(candidates.background_prefill, n_tokens, room)
        return self._plan(rows, slices, memory, background=True, cuttable=True)

    def _background_slice(
        self,
        prompts: Sequence[ScheduledRequest],
        terms: BackgroundTerms,
        n_rows: int,
        room: int,
    ) -> int:
        """Return how many tokens of `prompts` run in a step with `n_rows` rows."""
        first = prompts[0]
        is_only = len(prompts) == 1
        if self._cut_cost.saves and not (n_rows or is_only):
            # Only a step of one sequence may be cut, so the first prompt has a long one to itself.
            n_tokens = self._slices.pick(
                room=min(room, first.n_in_slice), start=first.n_computed, within_ms=terms.most_ms
            )
            if self._slices.is_long(n_tokens, first.n_computed):
                return n_tokens
        return self._slices.pick(
            room=min(room, first.n_in_slice) if self._cut_cost.saves and is_only else room,
            start=first.n_computed,
            within_ms=terms.most_ms,
            beside=n_rows,
            alone=is_only,
        )

    def _plan(
        self,
        rows: Sequence[ScheduledRequest],
        slices: list[PrefillSlice],
        memory: tuple[MemoryOp, ...],
        *,
        background: bool = False,
        cuttable: bool = False,
        solo_ms: float = 0.0,
        within_ms: float = 0.0,
    ) -> StepPlan:
        if slices and any(piece.scores for piece in slices):
            slices = with_bounded_scores(
                slices,
                n_decode=len(rows),
                most_rows=self._most_scored_rows,
                max_seqs=self._max_seqs,
            )
        # The class's own constructor is written in Python, and takes four times as long.
        new = tuple.__new__
        decode = tuple(
            [
                new(DecodeSlice, (entry.rid, entry.seq, at, entry.tokens.item(at)))
                for entry in rows
                for at in (entry.n_computed,)
            ]
        )
        n_prefill, prefill_cells = _tokens_and_cells(slices)
        decode_cells = cells_read(rows)
        n_padding = 0
        if self._can_pad and not decode:
            depth = sum([piece.start + piece.n_tokens for piece in slices])
            n_padding = self._cost.padding(n_prefill, prefill_cells, depth)
            if n_padding:
                prefill_cells = ATTENTION_ROWS * depth
        predicted_ms = self._cost.step_ms(
            len(decode),
            n_prefill + n_padding,
            decode_cells=decode_cells,
            prefill_cells=prefill_cells,
        )
        saves_state = cuttable and self._cut_cost.saves
        if saves_state:
            is_one = len(slices) == 1 and not decode
            cuttable = is_one and self._cut_cost.pays(predicted_ms, slices[0].start)
        return StepPlan(
            memory=memory,
            decode=decode,
            prefill=tuple(slices),
            n_padding=n_padding,
            background=background,
            cuttable=cuttable,
            saves_state=saves_state and cuttable,
            n_cells_read=decode_cells + prefill_cells,
            n_cells_prefill=prefill_cells,
            predicted_ms=predicted_ms,
            solo_ms=solo_ms,
            within_ms=within_ms,
        )


def _tokens_and_cells(slices: Sequence[PrefillSlice]) -> tuple[int, int]:
    """Return how many tokens all slices have, and how many KV cells they read."""
    n_tokens = n_cells = 0
    for piece in slices:
        n_tokens += piece.n_tokens
        n_cells += slice_cells(piece.n_tokens, piece.start)
    return n_tokens, n_cells


def _cut_slices(
    entries: Sequence[ScheduledRequest], n_tokens: int, room: int
) -> list[PrefillSlice]:
    """Cut slices of up to `n_tokens` prompt tokens, first come first served."""
    slices: list[PrefillSlice] = []
    left = min(n_tokens, room)
    for entry in entries:
        if left <= 0:
            break
        n = min(left, entry.n_in_slice)
        slices.append(prefill_slice(entry, n))
        left -= n
    return slices
