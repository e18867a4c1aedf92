"""Holds one request as the scheduler sees it: its tokens, its place in the KV pool, its state.

Not: what the tokens mean, how they are sampled, or which client is told.
Owner: the step thread.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from umad.media_slices import RowSpan
from umad.request import FinishReason
from umad.scheduler.memory.cell_salt import Salt, salt_of
from umad.scheduler.queue.token_counters import Account
from umad.state_table import StateTable
from umad.step import Finished
from umad.units import NS_PER_MS

NEVER_NS = 2**63
# Stands for the key of parked cells where a request gets none back.
NO_CELLS = -1


class RequestState(Enum):
    """The states of a request. A paused request keeps its state and is passed over. One that is
    paused because its client does not read is the first to be preempted."""

    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"
    ENDED = "ended"


class RequestEvent(Enum):
    """The events that move a request from one state to another."""

    PLACED = "placed"
    SAMPLED = "sampled"
    PREEMPTED = "preempted"
    FINISHED = "finished"
    CANCELLED = "cancelled"


NEXT: dict[tuple[RequestState, RequestEvent], RequestState] = {
    (RequestState.WAITING, RequestEvent.PLACED): RequestState.PREFILL,
    (RequestState.PREFILL, RequestEvent.SAMPLED): RequestState.DECODE,
    (RequestState.DECODE, RequestEvent.SAMPLED): RequestState.DECODE,
    (RequestState.PREFILL, RequestEvent.PREEMPTED): RequestState.WAITING,
    (RequestState.DECODE, RequestEvent.PREEMPTED): RequestState.WAITING,
    (RequestState.PREFILL, RequestEvent.FINISHED): RequestState.ENDED,
    (RequestState.DECODE, RequestEvent.FINISHED): RequestState.ENDED,
    # It was preempted while its client was choosing a token, and that token was its last.
    (RequestState.WAITING, RequestEvent.FINISHED): RequestState.ENDED,
    (RequestState.WAITING, RequestEvent.CANCELLED): RequestState.ENDED,
    (RequestState.PREFILL, RequestEvent.CANCELLED): RequestState.ENDED,
    (RequestState.DECODE, RequestEvent.CANCELLED): RequestState.ENDED,
}


LIFE = StateTable("a scheduled request", NEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A request as the engine hands it in."""

    rid: int
    # int32 (n,): the prompt first, then the tokens generated before (a resumed stream).
    tokens: NDArray[np.int32]
    n_prompt: int
    # The most tokens beyond the prompt; those generated before count too.
    max_new_tokens: int
    lane: str
    app: str
    session: str | None = None
    # The latency cap of its app; None for the engine's.
    latency_cap: float | None = None
    # Milliseconds from now on; None for no deadline.
    deadline_ms: int | None = None
    # An opaque name. Lanes are shared by owner first, and then by app.
    owner: str = ""
    # Only requests of the same salt share prefixes.
    salt: str = ""
    # The key of the set of adapters that it runs under; "" for none.
    adapters: str = ""
    # The token of its prompt from which on they act; 0 where they act on everything.
    invoked_at: int = 0
    # Its cells are given up when it ends.
    leaves_nothing: bool = False
    # Every position of its prompt is computed with logits.
    scores_prompt: bool = False
    # How many tokens the prompt has up to the end of each of its turns, ascending and less than
    # `n_prompt`. The last one is where the generation prompt begins. The model's state is worth
    # keeping there: the next turn of the chat agrees with this one up to such a place.
    marks: tuple[int, ...] = ()
    # The runs of rows among the prompt's tokens, ascending.
    spans: tuple[RowSpan, ...] = ()
    # The engine's own work for a next turn that may come: it is charged to nobody and counted
    # nowhere.
    ahead: bool = False
    # Several of its tokens may be verified in one step (`speculation`).
    speculates: bool = False
    # Tells the tokens that alone may come next, in order, as far as they are known; None where its
    # answer is free. Only the pace depends on it.
    forced: Callable[[], tuple[int, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """What a request gets back from host memory: the cells of the positions [start, end), which
    are parked under `key`, and then the state of a checkpoint."""

    # `NO_CELLS` where all cells are in the pool and only a state is put back.
    key: int
    start: int
    end: int
    # The checkpoint whose state is put back last; None for a model without states.
    state: int | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class ScheduledRequest:
    """A live request."""

    rid: int
    # int32 (limit,): the prompt and the generated tokens; the first `n_tokens` are known.
    tokens: NDArray[np.int32]
    n_tokens: int
    n_prompt: int
    limit: int
    # The cells it needs when it runs to its limit. The last token is never computed.
    cells_at_most: int
    lane: str
    app: str
    session: str | None
    arrived_ns: int
    latency_cap: float | None = None
    # When it will be given up; `NEVER_NS` for never. The earlier deadline goes first.
    deadline_ns: int = NEVER_NS
    state: RequestState = RequestState.WAITING
    seq: int = -1
    # How many tokens have their KV in the cells of `seq`.
    n_computed: int = 0
    # How many tokens were in the cells already when it was first placed.
    n_cached: int | None = None
    paused: bool = False
    # It is paused because its client does not read; it may be preempted for any waiting request.
    gives_way: bool = False
    # When it arrived or was last preempted.
    waiting_since_ns: int = 0
    # It is not preempted before this time; 0 for no protection. A request that had to age to be
    # placed begins with `NEVER_NS`; once it has a new token, some more time is left to it.
    held_until_ns: int = 0
    # The number of its last run; the request with the lowest has waited longest.
    turn: int = 0
    # What it gets back from host memory. While it waits, this is an offer. Once it is placed, the
    # copies are under way, and none of its tokens is computed until they are done.
    restore: Restore | None = None
    # It waits while another request computes the beginning of its prompt (`queue.followers`).
    follows: bool = False
    # Until this time it waits for its session's file and is not placed; 0 for no file.
    reads_until_ns: int = 0
    owner: str = ""
    # Who may share its cells.
    salt: Salt = ""
    # The account of its app in its lane (`token_counters`).
    account: Account = field(default_factory=Account)
    # Its session was forgotten: its cells are given up when it ends.
    leaves_nothing: bool = False
    # As in `Submission`.
    ahead: bool = False
    speculates: bool = False
    forced: Callable[[], tuple[int, ...]] | None = None
    # It asks for the logits of so many of its first positions; 0 for nearly all requests.
    n_to_score: int = 0
    # Of so many of these, the logits were computed.
    n_scored: int = 0
    # Where the turns of its prompt end (`Submission.marks`).
    marks: tuple[int, ...] = ()
    # A slice of its prompt ends at this position, because the model's state is copied there; 0 for
    # no such place. The places behind it follow in `stops` (`state_saving`).
    stop: int = 0
    stops: tuple[int, ...] = ()
    # Its slice does not end at `stop`: the copy can be made when a few more tokens are computed.
    stop_is_late: bool = False
    # As in `Submission`.
    adapters: str = ""
    invoked_at: int = 0
    # As in `Submission`.
    spans: tuple[RowSpan, ...] = ()
    # How many steps it has waited for the copy at `stop`.
    n_waits: int = 0
    # After so many of its tokens the last checkpoint of its beginning was taken; 0 for none.
    kept_at: int = 0

    @classmethod
    def of(cls, admission: Submission, now_ns: int) -> "ScheduledRequest":
        """Make an entry with room for every token that the request may ever hold."""
        limit = admission.n_prompt + admission.max_new_tokens
        # A resumed stream may stand at its limit already. It still needs room for one more token.
        tokens = np.empty(max(limit, admission.tokens.size + 1), dtype=np.int32)
        tokens[: admission.tokens.size] = admission.tokens
        return cls(
            rid=admission.rid,
            tokens=tokens,
            n_tokens=admission.tokens.size,
            n_prompt=admission.n_prompt,
            limit=limit,
            cells_at_most=max(limit - 1, admission.tokens.size),
            lane=admission.lane,
            app=admission.app,
            session=admission.session,
            arrived_ns=now_ns,
            latency_cap=admission.latency_cap,
            deadline_ns=(
                NEVER_NS
                if admission.deadline_ms is None
                else now_ns + admission.deadline_ms * NS_PER_MS
            ),
            waiting_since_ns=now_ns,
            owner=admission.owner,
            salt=salt_of(admission.salt, admission.adapters, admission.invoked_at),
            adapters=admission.adapters,
            invoked_at=admission.invoked_at,
            leaves_nothing=admission.leaves_nothing,
            ahead=admission.ahead,
            speculates=admission.speculates,
            forced=admission.forced,
            # The logits of the last one are there anyway: the first token is drawn from them.
            n_to_score=admission.n_prompt - 1 if admission.scores_prompt else 0,
            marks=admission.marks,
            spans=admission.spans,
        )

    @property
    def lacks_state(self) -> bool:
        """Whether its state is still to be put back, so that its cells cannot be computed on."""
        return self.restore is not None and self.restore.state is not None

    @property
    def scores(self) -> bool:
        """Whether logits of its prompt are still to be computed. Until then it shares no prefix,
        because cells have no logits."""
        return self.n_scored < self.n_to_score

    def on(self, event: RequestEvent) -> None:
        """Move to the state that follows `event`."""
        self.state = LIFE.after(self.state, event)

    @property
    def n_pending(self) -> int:
        """How many known tokens have no computed KV yet."""
        return self.n_tokens - self.n_computed

    @property
    def n_in_slice(self) -> int:
        """The most tokens that its next slice may have."""
        end = self.n_tokens
        if self.stop > self.n_computed and not self.stop_is_late:
            end = min(self.stop, end)
        if self.invoked_at > self.n_computed:
            end = min(self.invoked_at, end)
        for span in self.spans:
            if span.end > self.n_computed:
                end = min(max(span.start, self.n_computed), end)
                break
        return end - self.n_computed

    @property
    def span(self) -> RowSpan | None:
        """The run of rows that is to be computed next; None where it is a token's turn."""
        for span in self.spans:
            if span.end > self.n_computed:
                return span if span.start <= self.n_computed else None
        return None

    @property
    def adapters_now(self) -> str:
        """The key of the set of adapters that its next tokens are computed under. Before the
        invocation of an activated adapter it is that of none."""
        return self.adapters if self.n_computed >= self.invoked_at else ""

    def finished(self, reason: FinishReason) -> Finished:
        """The report that the request has ended."""
        return Finished(
            rid=self.rid,
            reason=reason,
            prompt_tokens=self.n_prompt,
            cached_tokens=self.n_cached or 0,
            completion_tokens=self.n_tokens - self.n_prompt,
            tokens=self.tokens[: self.n_tokens],
        )
