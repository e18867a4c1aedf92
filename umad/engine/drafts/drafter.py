"""Carries out what a draft model is asked: reads texts, and guesses tokens behind them.

The guesses of all streams are computed together: a decode has a row of each, and the likeliest
token behind each is its guess and the next decode's row. Where mail comes meanwhile, it stops: what
was guessed by then is used, and nobody waits for more.

Not: when it guesses (`umad.scheduler.speculation.drafting`). Owner: the step thread.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from umad.draft_slices import DraftCall, DraftDone, Drafted, DraftOrder
from umad.engine.drafts.held_texts import HeldTexts, Share
from umad.engine.facts import StepTraffic
from umad.scheduler.costs.step_cost import CostModel
from umad.units import NS_PER_MS

log = logging.getLogger("umad.engine")


class DraftRows(NamedTuple):
    """Tokens of one sequence to be computed from position `start` on."""

    seq: int
    start: int
    # int32 (n,).
    tokens: NDArray[np.int32]
    # The likeliest token behind them is asked for.
    guesses: bool


class DraftFailed(Exception):
    """A decode of a draft failed. Its pool is in no known state."""


class DraftContext(Protocol):
    """What computes for a draft. On the step thread; `decode` takes as long as it takes."""

    # Tokens from this number on are unknown to it.
    n_vocab: int
    n_seqs: int
    n_cells: int
    # The most tokens of one decode.
    batch_tokens: int

    def decode(self, rows: Sequence[DraftRows]) -> list[int]:
        """Compute rows; return the likeliest token behind each that asks for it, in their order.
        Raises `DraftFailed`.
        """
        ...

    def trim(self, seq: int, keep: int) -> None:
        """Give up the cells of `seq` from position `keep` on."""
        ...

    def copy(self, source: int, target: int, n: int) -> None:
        """Share the cells of positions [0, n) of `source` with the empty sequence `target`."""
        ...

    def clear(self) -> None:
        """Empty the pool."""
        ...


class OpenDraft(Protocol):
    """A draft model that is ready."""

    context: DraftContext
    # The bytes that its decodes move.
    traffic: StepTraffic
    # What they cost, as far as it is known.
    cost: CostModel


@dataclass(slots=True, eq=False)
class _Work:
    """One order under way."""

    order: DraftOrder
    seq: int
    n_held: int
    # What the next decode computes of it; empty once it is done.
    tokens: NDArray[np.int32]
    guesses: list[int] = field(default_factory=list)


class Drafter:
    """The draft of one engine. traffic: of its decodes. n_target: tokens that its target knows."""

    def __init__(
        self,
        context: DraftContext,
        *,
        traffic: StepTraffic,
        n_target: int,
        now_ns: Callable[[], int],
    ) -> None:
        self._context = context
        self._texts = HeldTexts(context.n_seqs, context.n_cells)
        self._traffic = traffic
        self._n_vocab = min(n_target, context.n_vocab)
        self._now_ns = now_ns
        self._calls: list[DraftCall] = []
        self._bytes = 0
        self._has_failed = False

    def run(self, orders: Sequence[DraftOrder], is_wanted: Callable[[], bool]) -> DraftDone:
        """Carry orders out. is_wanted: asked before each guess but the first; False ends it."""
        began_ns = self._now_ns()
        self._calls, self._bytes = [], 0
        try:
            drafted = [] if self._has_failed else self._carried_out(orders, is_wanted)
        except DraftFailed as failure:
            # Its guesses were only a help: the target goes on without.
            log.warning("the draft failed, and guesses nothing any more: %s", failure)
            self._has_failed = True
            drafted = []
        if self._has_failed:
            drafted = [Drafted(order.rid, -1) for order in orders]
        return DraftDone(
            drafted=tuple(drafted),
            calls=tuple(self._calls),
            ms=(self._now_ns() - began_ns) / NS_PER_MS,
            bytes_moved=self._bytes,
        )

    def clear(self) -> None:
        """Give up all that was read."""
        self._texts.clear()
        self._tell()

    def _carried_out(
        self, orders: Sequence[DraftOrder], is_wanted: Callable[[], bool]
    ) -> list[Drafted]:
        work = [self._begun(order) for order in orders]
        placed = [one for one in work if one is not None]
        needs = {one.seq: one.tokens.size + max(0, one.order.n_guesses - 1) for one in placed}
        has_room = len(needs) == len(placed) and self._texts.make_room(needs)
        self._tell()
        if has_room:
            while left := [one for one in placed if one.tokens.size]:
                if any(one.guesses for one in left) and not is_wanted():
                    break
                self._decode(left)
        told = {
            one.order.rid: Drafted(one.order.rid, one.n_held, tuple(one.guesses))
            for one in placed
            if has_room
        }
        return [told.get(order.rid, Drafted(order.rid, -1)) for order in orders]

    def _begun(self, order: DraftOrder) -> _Work | None:
        """The work of an order; None where the draft does not know its tokens."""
        seq, n_held = self._texts.place(order.rid, order.tokens, order.salt)
        unread = order.tokens[n_held:]
        if unread.max() >= self._n_vocab or unread.min() < 0:
            return None
        if not order.n_guesses:
            unread = unread[: min(order.most_read, unread.size - 1)]
        elif unread.size > order.most_read:
            unread = unread[:0]
        return _Work(order, seq, n_held, unread)

    def _decode(self, work: Sequence[_Work]) -> None:
        """Compute the tokens of each, as many as a decode has room for."""
        rows: list[DraftRows] = []
        room = self._context.batch_tokens
        for one in work:
            tokens = one.tokens[:room]
            if not tokens.size:
                break
            room -= tokens.size
            guesses = one.order.n_guesses > 0 and tokens.size == one.tokens.size
            rows.append(DraftRows(one.seq, one.n_held, tokens, guesses))
        began_ns = self._now_ns()
        found = iter(self._context.decode(rows))
        self._count(rows, (self._now_ns() - began_ns) / NS_PER_MS)
        for one, row in zip(work, rows, strict=False):
            self._texts.grew(one.seq, row.tokens)
            one.n_held += row.tokens.size
            one.tokens = one.tokens[row.tokens.size :]
            if row.guesses:
                token = next(found)
                if token < self._n_vocab:
                    one.guesses.append(token)
                    if len(one.guesses) < one.order.n_guesses:
                        one.tokens = np.array([token], np.int32)

    def _count(self, rows: Sequence[DraftRows], ms: float) -> None:
        counts = [0, 0, 0, 0]
        for row in rows:
            n, at = row.tokens.size, 0 if row.guesses else 2
            counts[at] += n
            counts[at + 1] += sum(range(row.start + 1, row.start + n + 1))
        n_rows, n_row_cells, n_tokens, n_token_cells = counts
        self._calls.append(DraftCall(n_rows, n_row_cells, n_tokens, n_token_cells, ms))
        self._bytes += self._traffic.moved(
            n_rows=n_rows + n_tokens,
            n_cells_read=n_row_cells + n_token_cells,
            n_logit_rows=sum([row.guesses for row in rows]),
        )

    def _tell(self) -> None:
        for one in self._texts.take_operations():
            if isinstance(one, Share):
                self._context.copy(*one)
            else:
                self._context.trim(*one)
