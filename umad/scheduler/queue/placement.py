"""Lets waiting requests into the KV pool, and preempts others for them.

Requests that have aged come first, then higher lanes, then the owner and app served least, then the
earliest arrival (`waiting_line`). For a request that does not fit, others are preempted if that
helps: first those whose clients do not read, then those of lower lanes. Cells that must be evicted
for it are copied to host memory first, where that is worth it (`parking`).

Not: what a step is made of (`composer`).
Pure; owner: the step thread.
"""

from collections.abc import Mapping
from enum import Enum

from umad.scheduler.memory.end_saving import EndSaver
from umad.scheduler.memory.parking import Parker
from umad.scheduler.memory.residency import Residency
from umad.scheduler.memory.restoring import Restorer
from umad.scheduler.memory.state_saving import StateSaver
from umad.scheduler.queue.app_queue import AGING_NS
from umad.scheduler.queue.followers import Followers
from umad.scheduler.queue.orders import Order
from umad.scheduler.queue.token_counters import PROMPT_WEIGHT
from umad.scheduler.queue.waiting_line import WaitingLine
from umad.scheduler.scheduled_request import (
    NEVER_NS,
    RequestEvent,
    RequestState,
    ScheduledRequest,
)

# An aged request that has still found no place after this long holds back younger ones.
BLOCKING_NS = 3 * AGING_NS
# A shorter prompt is not worth keeping: a CPU computes it again within a second, while 8,000 kept
# cells of such prompts cost all streams 7 to 10 % of their speed (0.5B model, 2 cores, 1 and 8
# streams).
SHORT_TOKENS = 256
# While others run, so many requests that do not fit are tried for one plan. With a thousand apps in
# line a plan would take hundreds of milliseconds otherwise. Those behind them are tried when one of
# these has its place.
MOST_TRIES = 8


class Tried(Enum):
    """The outcome of one try to place a request."""

    PLACED = "placed"
    AFTER_COPIES = "after copies"  # it fits once the cells in its way have been copied
    NO_ROOM = "no room"
    FOLLOWS = "follows"  # another request computes the beginning of its prompt


class Placer:
    """Moves requests from the waiting line into the pool."""

    def __init__(
        self,
        *,
        residency: Residency,
        parker: Parker,
        restorer: Restorer,
        states: StateSaver,
        ends: EndSaver,
        waiting: WaitingLine,
        followers: Followers,
        priority: Mapping[str, int],
        guarded: frozenset[str],
        leaves_soon: bool,
        order: Order,
    ) -> None:
        self._residency = residency
        self._parker = parker
        self._restorer = restorer
        self._states = states
        self._ends = ends
        self._waiting = waiting
        self._followers = followers
        self._priority = priority
        self._guarded = guarded
        self._leaves_soon = leaves_soon
        self._order = order
        # The outcome of the last try for each request that was tried and has no place.
        self._outcomes: dict[int, Tried] = {}
        self.outcomes: Mapping[int, Tried] = self._outcomes
        # Every sequence number is taken, and no running request can be preempted for a waiting one.
        self.lacks_number = False
        self._running: dict[int, ScheduledRequest] = {}
        # In the order in which they were placed, which is the order in which prompts are computed.
        self.running: Mapping[int, ScheduledRequest] = self._running
        # Something has changed since a request was tried that did not fit.
        self.may_place = True
        # The lowest priority among the running requests that may be preempted, when `place` last
        # looked at them. A waiting request that is not above it cannot preempt a lower lane.
        self._lowest_lane = 0
        # At the same look, some request ran whose client does not read.
        self._anybody_gives_way = False
        # The running requests whose prompts were being read then.
        self._prefilling: list[ScheduledRequest] = []
        self._highest = max(priority.values())
        # Requests whose prompts were counted when they were placed, with a state that was still to
        # be put back.
        self._counted: set[int] = set()
        self.preemptions = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.media_shared = 0

    def leave(self, entry: ScheduledRequest, *, keep: bool) -> None:
        """Take an ended request out of the pool. keep: its cells stay as a prefix until another
        request needs them."""
        if keep and not entry.leaves_nothing:
            self._ends.leaves(entry)
            self._residency.retain(entry, passing=self._leaves_soon and self._is_passing(entry))
        else:
            self._residency.release(entry)
        self._restorer.forget(entry)
        self._counted.discard(entry.rid)
        del self._running[entry.rid]

    def _is_passing(self, entry: ScheduledRequest) -> bool:
        """Whether its cells are to be kept only until its app's next request: after that, every
        row's scan past them costs more than they are worth."""
        if entry.session is not None:
            return False
        return entry.lane not in self._guarded or entry.n_computed < SHORT_TOKENS

    def let_followers_go(self) -> bool:
        """End the waits of requests that followed another one; whether one ended."""
        return len(self._followers) > 0 and self._followers.let_go(self._running)

    def place(self, now_ns: int) -> None:
        """Place every waiting request that can be placed now."""
        awaits_copies = self._place_some(now_ns)
        while awaits_copies is None:
            awaits_copies = self._place_some(now_ns)
        # Time alone makes none of those fit that were tried, unless a running request may not be
        # preempted yet and will be later.
        self.may_place = awaits_copies or any(
            now_ns < entry.held_until_ns and self._priority[entry.lane] < self._highest
            for entry in self._running.values()
        )

    def _place_some(self, now_ns: int) -> bool | None:
        """Offer heads a place. Whether one waits until cells have been copied; None where a request
        was preempted, so that others may fit in what it left."""
        awaits_copies, n_tries, preemptions = False, 0, self.preemptions
        self._outcomes.clear()
        if not self._look_around(now_ns):
            return False  # no request could be placed, whichever waits
        for entry in self._waiting.heads(now_ns):
            if awaits_copies and entry.lane not in self._guarded:
                # Room is being made for another request. One that came in now would be preempted
                # again.
                continue
            tried = Tried.NO_ROOM
            can_preempt = self._can_preempt(entry)
            if can_preempt or self._may_fit(entry):
                tried = self._try_to_place(entry)
            if tried is Tried.NO_ROOM and can_preempt:
                tried = self._make_way(entry, now_ns)
            if tried is Tried.PLACED:
                self._enter(entry, now_ns)
                if self.preemptions != preemptions:
                    return None
                if not self._look_around(now_ns):
                    break
                continue
            if tried is Tried.FOLLOWS:
                continue  # the next request of its app is offered a place
            self._outcomes[entry.rid] = tried
            n_tries += 1
            if tried is Tried.AFTER_COPIES:
                awaits_copies = True
                if entry.lane in self._guarded:
                    break
            elif now_ns - entry.waiting_since_ns >= BLOCKING_NS or (
                n_tries >= MOST_TRIES and self._others_run()
            ):
                break
        return awaits_copies

    def _look_around(self, now_ns: int) -> bool:
        """Look at what runs. Whether a request could be placed at all, whichever waits."""
        prefill = RequestState.PREFILL
        lanes: set[str] = set()
        self._prefilling.clear()
        self._anybody_gives_way = False
        for one in self._running.values():
            if now_ns >= one.held_until_ns or one.paused:
                lanes.add(one.lane)
            if one.state is prefill:
                self._prefilling.append(one)
            if one.gives_way:
                self._anybody_gives_way = True
        self._lowest_lane = min([self._priority[lane] for lane in lanes], default=self._highest)
        self.lacks_number = (
            not self._residency.has_number
            and self._lowest_lane >= self._highest
            and not self._anybody_gives_way
        )
        return not self.lacks_number

    def _can_preempt(self, entry: ScheduledRequest) -> bool:
        return self._priority[entry.lane] > self._lowest_lane or self._anybody_gives_way

    def _may_fit(self, entry: ScheduledRequest) -> bool:
        """A quick look: False where `entry` does not fit even if it shares all that it can."""
        least_cells = entry.cells_at_most - entry.n_tokens + 1
        return self._residency.has_number and least_cells <= self._residency.spare_cells

    def _others_run(self) -> bool:
        """Whether there will be another plan soon, whatever is placed now."""
        return any(not one.paused for one in self._running.values())

    def _try_to_place(self, entry: ScheduledRequest) -> Tried:
        """Place `entry` if it fits without preempting another request."""
        entry.restore = self._restorer.offer(entry)
        if self._follows(entry):
            return Tried.FOLLOWS
        if not self._residency.could_fit(entry):
            return Tried.NO_ROOM
        evictions = self._residency.evictions(entry) if self._parker.has_room else ()
        if evictions and self._parker.copies_first(
            evictions,
            guarded=entry.lane in self._guarded,
            keep=None if entry.restore is None else entry.restore.key,
        ):
            return Tried.AFTER_COPIES
        return Tried.PLACED if self._residency.place(entry) else Tried.NO_ROOM

    def _follows(self, entry: ScheduledRequest) -> bool:
        """Let `entry` wait for another request if that brings it further. Whether it waits."""
        if not self._prefilling:
            return False
        n_known = self._residency.longest_prefix(entry)[1]
        if entry.restore is not None:
            n_known = max(n_known, entry.restore.end)
        found = self._followers.leader_of(entry, self._prefilling, n_known=n_known)
        if found is None:
            return False
        self._followers.follow(entry, *found)
        return True

    def _make_way(self, entry: ScheduledRequest, now_ns: int) -> Tried:
        """Preempt other requests for `entry`, if that places it.

        Requests that are paused because their client does not read go first, whatever their lane,
        then those of lower lanes. Within each group `Order.gives_way` decides: in the fair order
        the youngest of the lowest lane goes first.
        """
        priority = self._priority[entry.lane]
        victims = [
            other
            for other in self._running.values()
            if other.gives_way
            or (
                self._priority[other.lane] < priority
                and (other.paused or now_ns >= other.held_until_ns)
            )
        ]
        if not victims or not self._residency.could_fit(entry, tuple(victims)):
            return Tried.NO_ROOM
        victims.sort(
            key=lambda other: (
                not other.gives_way,
                *self._order.gives_way(other, self._priority[other.lane]),
            )
        )
        for victim in victims:
            self._preempt(victim, now_ns)
            tried = self._try_to_place(entry)
            if tried is not Tried.NO_ROOM:
                return tried
        return Tried.NO_ROOM

    def _preempt(self, victim: ScheduledRequest, now_ns: int) -> None:
        victim.on(RequestEvent.PREEMPTED)
        if victim.leaves_nothing:
            self._residency.release(victim)
        else:
            self._residency.retain(victim)
        self._restorer.forget(victim)
        self._counted.discard(victim.rid)
        del self._running[victim.rid]
        victim.n_computed = 0
        victim.waiting_since_ns = now_ns
        self._waiting.add(victim)
        self.preemptions += 1

    def put_back(self, entry: ScheduledRequest) -> None:
        """Put a running request whose cells or state could not be restored back into the line. It
        keeps its age, and nothing counts as saved by what it did not get."""
        entry.on(RequestEvent.PREEMPTED)
        self._residency.release(entry)
        del self._running[entry.rid]
        entry.n_computed = 0
        if entry.rid in self._counted:
            self._counted.discard(entry.rid)
            self._count(entry, -1)
            self._waiting.reorder()
            entry.n_cached = None
        self._waiting.add(entry)
        self.may_place = True

    def _enter(self, entry: ScheduledRequest, now_ns: int) -> None:
        self._waiting.remove(entry)
        entry.on(RequestEvent.PLACED)
        has_aged = now_ns - entry.waiting_since_ns >= AGING_NS
        entry.held_until_ns = NEVER_NS if has_aged else 0
        self._running[entry.rid] = entry
        self._restorer.begin(entry)
        self._states.enter(entry)
        if entry.n_cached is None:
            known = entry.n_computed if entry.restore is None else entry.restore.end
            entry.n_cached = min(known, entry.n_prompt)
            self._count(entry, 1)
            if entry.restore is not None and entry.restore.state is not None:
                self._counted.add(entry.rid)

    def _count(self, entry: ScheduledRequest, times: int) -> None:
        """Count the prompt of `entry`: once, or with -1 once less."""
        if entry.ahead:
            return
        n_cached = entry.n_cached or 0
        self.prompt_tokens += times * entry.n_prompt
        self.cached_tokens += times * n_cached
        self.media_shared += times * sum(span.end <= n_cached for span in entry.spans)
        entry.account.charge(times * PROMPT_WEIGHT * (entry.n_prompt - n_cached))
