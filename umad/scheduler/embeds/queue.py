"""Holds the embedding requests that wait or run, and cuts the next slice of their work.

Texts of different requests share a slice. For a causal model, an input is computed in as many
slices as it takes, and its cells stay meanwhile in a context apart from the streams'. For an
encoder, where every token looks at every other, an input is always computed whole.

A request of a guarded lane with at most `SHORT_TOKENS` is *short*: a person waits for it, as for a
question that is to be looked up. Everything else is *bulk* and counts as background work, whatever
its lane, because no user should notice that an index is being built. Short requests go first,
unless bulk has not had a turn for `AGING_NS`. Within either kind, a request in the middle of an
input goes first, then one that has aged, then the higher lane, then the app served least, then the
earlier arrival.

Not: how many milliseconds a slice may take (`embeds.turns`).
Pure; owner: the step thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umad.errors import BadRequest
from umad.scheduler.costs.step_cost import FIRST_TRIED, ShapeCost, slice_cells
from umad.scheduler.queue.app_queue import AGING_NS
from umad.scheduler.queue.token_counters import PROMPT_WEIGHT, Account, TokenCounters
from umad.step import EmbedPiece, EmbedSlice

# A chat's question, or a paragraph. It takes a few steps of the streams beside it.
SHORT_TOKENS = 512
# The smallest context that is made, so that a slightly longer text does not need a new one at once.
LEAST_CELLS = 512
# The cost of the first slice is guessed from the cost of a prompt of so many rows.
LIKE_ROWS = 16
# After so many cuts in a row the next slice may not be cut. Otherwise an input that is always
# computed whole might never be done.
MOST_CUTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedShape:
    """What one decode of the embedding context may hold."""

    # The most tokens. A single input of an encoder may have more.
    rows: int
    # The most inputs.
    seqs: int
    # An input cannot be computed in pieces.
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedAdmission:
    """An embedding request as the engine hands it in."""

    call: int
    lane: str
    app: str
    # int32 (n,) each, none empty.
    inputs: tuple[NDArray[np.int32], ...]
    # An opaque name, as in `Submission`.
    owner: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class _Work:
    """An embedding request that waits or runs."""

    call: int
    lane: str
    app: str
    inputs: tuple[NDArray[np.int32], ...]
    is_short: bool
    arrived_ns: int
    served_ns: int
    owner: str
    account: Account
    # The index of the next input.
    at: int = 0
    # How many tokens of that input are computed.
    start: int = 0
    # The sequence that holds them; -1 for none.
    seq: int = -1

    @property
    def is_begun(self) -> bool:
        return self.start > 0


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A slice that is being composed."""

    # The milliseconds and the rows that it may have.
    within_ms: float
    most_rows: int
    pieces: list[EmbedPiece] = field(default_factory=list)
    n_rows: int = 0
    n_cells: int = 0
    n_read: int = 0


ONE_TEXT = EmbedShape(rows=1, seqs=1, whole=False)


def is_short(n_tokens: int, *, guarded: bool) -> bool:
    """Whether a person waits for these texts: they are few, and their lane is guarded."""
    return guarded and n_tokens <= SHORT_TOKENS


class EmbedQueue:
    """Every embedding request of one engine.

    cost: the learnt cost of slices. Until the first has run, it is guessed from the cost of the
    streams' prompts (`like`).
    tokens_total: how many tokens were computed so far. uncut_in_a_row: how many slices of bulk ran
    since the last one that was cut.
    """

    def __init__(
        self,
        shape: EmbedShape,
        *,
        priority: Mapping[str, int],
        guarded: frozenset[str],
        like: ShapeCost,
    ) -> None:
        self._shape = shape
        self._priority = priority
        self._guarded = guarded
        self._counters = {lane: TokenCounters() for lane in priority}
        self._works: dict[int, _Work] = {}
        self._bulk_ns = 0
        self._drop: list[int] = []
        self._cells = 0
        self._cuts_in_a_row = 0
        self.uncut_in_a_row = 0
        self.cost = ShapeCost(like.at(LIKE_ROWS) / LIKE_ROWS)
        self.tokens_total = 0

    def __len__(self) -> int:
        return len(self._works)

    @property
    def has_short(self) -> bool:
        """Whether there is a short request."""
        return bool(self._works) and any(work.is_short for work in self._works.values())

    def added_to(self, waiting: dict[str, int]) -> dict[str, int]:
        """Add these requests to `waiting`, a count by lane. An embedding request counts as waiting
        until it is answered."""
        for work in self._works.values():
            waiting[work.lane] += 1
        return waiting

    def submit(self, admission: EmbedAdmission, now_ns: int) -> None:
        """Take a request on. Raises `BadRequest` for an unknown lane."""
        lane = admission.lane
        if lane not in self._priority:
            raise BadRequest(f"no lane is called {lane!r}", field="lane")
        n_tokens = sum([one.size for one in admission.inputs])
        self._works[admission.call] = _Work(
            call=admission.call,
            lane=lane,
            app=admission.app,
            inputs=admission.inputs,
            is_short=is_short(n_tokens, guarded=lane in self._guarded),
            arrived_ns=now_ns,
            served_ns=now_ns,
            owner=admission.owner,
            account=self._counters[lane].enter(admission.owner, admission.app),
        )

    def drop(self, call: int) -> bool:
        """Let go of a request; return whether it was there."""
        work = self._works.get(call)
        if work is None:
            return False
        if work.is_begun:
            self._drop.append(work.seq)
        self._leave(work)
        return True

    def rest(self) -> None:
        """Book that the context was given back, because no request needs it."""
        self._cells = 0
        self._drop.clear()

    def least_ms(self, now_ns: int) -> float:
        """Milliseconds of the smallest useful piece of the next slice."""
        first = self._order(now_ns)[0]
        n_least = first.inputs[first.at].size if self._shape.whole else 1
        return self.cost.slice_ms(n_least, first.start)

    def next(self, within_ms: float, now_ns: int, *, careful: bool) -> EmbedSlice:
        """Return the next slice, which takes `within_ms` if it can, but has at least one token or,
        for an encoder, one input. Call it only while there is work.

        careful: sizes that were never tried are tried in small steps.
        """
        order = self._order(now_ns)
        bulk = not order[0].is_short
        self._make_room(order[0])
        draft = _Draft(
            within_ms=within_ms,
            most_rows=self._most_rows(careful=careful),
            n_cells=sum([work.inputs[work.at].size for work in self._begun()]),
        )
        for work in order:
            if not self._add(draft, work):
                break
        drop, self._drop = tuple(self._drop), []
        return EmbedSlice(
            pieces=tuple(draft.pieces),
            cells=self._cells,
            drop=drop,
            n_cells_read=draft.n_read,
            bulk=bulk,
            cuttable=bulk and self._cuts_in_a_row < MOST_CUTS,
        )

    def settle(self, ran: EmbedSlice, ms: float, now_ns: int, *, was_cut: bool) -> None:
        """Book that a slice ran. A slice that was cut is computed again."""
        if was_cut:
            self._cuts_in_a_row += 1
            self.uncut_in_a_row = 0
            return
        self._cuts_in_a_row = 0
        self.uncut_in_a_row += ran.bulk
        self.cost.learn(ran.n_rows, ran.n_cells_read, ms)
        if ran.bulk:
            self._bulk_ns = now_ns
        for piece in ran.pieces:
            work = self._works[piece.call]
            work.served_ns = now_ns
            self.tokens_total += piece.tokens.size
            work.account.charge(PROMPT_WEIGHT * piece.tokens.size)
            if not piece.ends:
                work.seq, work.start = piece.seq, piece.start + piece.tokens.size
                continue
            work.at, work.start, work.seq = work.at + 1, 0, -1
            if work.at == len(work.inputs):
                self._leave(work)

    # -- inside ---------------------------------------------------------------------------------

    def _leave(self, work: _Work) -> None:
        del self._works[work.call]
        self._counters[work.lane].leave(work.owner, work.app)

    def _begun(self) -> list[_Work]:
        return [work for work in self._works.values() if work.is_begun]

    def _order(self, now_ns: int) -> list[_Work]:
        """Return all requests of the kind whose turn it is, in the order in which they are served.
        A request in the middle of an input goes on before another is begun, so that few cells are
        held."""
        works = list(self._works.values())
        short = [work for work in works if work.is_short]
        bulk = [work for work in works if not work.is_short]
        chosen = bulk if not short or (bulk and self._has_aged(bulk, now_ns)) else short

        def key(work: _Work) -> tuple[bool, bool, int, int, int, int]:
            return (
                not work.is_begun,
                now_ns - work.served_ns < AGING_NS,
                -self._priority[work.lane],
                *work.account.turn,
                work.arrived_ns,
            )

        return sorted(chosen, key=key)

    def _has_aged(self, bulk: list[_Work], now_ns: int) -> bool:
        waiting_since_ns = max(self._bulk_ns, min([work.arrived_ns for work in bulk]))
        return now_ns - waiting_since_ns >= AGING_NS

    def _make_room(self, first: _Work) -> None:
        """Make the context large enough for the first input, beside the inputs already begun."""
        n_needed = first.inputs[first.at].size
        if not self._shape.whole:
            held = [work.inputs[work.at].size for work in self._begun() if work is not first]
            n_needed += sum(held) + self._shape.rows
        if n_needed <= self._cells:
            return
        least = self._shape.rows if self._shape.whole else LEAST_CELLS
        self._cells = max(least, 1 << (n_needed - 1).bit_length())
        # The new context is empty.
        self._drop.clear()
        for work in self._begun():
            work.start, work.seq = 0, -1

    def _most_rows(self, *, careful: bool) -> int:
        most = self._cells if self._shape.whole else self._shape.rows
        if careful:
            most = min(most, max(FIRST_TRIED, self.cost.rows.next_untried()))
        return most

    def _left(self, draft: _Draft, start: int) -> int:
        """The most rows of one more text, from its token `start` on, that the draft has time for.
        Its rows read its own cells and no other text's.
        """
        low, n = 0, draft.most_rows - draft.n_rows
        high = n
        # All that there is room for is tried first: mostly there is time for it.
        while low < high:
            n_read = draft.n_read + slice_cells(n, start)
            if self.cost.at(draft.n_rows + n, n_read) <= draft.within_ms:
                low = n
            else:
                high = n - 1
            n = (low + high + 1) // 2
        return low if draft.pieces else max(1, low)

    def _add(self, draft: _Draft, work: _Work) -> bool:
        """Add inputs of `work` while they fit; return whether there is room for more."""
        taken = {piece.seq for piece in draft.pieces} | {one.seq for one in self._begun()}
        at, start, seq = work.at, work.start, work.seq
        while at < len(work.inputs):
            tokens = work.inputs[at]
            left = self._left(draft, start)
            if len(draft.pieces) >= self._shape.seqs or (draft.pieces and left <= 0):
                return False
            n = tokens.size - start if self._shape.whole else min(tokens.size - start, left)
            if not start:
                # The cells of an input that is begun here may be held until a later slice, so the
                # context must have room for its whole length.
                n_cells = draft.n_cells + tokens.size
                if draft.pieces and (n > left or n_cells > self._cells):
                    return False
                draft.n_cells = n_cells
                seq = min(set(range(self._shape.seqs + 2)) - taken)
                taken.add(seq)
            ends = start + n == tokens.size
            draft.pieces.append(
                EmbedPiece(
                    call=work.call,
                    index=at,
                    seq=seq,
                    start=start,
                    tokens=tokens[start : start + n],
                    ends=ends,
                )
            )
            draft.n_rows += n
            draft.n_read += slice_cells(n, start)
            if not ends:
                return False
            at, start = at + 1, 0
        return self._left(draft, 0) > 0
