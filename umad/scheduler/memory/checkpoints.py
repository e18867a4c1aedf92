"""Keeps account of the checkpoints: copies of a model's states in host memory.

A state is what recurrent layers, and layers with a small window, keep of a sequence. It is true at
the sequence's present end only. A checkpoint is a copy of one. It is found by the tokens after
which it was taken: by a digest of all of them and of their salt (`prefix_index`). So two apps with
the same system prompt share one, and no array of tokens is kept.

    hits(entry)             the checkpoints that a request could begin from
    reserve                 room for a new one, which another may have to be dropped for
    saved / lost            books whether the copy was made
    pin / unpin             keeps one while it is put back

Each checkpoint knows the one before it, with which it shares a beginning. It is worth the time to
compute the tokens between the two, so one close behind another is worth little. When the one before
it is dropped, it is worth more. So old conversations are thinned out before they are forgotten.

Not: where checkpoints are taken (`state_saving`), which request begins from which (`restoring`),
the bytes themselves (`umad.engine`). Pure; owner: the step thread.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.memory.cell_salt import Salt, text_of
from umad.scheduler.memory.park_budget import Least, ParkBudget
from umad.scheduler.memory.prefix_index import KEY_TOKENS
from umad.scheduler.scheduled_request import ScheduledRequest

_DIGEST_BYTES = 16
# So many waiting requests' last answers are remembered, so that a request which is tried at every
# step is not hashed at every step.
_REMEMBERED = 64

# The salt and the first tokens of a prompt.
_Head = tuple[str, bytes]


@dataclass(slots=True, kw_only=True, eq=False)
class Checkpoint:
    """One copy of a state in host memory, or on its way there."""

    key: int
    # The state is that of a sequence of so many tokens.
    n_tokens: int
    # Host memory that is reserved for it, or taken by it.
    n_bytes: int
    digest: bytes
    head: _Head
    session: str | None
    owner: str
    # The longest shorter one of the same beginning, and those that have this one as theirs.
    before: "Checkpoint | None" = None
    after: "list[Checkpoint]" = field(default_factory=list)
    # Milliseconds to compute the tokens between `before` and this one.
    gap_ms: float = 0.0
    # The budget's clock when it was last of use.
    used_at: float = 0.0
    # The copy was made.
    is_saved: bool = False
    # How many requests are getting it back now.
    pins: int = 0
    # It is dropped as soon as it is neither being made nor put back.
    goes: bool = False

    @property
    def is_held(self) -> bool:
        """Whether it must not be dropped now."""
        return self.pins > 0 or not self.is_saved


class Checkpoints:
    """The checkpoints of one engine, by their keys 0, 1, 2 …

    state_bytes: the most that one takes. unit_bytes: the worth of things in host memory is compared
    for so much room.
    """

    def __init__(
        self, *, state_bytes: int, unit_bytes: int, budget: ParkBudget, copying: CopyCost
    ) -> None:
        self.state_bytes = state_bytes
        self._unit_bytes = unit_bytes
        self._budget = budget
        self._copying = copying
        self._known: dict[int, Checkpoint] = {}
        self._by_digest: dict[bytes, Checkpoint] = {}
        # How many checkpoints there are of each length, by the beginning of their tokens.
        self._lengths: dict[_Head, Counter[int]] = {}
        self._next_key = 0
        self._dropped: list[int] = []
        # Counts up whenever a request could begin from other checkpoints than before.
        self._version = 0
        self._answers: OrderedDict[int, tuple[int, int, tuple[Checkpoint, ...]]] = OrderedDict()
        # A checkpoint that is about to be put back. It must not be dropped to make room.
        self.kept: int | None = None
        budget.join(self)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: int) -> bool:
        return key in self._known

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def bytes_of(self, key: int) -> int:
        """Host memory of the checkpoint."""
        return self._known[key].n_bytes

    @property
    def has_dropped(self) -> bool:
        """Whether some keys were dropped since the last `take_dropped`."""
        return bool(self._dropped)

    def take_dropped(self) -> tuple[int, ...]:
        """Return the keys dropped since the last call. Their memory is free once the engine has
        been told."""
        dropped = tuple(self._dropped)
        self._dropped.clear()
        return dropped

    # -- finding --------------------------------------------------------------------------------

    def hits(self, entry: ScheduledRequest) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that `entry` could begin from, the shortest first. Its last known
        token is always computed: the next one is sampled from its logits."""
        if not self._known:
            return ()
        n_known = entry.n_tokens - 1
        answer = self._answers.get(entry.rid)
        if answer is not None and answer[:2] == (n_known, self._version):
            return answer[2]
        found = self.of(entry.tokens[:n_known], entry.salt)
        self._answers[entry.rid] = (n_known, self._version, found)
        self._answers.move_to_end(entry.rid)
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
        return found

    def of(self, tokens: NDArray[np.int32], salt: Salt) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that were taken after some of the first `tokens`, or all of them,
        the shortest first."""
        return tuple(one for one in self._chain(tokens, salt) if one.is_saved)

    def has(self, tokens: NDArray[np.int32], salt: Salt) -> bool:
        """Whether there is, or soon will be, a checkpoint after all of `tokens`."""
        chain = self._chain(tokens, salt)
        return bool(chain) and chain[-1].n_tokens == tokens.size

    def _chain(self, tokens: NDArray[np.int32], salt: Salt) -> list[Checkpoint]:
        lengths = self._lengths.get(_head(tokens, salt))
        if not lengths:
            return []
        digest, at = _begun(salt), 0
        found = []
        for n_tokens in sorted(lengths):
            if n_tokens > tokens.size:
                break
            digest.update(tokens[at:n_tokens].tobytes())
            at = n_tokens
            one = self._by_digest.get(digest.digest())
            if one is not None:
                found.append(one)
        return found

    # -- coming and going -----------------------------------------------------------------------

    def reserve(
        self,
        tokens: NDArray[np.int32],
        *,
        salt: Salt,
        owner: str,
        session: str | None,
        protected: Set[int] = frozenset(),
    ) -> Checkpoint | None:
        """Make room for a checkpoint after all of `tokens`. Return None where there is no room, or
        where there is such a checkpoint already.

        protected: keys of parked cells that must not be dropped to make that room.
        """
        if tokens.size < KEY_TOKENS or not self.state_bytes:
            return None
        chain = self._chain(tokens, salt)
        if chain and chain[-1].n_tokens == tokens.size:
            return None
        if not self._budget.make_room(self.state_bytes, protected):
            return None
        chain = [one for one in chain if one.key in self._known]
        digest = _begun(salt)
        digest.update(tokens.tobytes())
        one = Checkpoint(
            key=self._next_key,
            n_tokens=tokens.size,
            n_bytes=self.state_bytes,
            digest=digest.digest(),
            head=_head(tokens, salt),
            session=session,
            owner=owner,
            used_at=self._budget.clock,
        )
        self._next_key += 1
        self._budget.used_bytes += one.n_bytes
        self._known[one.key] = one
        self._by_digest[one.digest] = one
        self._lengths.setdefault(one.head, Counter())[one.n_tokens] += 1
        self._follow(one, chain[-1] if chain else None)
        return one

    def saved(self, key: int, n_bytes: int) -> None:
        """Book that the checkpoint was made, and how much memory it takes."""
        one = self._known.get(key)
        if one is None:
            return
        self._budget.used_bytes += n_bytes - one.n_bytes
        one.n_bytes, one.is_saved = n_bytes, True
        self._version += 1
        self._let_go(one)

    def lost(self, key: int) -> None:
        """Book that the checkpoint could not be made, so that there is nothing to free."""
        one = self._known.get(key)
        if one is not None:
            self._remove(one)

    def pin(self, key: int) -> None:
        """Keep the checkpoint while a request gets it back, and count it as of use now. Those
        before it are not of use: whoever comes back comes back to the longest."""
        one = self._known[key]
        one.pins += 1
        one.used_at = self._budget.clock

    def unpin(self, key: int) -> None:
        """One of the requests that got the checkpoint back is done."""
        one = self._known.get(key)
        if one is not None:
            one.pins -= 1
            self._let_go(one)

    def drop(self, key: int) -> None:
        """Forget the checkpoint, if it is known, and have its memory freed."""
        one = self._known.get(key)
        if one is not None:
            self._remove(one)
            self._dropped.append(key)

    def forget(self, what: ForgetScope) -> set[str]:
        """Drop every checkpoint that `what` covers; return the sessions they were taken for. One
        that is being made or put back is not found any more, and goes when that is done."""
        names: set[str] = set()
        for one in list(self._known.values()):
            if one.goes or not what.takes(one.session, one.owner):
                continue
            names |= {one.session} if one.session is not None else set()
            if one.is_held:
                one.session, one.goes = None, True
                self._hide(one)
            else:
                self.drop(one.key)
        return names

    # -- the budget's side ----------------------------------------------------------------------

    def least(self, protected: Set[int]) -> Least | None:
        """Return the checkpoint to be dropped first. `protected` names parked cells only."""
        worths = [
            Least(
                one.session is not None,
                one.used_at + one.gap_ms * self._unit_bytes / max(1, one.n_bytes),
                one.key,
            )
            for one in self._known.values()
            if not one.is_held and one.key != self.kept
        ]
        return min(worths, default=None)

    def spare_bytes(self, protected: Set[int]) -> int:
        """Bytes of the checkpoints that no session needs."""
        return sum(
            one.n_bytes
            for one in self._known.values()
            if not (one.session or one.is_held or one.key == self.kept)
        )

    def _let_go(self, one: Checkpoint) -> None:
        if one.goes and not one.is_held:
            self.drop(one.key)

    def _remove(self, one: Checkpoint) -> None:
        del self._known[one.key]
        self._budget.used_bytes -= one.n_bytes
        self._hide(one)

    def _hide(self, one: Checkpoint) -> None:
        """Let no request find the checkpoint, and let others stand in its place."""
        if self._by_digest.get(one.digest) is not one:
            return
        del self._by_digest[one.digest]
        lengths = self._lengths[one.head]
        lengths[one.n_tokens] -= 1
        if not lengths[one.n_tokens]:
            del lengths[one.n_tokens]
        if not lengths:
            del self._lengths[one.head]
        if one.before is not None:
            one.before.after.remove(one)
        for follower in one.after:
            self._follow(follower, one.before)
        one.before, one.after = None, []
        self._version += 1

    def _follow(self, one: Checkpoint, before: Checkpoint | None) -> None:
        one.before = before
        if before is not None:
            before.after.append(one)
        start = 0 if before is None else before.n_tokens
        one.gap_ms = self._copying.rebuild_ms(one.n_tokens - start, start=start)


def _head(tokens: NDArray[np.int32], salt: Salt) -> _Head:
    return text_of(salt), tokens[:KEY_TOKENS].tobytes()


def _begun(salt: Salt) -> blake2b:
    """A digest that has taken in the salt. Its length comes first, so that no salt together with
    some tokens looks like another salt with others."""
    named = text_of(salt).encode()
    return blake2b(len(named).to_bytes(8, "little") + named, digest_size=_DIGEST_BYTES)
