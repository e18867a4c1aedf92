"""Cuts the slices of interactive newcomers: picks the prompts a step reads, and how much of each.

Order (`orders`): the earliest deadline goes first, then the least left to compute. So a completion
does not wait for an agent's long prompt, which it delays by next to nothing. First come, first
served would freeze every app for as long as one of them reads. Still, one step in
`FIRST_COMES_EVERY` goes to the newcomer that came first, so that a long prompt keeps its share
however many short ones arrive.

Size: while no interactive request decodes, a slice takes `slice_ms`, or a tile where less would be
slower. Beside running streams its size is the best for first tokens and streams together
(`patience`), by what the cost model knows of this machine: mostly a short prompt is read in two or
three steps, and a long one in more of them that are shorter. No step takes longer than
`newcomer_ms`, unless the streams' own steps do, or newcomers are a crowd. No first token waits for
a part of another newcomer's prompt, unless that costs all of them less than it saves.

Not: when newcomers run at all (`composer`).
Pure; owner: the step thread.
"""

from collections.abc import Sequence

from umad.config import SchedulerSettings
from umad.scheduler.costs.step_cost import CostModel, ShapeCost, slice_cells
from umad.scheduler.costs.tiles import ATTENTION_ROWS
from umad.scheduler.queue.orders import Order
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.patience import Patience
from umad.step import PrefillSlice

FIRST_COMES_EVERY = 4
# So many times as many newcomers as running streams are a crowd.
CROWD = 2
# A prompt joins others in a step if what they wait for it is less than this share of what it saves.
# Where it is all the same, one is read after the other, and the first one is served sooner.
JOINS = 0.9


class NewcomerLine:
    """Cuts the slices of the requests that wait for their first token."""

    def __init__(
        self, *, cost: CostModel, settings: SchedulerSettings, batch_tokens: int, order: Order
    ) -> None:
        self._cost = cost
        self._settings = settings
        self._batch_tokens = batch_tokens
        self._order = order
        self._patience = Patience(settings.newcomer_ms)
        self._turns = 0

    def alone(
        self, newcomers: Sequence[ScheduledRequest], most_ms: float | None = None
    ) -> list[PrefillSlice]:
        """Cut the slices of newcomers that have the device to themselves. most_ms: how long they
        may take besides, where others wait."""
        line = self._in_turn(newcomers)
        within_ms = self._settings.slice_ms
        if most_ms is not None:
            within_ms = min(most_ms, within_ms)
        n_tokens = self._cost.prefill_within(
            within_ms, beside=0, n_max=self._batch_tokens, start=line[0].n_computed
        )
        if self._cost.tiles:
            # A slice of less than a tile takes longer per token and brings the first token no
            # sooner.
            n_tokens = max(n_tokens, ATTENTION_ROWS)
        n_tokens = min(max(1, n_tokens), self._batch_tokens)
        return self._cut(line, n_tokens, self._cost.prefill, beside=0, own_ms=0.0)

    def beside(
        self, newcomers: Sequence[ScheduledRequest], *, n_rows: int, solo_ms: float
    ) -> list[PrefillSlice]:
        """Cut the slices of newcomers beside `n_rows` running streams, whose step takes
        `solo_ms`."""
        line = self._in_turn(newcomers)
        start = line[0].n_computed
        most_ms = self._patience.most_ms(n_rows, solo_ms)
        if len(line) > CROWD * n_rows:
            # Where far more requests wait for their first token than already have it, that bound
            # would protect the few from the many (imp #1950).
            most_ms = max(most_ms, self._settings.slice_ms)
        n_most = self._cost.prefill_within(
            most_ms,
            beside=n_rows,
            n_max=self._batch_tokens - n_rows,
            start=start,
        )
        n_tokens = self._patience.slice_tokens(
            [entry.n_in_slice for entry in line],
            n_rows=n_rows,
            solo_ms=solo_ms,
            n_most=max(1, n_most),
            extra_ms=lambda n: self._cost.mixed.slice_ms(n, start, n_rows),
        )
        n_tokens = min(n_tokens, self._batch_tokens - n_rows)
        return self._cut(line, n_tokens, self._cost.mixed, beside=n_rows, own_ms=solo_ms)

    def _in_turn(self, newcomers: Sequence[ScheduledRequest]) -> list[ScheduledRequest]:
        """Return the newcomers in order, but the one that came first at the head when it is its
        turn."""
        if len(newcomers) == 1:
            return [*newcomers]
        line = sorted(newcomers, key=self._order.newcomer)
        self._turns += 1
        if self._turns % FIRST_COMES_EVERY == 0:
            first_come = min(line, key=lambda entry: entry.arrived_ns)
            line.remove(first_come)
            line.insert(0, first_come)
        return line

    def _cut(
        self,
        line: Sequence[ScheduledRequest],
        n_tokens: int,
        cost: ShapeCost,
        *,
        beside: int,
        own_ms: float,
    ) -> list[PrefillSlice]:
        """Cut slices of up to `n_tokens` of prompts. own_ms: milliseconds that one more step would
        take besides its slices."""
        slices: list[PrefillSlice] = []
        taken = n_cells = n_done = 0
        for entry in line:
            n = min(n_tokens - taken, entry.n_in_slice)
            if n <= 0:
                break
            cells = slice_cells(n, entry.n_computed)
            if n_done:
                # With this prompt in it, the step is longer for this newcomer and for the n_done
                # others whose first tokens the step brings. A step of its own costs only this
                # newcomer. A part of a prompt saves no step.
                longer_ms = cost.at(taken + n, n_cells + cells, beside)
                longer_ms -= cost.at(taken, n_cells, beside)
                saved_ms = cost.at(n, cells, beside) + (own_ms if n == entry.n_pending else 0.0)
                if (n_done + 1) * longer_ms >= JOINS * saved_ms:
                    break
            slices.append(prefill_slice(entry, n))
            taken += n
            n_cells += cells
            n_done += n == entry.n_pending
        return slices


def prefill_slice(entry: ScheduledRequest, n_tokens: int) -> PrefillSlice:
    """Return the slice of the next `n_tokens` of `entry` that are known and not yet computed."""
    end = entry.n_computed + n_tokens
    return PrefillSlice(
        rid=entry.rid,
        seq=entry.seq,
        start=entry.n_computed,
        tokens=entry.tokens[entry.n_computed : end],
        wants_logits=end == entry.n_tokens,
        scores=entry.scores,
    )
