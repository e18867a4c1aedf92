"""Books a step that has run: the cells it filled, the costs it taught, its overrun, its cut.

Not: the tokens that it brought, and which requests ended with them (`scheduler`).
Pure; owner: the step thread.
"""

from collections.abc import Mapping, Sequence

from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.residency import Residency
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.latency_guard import LatencyGuard
from umad.scheduler.steps.limits import cells_read
from umad.scheduler.steps.slice_size import SlicePicker
from umad.step import DecodeSlice, GuessSlice, StepPlan, StepResult, Verified


class StepAccounting:
    """Books steps, one after another.

    entries: every live request by its rid. A request that has ended meanwhile is passed over.
    """

    def __init__(
        self,
        *,
        entries: Mapping[int, ScheduledRequest],
        residency: Residency,
        cost: CostModel,
        guard: LatencyGuard,
        slices: SlicePicker,
        guarded: frozenset[str],
    ) -> None:
        self._entries = entries
        self._residency = residency
        self._cost = cost
        self._guard = guard
        self._slices = slices
        self._guarded = guarded
        self._turn = 0

    def book(
        self, plan: StepPlan, result: StepResult, *, copied_ms: float
    ) -> tuple[ScheduledRequest, ...]:
        """Book a step that has run, wholly or in part. Return the requests whose sequences a cut
        has emptied. copied_ms: milliseconds that the background copies before it took."""
        if plan.cuttable and plan.prefill:
            self._slices.cuts.ran(result.device_ms, was_cut=result.outcome == "cut")
        if result.outcome == "done":
            self._book_done(plan, result, copied_ms)
        elif result.outcome == "cut":
            self._slices.wait.learn(result.cut_ms, plan.predicted_ms)
            return self._book_cut(plan, result)
        else:
            # llama.cpp found no cells, which the ledger is meant to make impossible. All retained
            # sequences are evicted, and the step is made again.
            for seq in [*self._residency.retained()]:
                self._residency.evict(seq)
        return ()

    def _book_done(self, plan: StepPlan, result: StepResult, copied_ms: float) -> None:
        embed = plan.embed
        carried = self._grow(plan) or copied_ms > 0
        if plan.guesses:
            self._grow_by_guesses(plan.guesses, result.verified)
        n_rows = len(plan.decode) + plan.n_guesses
        if embed is not None:
            # Beside a stream's rows, embedding is other work, however short the texts are.
            carried = carried or embed.bulk or len(plan.decode) > 0
        if plan.has_media:
            media = plan.rows or plan.encode
            carried = carried or (media is not None and media.bulk)
        # Readers felt a long node of an encoder, and the guard makes good for that.
        carried = carried or result.bulk_beside
        decode_cells = plan.n_cells_read - plan.n_cells_prefill
        # Scored rows cost more than others (`scoring`), so their steps would teach wrong costs. So
        # would a step before which the adapters were changed.
        if not (plan.switch_ms or any(piece.scores for piece in plan.prefill)):
            self._cost.learn(
                n_rows,
                plan.n_rows - n_rows + plan.n_padding,
                result.device_ms,
                decode_cells=decode_cells,
                prefill_cells=plan.n_cells_prefill,
                crowded=result.crowded,
            )
        self._guard.settle(
            solo_ms=plan.solo_ms,
            within_ms=plan.within_ms,
            step_ms=max(
                0.0, (result.felt_ms or _took_ms(plan, result) + copied_ms) - plan.switch_ms
            ),
            carried=carried,
        )
        copied = result.house is not None and result.house.copied_bytes > 0
        is_other = carried or plan.prefill or copied or plan.switch_ms or plan.has_media
        # Whatever a step carried, its rows alone would have taken no longer. If that taught
        # nothing, a time learnt beside a load would stay as long as work is carried.
        shows_less = result.felt_ms < plan.solo_ms and self._are_guarded(plan.decode)
        if plan.solo_ms and result.felt_ms and (shows_less or not is_other):
            rows_ms = result.felt_ms - plan.draft_ms
            self._cost.learn_solo(n_rows, decode_cells, rows_ms, crowded=result.crowded)
        if is_other and result.felt_ms:
            readers = self._readers(plan.decode)
            if readers:
                self._cost.bound_solo(len(readers), cells_read(readers), result.felt_ms)

    def _readers(self, rows: Sequence[DecodeSlice]) -> list[ScheduledRequest]:
        """The interactive requests of these rows that have not ended."""
        entries = [self._entries.get(row.rid) for row in rows]
        return [entry for entry in entries if entry is not None and entry.lane in self._guarded]

    def _are_guarded(self, rows: Sequence[DecodeSlice]) -> bool:
        entries = [self._entries.get(row.rid) for row in rows]
        return all(entry is None or entry.lane in self._guarded for entry in entries)

    def _grow(self, plan: StepPlan) -> bool:
        """Count the cells that were filled; return whether background work filled some."""
        background = False
        for row in plan.decode:
            entry = self._entries.get(row.rid)
            if entry is None:
                continue
            self._residency.grow(entry, 1)
            self._turn += 1
            entry.turn = self._turn
            background = background or entry.lane not in self._guarded
        for piece in plan.prefill:
            entry = self._entries.get(piece.rid)
            if entry is None:
                continue
            self._residency.grow(entry, piece.n_tokens)
            if piece.scores:
                entry.n_scored = max(entry.n_scored, piece.start + piece.n_tokens)
            background = background or entry.lane not in self._guarded
        return background

    def _grow_by_guesses(
        self, guesses: tuple[GuessSlice, ...], verified: tuple[Verified, ...]
    ) -> None:
        """Count the cells of the guesses that held, and give up those of the others."""
        for one, verdict in zip(guesses, verified, strict=True):
            entry = self._entries.get(one.rid)
            if entry is None:
                continue
            n_held = verdict.n_accepted
            if n_held:
                # They are taken in with the step's other tokens, in a moment. But cells are booked
                # together with the tokens that they hold.
                entry.tokens[one.start : one.start + n_held] = one.tokens[:n_held]
                self._residency.grow(entry, n_held)
            if n_held < len(one.tokens):
                self._residency.rolled_back(entry)

    def _book_cut(self, plan: StepPlan, result: StepResult) -> tuple[ScheduledRequest, ...]:
        lengths = dict(result.seq_lengths)
        emptied: list[ScheduledRequest] = []
        for piece in plan.prefill:
            entry = self._entries.get(piece.rid)
            if entry is None:
                continue
            length = lengths.get(piece.seq, piece.start)
            if length < piece.start:
                emptied.append(entry)
                continue
            kept = min(length - piece.start, piece.n_tokens)
            # The cut lost the last row's logits, so the last row must be computed once more; of a
            # slice that scores its prompt it lost those of every row.
            kept = max(0, min(kept, entry.n_pending - 1)) if not piece.scores else 0
            self._residency.grow(entry, kept)
            self._residency.rolled_back(entry)
        for row in plan.decode:
            entry = self._entries.get(row.rid)
            if entry is not None:
                self._residency.rolled_back(entry)
        return tuple(emptied)


def _took_ms(plan: StepPlan, result: StepResult) -> float:
    return result.device_ms + result.embed_ms + result.media_ms + plan.draft_ms
