"""Lists the requests that could run in the next step, as one immutable value.

Each rule of a plan (copies, budget, neighbours, embeddings, guard) looks at the `Candidates` and
returns a `Hold` where it keeps some of them back. `Candidates.without(hold)` is what is left. A
hold has a reason in words, so `umad ps` can say why a request does not run.

Not: requests that have no place in the pool yet (`placement` knows why they wait).
Pure; owner: the step thread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from umad.scheduler.queue.orders import Order
from umad.scheduler.scheduled_request import RequestState, ScheduledRequest


class Reason(Enum):
    """A reason why a request does not run now, as `umad ps` prints it."""

    # It has no place in the pool yet.
    NO_CELLS = "no cells"
    NO_NUMBER = "as many run as may at once"
    APP_LINE = "behind {n} of its app"
    OLDER_REQUEST = "behind an older request"
    COPIES_OUT = "cells are being copied out"
    SESSION_FILE = "its session is being read from disk"
    SAME_PROMPT = "the same prompt is being read"
    # It has a place in the pool, but is not computed.
    ADAPTERS = "another adapter's turn"
    COPIES_BACK = "its cells are being copied back"
    CLIENT = "its client"
    BUDGET = "budget"
    NEIGHBOUR = "another model is busy"
    COPIES = "copies take its turn"
    EMBEDDINGS = "embeddings take its turn"
    MEDIA = "an image or sound is read"
    GUARD = "guard"
    NEWCOMERS = "a prompt of an interactive request"
    # Its prompt is read in slices, so that they go on meanwhile.
    STREAMS_BESIDE = "{n} streams beside its prompt"
    STREAMS = "interactive requests run"
    FULL_STEP = "the step is full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The candidates that one rule keeps out of the next step, and the rule's reason."""

    reason: Reason
    # Prompts of interactive requests wait.
    newcomers: bool = False
    # Background rows and prompts wait.
    background: bool = False
    # Background rows that run in spite of `background`.
    riders: tuple[ScheduledRequest, ...] = ()
    # Bulk embedding work waits.
    embeds: bool = False
    # These background prompts wait, whatever happens to others.
    prompts: tuple[ScheduledRequest, ...] = ()
    # These requests wait, whatever happens to others.
    others: frozenset[ScheduledRequest] = frozenset()
    # Milliseconds after which background work may run, where nothing else does; 0 for unknown.
    wait_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Requests that could run now. Each group stands in the order in which it is served."""

    # Interactive requests that have a token to decode.
    decode: tuple[ScheduledRequest, ...] = ()
    # Interactive requests whose prompts are not read yet (newcomers).
    prefill: tuple[ScheduledRequest, ...] = ()
    background_decode: tuple[ScheduledRequest, ...] = ()
    background_prefill: tuple[ScheduledRequest, ...] = ()
    # Requests of which rows of a medium come next; they are in no other group.
    media: tuple[ScheduledRequest, ...] = ()
    background_media: tuple[ScheduledRequest, ...] = ()
    # There is bulk embedding work.
    embeds: bool = False

    @property
    def has_interactive(self) -> bool:
        """Whether some interactive request could run."""
        return bool(self.decode or self.prefill)

    @property
    def has_background(self) -> bool:
        """Whether some background request could run; embeddings do not count."""
        return bool(self.background_decode or self.background_prefill)

    def without(self, hold: Hold | None) -> "Candidates":
        """Return these candidates without those that `hold` keeps back."""
        if hold is None:
            return self
        held = self
        if hold.newcomers and held.prefill:
            held = replace(held, prefill=())
        if hold.newcomers and held.media:
            held = replace(held, media=())
        if hold.background and held.background_media:
            held = replace(held, background_media=())
        if hold.background and held.has_background:
            held = replace(held, background_decode=hold.riders, background_prefill=())
        if hold.prompts and held.background_prefill:
            left = [entry for entry in held.background_prefill if entry not in hold.prompts]
            held = replace(held, background_prefill=tuple(left))
        if hold.embeds and held.embeds:
            held = replace(held, embeds=False)
        return held


def candidates_of(
    running: Iterable[ScheduledRequest],
    *,
    guarded: frozenset[str],
    priority: Mapping[str, int],
    order: Order,
    embeds: bool = False,
) -> Candidates:
    """Return every placed request that could run now.

    Background requests stand in `order`; interactive ones in the order in which they were placed.
    """
    decode: list[ScheduledRequest] = []
    prefill: list[ScheduledRequest] = []
    background_decode: list[ScheduledRequest] = []
    background_prefill: list[ScheduledRequest] = []
    media: list[ScheduledRequest] = []
    background_media: list[ScheduledRequest] = []
    decoding = RequestState.DECODE
    for entry in running:
        if entry.paused or entry.restore is not None:
            continue
        if entry.spans and entry.span is not None:
            (media if entry.lane in guarded else background_media).append(entry)
            continue
        if entry.lane in guarded:
            (decode if entry.state is decoding else prefill).append(entry)
        elif entry.state is decoding:
            background_decode.append(entry)
        else:
            background_prefill.append(entry)
    for group in (background_prefill, background_decode, background_media):
        if len(group) > 1:
            group.sort(key=lambda entry: order.background(entry, priority[entry.lane]))
    return Candidates(
        decode=tuple(decode),
        prefill=tuple(prefill),
        background_decode=tuple(background_decode),
        background_prefill=tuple(background_prefill),
        media=tuple(media),
        background_media=tuple(background_media),
        embeds=embeds,
    )
