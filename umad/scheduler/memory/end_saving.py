"""Has the states at the ends of chats copied while there is time, before their next turns come.

A chat's next turn goes on from where its last answer ended. It changes the state there, so the
state must be copied before: for a third request that leaves the chat at that place, as when an
answer is asked for again. Copied when the next turn begins, it would delay the turn's first token.

Not: whether a copy is worth its time (`state_saving`), the ends that are about to be evicted
(`parking`). Pure; owner: the step thread.
"""

from umad.scheduler.memory.purse import Purse
from umad.scheduler.memory.residency import Residency
from umad.scheduler.memory.state_saving import StateSaver
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.step import StateSave


class EndSaver:
    """The ends of one engine's chats."""

    def __init__(self, *, states: StateSaver, residency: Residency) -> None:
        self._states = states
        self._residency = residency
        # Sequences of chats that have ended lately.
        self._seqs: set[int] = set()

    @property
    def has_work(self) -> bool:
        """Whether there may be something to copy."""
        return bool(self._seqs)

    def leaves(self, entry: ScheduledRequest) -> None:
        """A request leaves the pool, and its cells stay. Call it before they are retained."""
        if self._states.is_on and (entry.marks or entry.ahead):
            self._seqs.add(entry.seq)

    def next_ops(self, purse: Purse) -> list[StateSave]:
        """Return the copies of the next step."""
        ops: list[StateSave] = []
        for seq in sorted(self._seqs):
            tokens = self._residency.retained_tokens(seq)
            if tokens is None:
                self._seqs.discard(seq)
                continue
            salt = self._residency.salt_of(seq)
            if not self._states.wants_end(tokens, salt):
                self._seqs.discard(seq)
            elif purse.left_ms > 0 and not purse.spent and self._states.affords(purse):
                self._seqs.discard(seq)
                save = self._states.save(
                    tokens,
                    seq=seq,
                    salt=salt,
                    owner=self._residency.owner_of(seq),
                    session=self._residency.session_of(seq),
                    purse=purse,
                )
                if save is not None:
                    ops.append(save)
        return ops
