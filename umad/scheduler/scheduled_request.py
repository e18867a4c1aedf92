"""One request as the scheduler sees it: its tokens, its place, its state.

Not: what the tokens mean, how they are sampled, who is told. Owner: the step thread.
"""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from umad.request import FinishReason
from umad.scheduler.queue.token_counters import Account
from umad.state_table import StateTable
from umad.step import Finished
from umad.units import NS_PER_MS

NEVER_NS = 2**63


class RequestState(Enum):
    """Where a request stands. A paused one keeps its state and is passed over; one that is paused
    for its reader is the first to give way."""

    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"
    ENDED = "ended"


class RequestEvent(Enum):
    """What can happen to a request."""

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
    # Preempted while its client was choosing a token, which turned out to be the last.
    (RequestState.WAITING, RequestEvent.FINISHED): RequestState.ENDED,
    (RequestState.WAITING, RequestEvent.CANCELLED): RequestState.ENDED,
    (RequestState.PREFILL, RequestEvent.CANCELLED): RequestState.ENDED,
    (RequestState.DECODE, RequestEvent.CANCELLED): RequestState.ENDED,
}


LIFE = StateTable("a scheduled request", NEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What the engine hands in.

    tokens: int32 (n,), prompt first, then tokens generated before (a resumed stream).
    max_new_tokens: tokens beyond the prompt in total; resumed ones count.
    latency_cap: of its app; None for the engine's. deadline_ms: from now on; None for none.
    leaves_nothing: its cells are given up when it ends.
    owner: whose it is, opaque; lanes are shared by owner before they are by app.
    salt: prefixes are shared among requests of one salt.
    """

    rid: int
    tokens: NDArray[np.int32]
    n_prompt: int
    max_new_tokens: int
    lane: str
    app: str
    session: str | None = None
    latency_cap: float | None = None
    deadline_ms: int | None = None
    owner: str = ""
    salt: str = ""
    leaves_nothing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """What a request gets back from host memory: positions [start, end), parked under `key`."""

    key: int
    start: int
    end: int


@dataclass(slots=True, kw_only=True, eq=False)
class ScheduledRequest:
    """A live request.

    tokens: int32 (limit,), prompt and generated tokens; the first n_tokens are known.
    cells_at_most: cells it needs when it runs to its limit; the last token is never computed.
    n_computed: tokens whose KV is in the cells of `seq`.
    n_cached: tokens that were there already when it was first placed.
    waiting_since_ns: when it arrived or was last preempted.
    held_until_ns: it is not preempted before then; 0 for at any time. One that had to age to be
    placed begins with `NEVER_NS`, and has some more time once it has a new token.
    deadline_ns: when it will be given up, `NEVER_NS` for never; the earlier goes first.
    turn: number of its last run; the lowest has waited longest.
    restore: what it gets back from host memory. While it waits, an offer; once it is placed, under
    way, and nothing of it is computed until that is done.
    reads_until_ns: until then it waits for its session's file and is not placed; 0 for none.
    account: of its app in its lane (`fairness`).
    gives_way: paused for a client that does not read: its cells are anybody's who waits.
    leaves_nothing: its session was forgotten: its cells are given up when it ends.
    """

    rid: int
    tokens: NDArray[np.int32]
    n_tokens: int
    n_prompt: int
    limit: int
    cells_at_most: int
    lane: str
    app: str
    session: str | None
    arrived_ns: int
    latency_cap: float | None = None
    deadline_ns: int = NEVER_NS
    state: RequestState = RequestState.WAITING
    seq: int = -1
    n_computed: int = 0
    n_cached: int | None = None
    paused: bool = False
    gives_way: bool = False
    waiting_since_ns: int = 0
    held_until_ns: int = 0
    turn: int = 0
    restore: Restore | None = None
    reads_until_ns: int = 0
    owner: str = ""
    salt: str = ""
    account: Account = field(default_factory=Account)
    leaves_nothing: bool = False

    @classmethod
    def of(cls, admission: Submission, now_ns: int) -> "ScheduledRequest":
        """An entry with room for every token the request may ever hold."""
        limit = admission.n_prompt + admission.max_new_tokens
        # A resumed stream may stand at its limit already; one more token still has its place.
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
            salt=admission.salt,
            leaves_nothing=admission.leaves_nothing,
        )

    def on(self, event: RequestEvent) -> None:
        """Move to the next state."""
        self.state = LIFE.after(self.state, event)

    @property
    def n_pending(self) -> int:
        """Known tokens whose KV is not computed yet."""
        return self.n_tokens - self.n_computed

    def finished(self, reason: FinishReason) -> Finished:
        """What is said of it at its end."""
        return Finished(
            rid=self.rid,
            reason=reason,
            prompt_tokens=self.n_prompt,
            cached_tokens=self.n_cached or 0,
            completion_tokens=self.n_tokens - self.n_prompt,
        )
