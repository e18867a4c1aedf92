"""Lets a request wait while another one computes the beginning of the same prompt.

Some completions of one prompt arrive at the same instant, and so do the agents that a program
starts with the same instructions. Cells are shared only once they are computed. So each of these
requests would compute all of its prompt. Instead the first one leads, and the others follow it:
they are placed once it has come to where they can share what it has.

    leader_of / follow   a running request that is worth waiting for, and the wait
    let_go               ends the waits that have served their purpose

A request follows only one that is served at least as early: of the same lane or a higher one, and
not paused. It shares prefixes with it (same salt), and saves more than it waits for. A leader that
ends or is preempted is followed no longer.

Not: how a prefix is shared (`umad.scheduler.memory.residency`).
Pure; owner: the step thread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from umad.scheduler.memory.prefix_index import KEY_TOKENS, common_prefix
from umad.scheduler.scheduled_request import RequestState, ScheduledRequest

# Fewer tokens are not worth a wait: one step computes them along with others.
LEAST_SAVED_TOKENS = 2 * KEY_TOKENS
# A leader computes at most about so many tokens in the step in which it passes the place where a
# follower may begin.
MOST_STEP_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class _Wait:
    entry: ScheduledRequest
    leader: ScheduledRequest
    # So many tokens the two will share.
    place: int
    # They share them where the leader's state is copied.
    at_state: bool

    @property
    def is_over(self) -> bool:
        """Whether the leader has nothing more to bring: the state was copied or will not be, or
        the cells are computed."""
        if self.at_state:
            return self.place not in _due(self.leader)
        return self.leader.n_computed >= self.place


class Followers:
    """The waiting requests that follow a running one."""

    def __init__(self, *, priority: Mapping[str, int], shares_at_states: bool, cuts: bool) -> None:
        """shares_at_states: prefixes are shared where a state was copied. cuts: they are also
        shared where cells alone allow it."""
        self._priority = priority
        self._shares_at_states = shares_at_states
        self._cuts = cuts
        self._waits: dict[int, _Wait] = {}

    def __len__(self) -> int:
        return len(self._waits)

    def leader_of(
        self,
        entry: ScheduledRequest,
        prefilling: Iterable[ScheduledRequest],
        *,
        n_known: int,
    ) -> tuple[ScheduledRequest, int] | None:
        """Return the one of `prefilling`, whose prompts are being read, that brings `entry`
        furthest, and how many tokens the two will share; None where `entry` does as well without.
        n_known: so many tokens it would get now."""
        if entry.scores:
            return None
        best: tuple[ScheduledRequest, int] | None = None
        for leader in prefilling:
            if not self._may_lead(leader, entry):
                continue
            place = self._place(leader, entry)
            waits_for = min(leader.n_tokens - leader.n_computed, MOST_STEP_TOKENS)
            saved = place - max(n_known, 0 if best is None else best[1])
            if saved >= LEAST_SAVED_TOKENS and 2 * saved >= waits_for:
                best = leader, place
        return best

    def follow(self, entry: ScheduledRequest, leader: ScheduledRequest, place: int) -> None:
        """Let `entry` wait until `leader` has come to `place`."""
        entry.follows = True
        self._waits[entry.rid] = _Wait(entry, leader, place, at_state=place in _due(leader))

    def let_go(self, running: Mapping[int, ScheduledRequest]) -> bool:
        """End the waits whose leader has come to the place or will not come there. Whether one
        ended."""
        ended = [
            wait.entry
            for wait in self._waits.values()
            if wait.entry.state is not RequestState.WAITING
            or running.get(wait.leader.rid) is not wait.leader
            or not self._may_lead(wait.leader, wait.entry)
            or wait.is_over
        ]
        for entry in ended:
            entry.follows = False
            del self._waits[entry.rid]
        return bool(ended)

    def _may_lead(self, leader: ScheduledRequest, entry: ScheduledRequest) -> bool:
        return (
            not leader.paused
            and not leader.ahead
            and leader.salt == entry.salt
            and self._priority[leader.lane] >= self._priority[entry.lane]
        )

    def _place(self, leader: ScheduledRequest, entry: ScheduledRequest) -> int:
        """How many tokens `entry` can share once `leader` has come there; 0 for none."""
        if not _starts_alike(leader, entry):
            return 0
        # The last known token of `entry` is always computed.
        common = common_prefix(leader.tokens[: leader.n_tokens], entry.tokens[: entry.n_tokens - 1])
        if self._shares_at_states:
            due = max((one for one in _due(leader) if one <= common), default=0)
            if due or not self._cuts:
                return due
        return common


def _due(leader: ScheduledRequest) -> tuple[int, ...]:
    """Where the state of `leader` is still to be copied, ascending."""
    return (leader.stop, *leader.stops) if leader.stop else leader.stops


def _starts_alike(a: ScheduledRequest, b: ScheduledRequest) -> bool:
    """Tells most pairs apart without a look at whole prompts."""
    return a.tokens[:KEY_TOKENS].tobytes() == b.tokens[:KEY_TOKENS].tobytes()
