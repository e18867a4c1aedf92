"""Decides where a model's states are copied to host memory, and has that done.

    enter(entry)      says at which places of its prompt a request's state is to be copied
    next_ops          the copies of the next step, within the milliseconds the step has for them
    wants_end(…)      whether the state at the end of a sequence is worth a copy before eviction
    settle            books whether those copies were made

A state is true at the end of its sequence only. So a slice of a prompt ends where a copy is due,
and the copy is made before the next slice. Windows still hold what they held a few tokens ago. So
where the state is that of windows alone, a copy that is due just before the prompt's end is made
after it, and the first token does not wait for a step of a few tokens. Copies are due
- at the ends of a chat's turns: the chat's next request agrees with this one up to such a place;
- where a prompt leaves what other sequences hold: a third request may leave it there too;
- every so many tokens of a long prompt.
A copy is made only where computing the tokens since the checkpoint before it would take longer, by
a margin, than the copy and the step that is cut short for it. An interactive prompt never waits for
a copy: it goes on without one. A background prompt waits.

Not: which checkpoints are kept (`checkpoints`), which request begins from which (`restoring`).
Pure; owner: the step thread.
"""

from collections.abc import Container, Iterable

import numpy as np
from numpy.typing import NDArray

from umad.scheduler.costs.copy_cost import WORTH, CopyCost
from umad.scheduler.media.cells import has_folded
from umad.scheduler.memory.cell_salt import Salt
from umad.scheduler.memory.checkpoints import Checkpoints
from umad.scheduler.memory.parked_store import ParkedStore, ParkShape
from umad.scheduler.memory.prefix_index import KEY_TOKENS
from umad.scheduler.memory.purse import Purse
from umad.scheduler.memory.residency import Residency
from umad.scheduler.memory.windows import Beginnings
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.step import HouseKept, StateSave

# Between turns, checkpoints of a long prompt are as far apart as takes as much memory as the cells
# between them, within these bounds.
LEAST_SPACING = 512
MOST_SPACING = 8192
# The spacing for a model that has no cells to compare with.
PLAIN_SPACING = 2048
# Of a chat's turns, the first and so many of the last ones have checkpoints, whatever their length.
# The others have them only as far apart as the checkpoints of any long prompt.
LATEST_MARKS = 4
# A slice that ends early for a copy adds a step, which the first token waits for. Computing the
# tokens that the copy saves must take so many times as long.
STEP_WORTH = 8.0
# A background prompt waits for its copy for so many steps at most, and a late copy for its turn.
MOST_WAITS = 100
# A copy may be late if at most so many tokens of the prompt lie behind its place. Behind more of
# them, the windows may have lost what they held there.
MOST_LATE_TOKENS = 64
# It is late in any case if so few lie behind it: those that a template writes before an answer.
TAIL_TOKENS = 16
# A late copy is made in the steps of the answer, so there must be some.
LEAST_ANSWER_TOKENS = 8
# After so many failures no more copies are made. They would go on failing, and computing the tokens
# again is just as correct.
MOST_FAILURES = 3


class StateSaver:
    """Has the states of one engine's sequences copied."""

    def __init__(
        self,
        *,
        checkpoints: Checkpoints,
        store: ParkedStore,
        residency: Residency,
        copying: CopyCost,
        windows: Beginnings | None = None,
    ) -> None:
        """windows: of a model whose states are those of windows alone; None for any other."""
        self._checkpoints = checkpoints
        self._store = store
        self._residency = residency
        self._copying = copying
        self._windows = windows
        self._spacing = spacing_of(store.shape)
        # The checkpoints that the plan under way makes, and whether each is late.
        self._saving: dict[int, bool] = {}
        self._failures = 0

    @property
    def is_on(self) -> bool:
        """Whether the model has states that can be copied, and copies have not failed too often."""
        return self._checkpoints.state_bytes > 0 and self._failures < MOST_FAILURES

    @property
    def may_be_late(self) -> bool:
        """Whether some copies are made after the prompt they belong to."""
        return self._windows is not None

    # -- prompts --------------------------------------------------------------------------------

    def enter(self, entry: ScheduledRequest) -> None:
        """Choose where the state of a request that was just placed is copied."""
        entry.stops, entry.stop = (), 0
        if not self.is_on:
            return
        start = entry.n_computed if entry.restore is None else entry.restore.end
        leaves_at = self._residency.longest_cells(entry)[1]
        entry.stops = stops_of(entry, start=start, leaves_at=leaves_at, spacing=self._spacing)
        if entry.spans and has_folded(entry.tokens[: entry.n_tokens]):
            # A state is looked at by its positions, of which some images have fewer than cells.
            entry.stops = tuple(one for one in entry.stops if one <= entry.spans[0].start)
        hits = self._checkpoints.hits(entry)
        entry.kept_at = max([one.n_tokens for one in hits if one.n_tokens <= start], default=0)
        self._next_stop(entry)

    def _next_stop(self, entry: ScheduledRequest) -> None:
        """Let `entry` stop at the next place where a copy is worth it."""
        entry.stop = entry.n_waits = 0
        while entry.stops:
            place, entry.stops = entry.stops[0], entry.stops[1:]
            if self._checkpoints.has(entry.tokens[:place], entry.salt):
                entry.kept_at = place
                continue
            since, n_behind = entry.kept_at, entry.n_tokens - place
            may_be_late = self._may_be_late(entry, place)
            if not (may_be_late and n_behind <= TAIL_TOKENS) and self._is_worth(
                place, since=since, ends_slice=place > entry.n_computed
            ):
                entry.stop, entry.stop_is_late = place, place < entry.n_computed
                return
            if may_be_late and self._is_worth(place, since=since, ends_slice=False):
                entry.stop, entry.stop_is_late = place, True
                return

    def _may_be_late(self, entry: ScheduledRequest, place: int) -> bool:
        """Whether the copy that is due at `place` may be made after the rest of the prompt."""
        return (
            self._windows is not None
            and entry.n_tokens - place <= MOST_LATE_TOKENS
            and entry.limit - entry.n_tokens >= LEAST_ANSWER_TOKENS
        )

    def _is_worth(self, n_tokens: int, *, since: int, ends_slice: bool) -> bool:
        """Whether computing the tokens from `since` to `n_tokens` in a step that runs anyway takes
        longer, by a margin, than the copy and, where a slice ends early for it, the step that this
        adds."""
        if n_tokens - since < KEY_TOKENS:
            return False
        step_ms = self._copying.step_ms
        saves_ms = self._copying.rebuild_ms(n_tokens - since, start=since) - step_ms
        pays_ms = WORTH * self._copying.bytes_ms(self._checkpoints.state_bytes)
        return saves_ms > (pays_ms + STEP_WORTH * step_ms if ends_slice else pays_ms)

    def next_ops(
        self,
        prompts: Iterable[ScheduledRequest],
        *,
        guarded: Container[str],
        newcomer: Purse,
        background: Purse,
    ) -> tuple[list[StateSave], tuple[ScheduledRequest, ...]]:
        """Return the copies of the next step, and the background prompts that wait for theirs.

        prompts: with those that are read and have a late copy to come.
        """
        ops: list[StateSave] = []
        waiting: list[ScheduledRequest] = []
        for entry in prompts:
            is_guarded = entry.lane in guarded
            purse = newcomer if is_guarded else background
            while entry.stop and entry.n_computed >= entry.stop:
                can_save = self._can_save(entry)
                waits = entry.stop_is_late or not is_guarded
                if can_save and waits and not self.affords(purse):
                    entry.n_waits += 1
                    if entry.n_waits < MOST_WAITS:
                        if not entry.stop_is_late:
                            waiting.append(entry)
                        break
                if can_save and self.affords(purse):
                    one = self.save(
                        entry.tokens[: entry.stop],
                        seq=entry.seq,
                        salt=entry.salt,
                        owner=entry.owner,
                        session=entry.session,
                        purse=purse,
                        is_late=entry.n_computed > entry.stop,
                    )
                    if one is not None:
                        ops.append(one)
                        entry.kept_at = entry.stop
                self._next_stop(entry)
        return ops, tuple(waiting)

    def _can_save(self, entry: ScheduledRequest) -> bool:
        """Whether the state at the place where `entry` is to be copied is there, and worth it."""
        return (
            self.is_on
            and self._still_has(entry)
            and not entry.leaves_nothing
            and not self._residency.is_being_cut(entry.seq)
            # What a copy costs may have been learnt since the stop was chosen.
            and self._is_worth(entry.stop, since=entry.kept_at, ends_slice=False)
        )

    def _still_has(self, entry: ScheduledRequest) -> bool:
        """Whether the state there has not been lost."""
        if entry.n_computed == entry.stop or self._windows is None:
            return entry.n_computed == entry.stop
        return self._windows.can_share(entry.seq, entry.stop)

    # -- ends of sequences ----------------------------------------------------------------------

    def wants_end(self, tokens: NDArray[np.int32], salt: Salt) -> bool:
        """Whether the state after all of `tokens` is worth a copy, and has none yet."""
        if not self.is_on or tokens.size < KEY_TOKENS or has_folded(tokens):
            return False
        chain = self._checkpoints.of(tokens, salt)
        since = chain[-1].n_tokens if chain else 0
        return since < tokens.size and self._is_worth(tokens.size, since=since, ends_slice=False)

    def save(
        self,
        tokens: NDArray[np.int32],
        *,
        seq: int,
        salt: Salt,
        owner: str,
        session: str | None,
        purse: Purse,
        is_late: bool = False,
    ) -> StateSave | None:
        """Have the state of `seq` after `tokens` copied. Return None where there is no room, or
        where there is such a checkpoint already. is_late: `seq` holds more than `tokens`."""
        one = self._checkpoints.reserve(
            tokens, salt=salt, owner=owner, session=session, protected=self._store.written
        )
        if one is None:
            return None
        purse.buys(self._copying.bytes_ms(one.n_bytes))
        self._saving[one.key] = is_late
        return StateSave(seq=seq, key=one.key, n_tokens=one.n_tokens)

    def affords(self, purse: Purse) -> bool:
        """Whether a copy may still be made in this step."""
        return purse.affords(self._copying.bytes_ms(self._checkpoints.state_bytes))

    # -- results --------------------------------------------------------------------------------

    def settle(self, kept: HouseKept | None) -> None:
        """Book which of the last plan's copies were made. One that nothing is known of is dropped:
        a wrong state would give wrong answers."""
        if not self._saving:
            return
        saved = {} if kept is None else dict(kept.saved_states)
        failed = () if kept is None else kept.failed_states
        for key, was_late in self._saving.items():
            if key in saved:
                self._checkpoints.saved(key, saved[key])
            elif key in failed:
                self._checkpoints.lost(key)
                # What else the plan copied may have taken cells of the window before.
                self._failures += not was_late
            else:
                self._checkpoints.drop(key)
        self._saving.clear()


def spacing_of(shape: ParkShape) -> int:
    """How many tokens of a long prompt lie between two checkpoints."""
    if not shape.has_cells:
        return PLAIN_SPACING
    as_many = shape.state_bytes * shape.slice_cells // max(1, shape.slab_bytes)
    return max(LEAST_SPACING, min(MOST_SPACING, as_many))


def stops_of(
    entry: ScheduledRequest, *, start: int, leaves_at: int, spacing: int
) -> tuple[int, ...]:
    """Return the places, ascending, at which the state of `entry` may be worth a copy.

    start: how many of its tokens it has already. leaves_at: how many it has in common with some
    other sequence.
    """
    last = entry.n_tokens - 1
    marks = entry.marks or (entry.n_prompt - 1,)
    chosen = {marks[0], *marks[-LATEST_MARKS:], leaves_at, start}
    at = 0
    for mark in marks:
        if mark in chosen or mark - at >= spacing:
            chosen.add(mark)
            at = mark
    # Multiples of the spacing, so that prompts which begin alike have them at the same places.
    for place in range(spacing, last, spacing):
        if not any(abs(place - one) <= spacing // 2 for one in chosen):
            chosen.add(place)
    return tuple(sorted(one for one in chosen if max(start, KEY_TOKENS) <= one <= last))
