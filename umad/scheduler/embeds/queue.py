"""Embedding requests that wait or run, and the next piece of work among them.

Texts of different requests share a slice. An input of a causal model is computed in as many slices
as it takes, its cells kept meanwhile in a context that is not the streams'; one of an encoder,
where every token looks at every other, is always whole.

A request of a guarded lane with at most `SHORT_TOKENS` is *short*: somebody waits for it, as for a
question that is to be looked up. Everything longer is *bulk* and counts as background work whatever
its lane, because an index being built must not be felt. Short ones go first, unless bulk has not
had a turn for `AGING_NS`; of either kind the one that is in the middle of an input, then what has
aged, then the higher lane, then the app served least, then the earlier.
Not: how many milliseconds a slice may take (`embed_turns`). Pure; owner: the step thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umad.errors import BadRequest
from umad.scheduler.costs.step_cost import FIRST_TRIED, ShapeCost, slice_cells
from umad.scheduler.queue.token_counters import PROMPT_WEIGHT, Account, TokenCounters
from umad.scheduler.queue.waiting_line import AGING_NS
from umad.step import EmbedPiece, EmbedSlice

# A chat's question, or a paragraph: a few steps of the streams beside it.
SHORT_TOKENS = 512
# The least context that is made, so that a longer text does not mean another one at once.
LEAST_CELLS = 512
# Rows of a prompt from whose cost that of a first slice is guessed.
LIKE_ROWS = 16
# After so many cuts in a row the next slice may not be cut: else an input that is always computed
# whole might never be done.
MOST_CUTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedShape:
    """What one decode of the embedding context may hold.

    rows: most tokens; one input of an encoder, alone, may have more. seqs: most inputs. whole: an
    input cannot be computed in pieces.
    """

    rows: int
    seqs: int
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedAdmission:
    """What the engine hands in. inputs: int32 (n,) each, none empty. owner: as of a stream."""

    call: int
    lane: str
    app: str
    inputs: tuple[NDArray[np.int32], ...]
    owner: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class _Work:
    """at: the next input; start: how much of it is computed, in `seq`, -1 for none."""

    call: int
    lane: str
    app: str
    inputs: tuple[NDArray[np.int32], ...]
    is_short: bool
    arrived_ns: int
    served_ns: int
    owner: str
    account: Account
    at: int = 0
    start: int = 0
    seq: int = -1

    @property
    def is_begun(self) -> bool:
        return self.start > 0


@dataclass(slots=True)
class _Draft:
    """A slice being made up."""

    pieces: list[EmbedPiece] = field(default_factory=list)
    n_rows: int = 0
    n_cells: int = 0
    n_read: int = 0


ONE_TEXT = EmbedShape(rows=1, seqs=1, whole=False)


def is_short(n_tokens: int, *, guarded: bool) -> bool:
    """Somebody waits for these texts: they are few, and of a guarded lane."""
    return guarded and n_tokens <= SHORT_TOKENS


class EmbedQueue:
    """Every embedding request of one engine. cost: what its slices cost, learnt; until the first
    has run, what prompts of the streams do (`like`). tokens_total: computed so far."""

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
        self.cost = ShapeCost(like.at(LIKE_ROWS) / LIKE_ROWS)
        self.tokens_total = 0

    def __len__(self) -> int:
        return len(self._works)

    @property
    def has_short(self) -> bool:
        """Somebody waits for a few texts."""
        return any(work.is_short for work in self._works.values())

    def added_to(self, waiting: dict[str, int]) -> dict[str, int]:
        """`waiting`, requests by lane, with these: what embeds waits until it is answered."""
        for work in self._works.values():
            waiting[work.lane] += 1
        return waiting

    def submit(self, admission: EmbedAdmission, now_ns: int) -> None:
        """Take a request on. Raises `BadRequest` for a lane that is not there."""
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
        """Let go of a request; whether it was there."""
        work = self._works.get(call)
        if work is None:
            return False
        if work.is_begun:
            self._drop.append(work.seq)
        self._leave(work)
        return True

    def rest(self) -> None:
        """The context is given back; nothing waits for it."""
        self._cells = 0
        self._drop.clear()

    def least_ms(self, now_ns: int) -> float:
        """What the smallest useful piece of the next slice costs."""
        first = self._order(now_ns)[0]
        n_least = first.inputs[first.at].size if self._shape.whole else 1
        return self.cost.slice_ms(n_least, first.start)

    def next(self, within_ms: float, now_ns: int, *, careful: bool) -> EmbedSlice:
        """The next slice, which takes `within_ms` if it can; at least one token or, of an encoder,
        one input. careful: what was never tried is tried in small steps. Only while there is
        work."""
        order = self._order(now_ns)
        bulk = not order[0].is_short
        self._make_room(order[0])
        most = self._rows_within(within_ms, order[0].start, careful=careful)
        draft = _Draft(n_cells=sum([work.inputs[work.at].size for work in self._begun()]))
        for work in order:
            if not self._add(draft, work, most):
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
        """A slice ran. What was cut is computed again."""
        if was_cut:
            self._cuts_in_a_row += 1
            return
        self._cuts_in_a_row = 0
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
        """All of the kind whose turn it is, the most deserving first. One that is in the middle of
        an input goes on before another is begun, so that few cells are held."""
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
        """See to it that the context can hold the first input, beside those that are begun."""
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

    def _rows_within(self, within_ms: float, start: int, *, careful: bool) -> int:
        n_max = self._cells if self._shape.whole else self._shape.rows
        if careful:
            n_max = min(n_max, max(FIRST_TRIED, self.cost.rows.next_untried()))
        return max(1, self.cost.most(within_ms, n_max, start))

    def _add(self, draft: _Draft, work: _Work, most: int) -> bool:
        """Inputs of `work` while they fit; whether there is room for more."""
        taken = {piece.seq for piece in draft.pieces} | {one.seq for one in self._begun()}
        at, start, seq = work.at, work.start, work.seq
        while at < len(work.inputs):
            tokens = work.inputs[at]
            left = most - draft.n_rows
            if len(draft.pieces) >= self._shape.seqs or (draft.pieces and left <= 0):
                return False
            n = tokens.size - start if self._shape.whole else min(tokens.size - start, left)
            if not start:
                # What is begun here may have to be held: its whole length must have its cells.
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
        return draft.n_rows < most
