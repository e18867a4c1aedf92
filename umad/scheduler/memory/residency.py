"""Who sits in the KV pool: placing requests, sharing prefixes, retaining and evicting sequences.

A request is placed only when every cell it may ever need is there or can be reclaimed, so one
that runs never fails for memory and never fails a peer. What ended stays as a prefix for the
next turn until its cells or its sequence number are needed.
Not: which request is placed (`policy`). Owner: the step thread.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.memory.cell_ledger import KvLedger, LedgerViolation
from umad.scheduler.memory.prefix_index import PrefixIndex, common_prefix
from umad.scheduler.memory.windows import Beginnings
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.step import MemoryOp, SeqCopy, SeqTrim

# Fewer free than this share of the cells, or of the sequence numbers, is pressure.
PRESSED_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class _Retained:
    """A sequence that nobody runs. passing: (lane, app) whose next request, of the same owner, ends
    it. salt: under which its prefix may be found."""

    tokens: NDArray[np.int32]
    session: str | None
    passing: tuple[str, str] | None = None
    owner: str = ""
    salt: str = ""


@dataclass(frozen=True, slots=True)
class _LastUse:
    """When a retained sequence was last of use. n_retained: how many had been retained; cell_ms:
    what a cell of it cost then; rows_passed: over every cell of the pool."""

    n_retained: int
    cell_ms: float
    rows_passed: float


class Residency:
    """The pool: `n_cells` cells and `max_seqs` sequence numbers."""

    def __init__(
        self,
        *,
        n_cells: int,
        max_seqs: int,
        can_share_prefix: bool,
        rebuild_ms: Callable[[int], float] = float,
        beginnings: Beginnings | None = None,
    ) -> None:
        """rebuild_ms: of so many tokens from the first on; unless given, all cost the same.
        beginnings: of a model whose sequences may lose theirs; None where they do not."""
        self.ledger = KvLedger(n_cells)
        self.max_seqs = max_seqs
        self._can_share_prefix = can_share_prefix
        self._beginnings = beginnings
        self._still_has = None if beginnings is None else beginnings.can_share
        self._free_seqs = list(range(max_seqs - 1, -1, -1))
        self._live: dict[int, ScheduledRequest] = {}
        # Least recently used first.
        self._retained: OrderedDict[int, _Retained] = OrderedDict()
        self._used: dict[int, _LastUse] = {}
        self._n_retained = 0
        self._rebuild_ms = rebuild_ms
        self._index = PrefixIndex()
        self._promised_cells = 0
        self._ops: list[MemoryOp] = []
        # Counting shared cells walks every chain, so the count is kept until something changes.
        self._n_retained_cells: int | None = 0
        # Counts up whenever somebody is retained or no longer is.
        self.retained_version = 0
        # Rows that have passed over every cell; counted by who knows (`rent`).
        self.rows_passed = 0.0

    # -- what is where --------------------------------------------------------------------------

    @property
    def cells_live(self) -> int:
        """Cells held by running requests (shared ones once)."""
        return self.ledger.used_cells - self.cells_retained

    @property
    def cells_retained(self) -> int:
        """Cells that only retained sequences hold: free for the asking."""
        if self._n_retained_cells is None:
            self._n_retained_cells = self.ledger.reclaimable(set(self._retained))
        return self._n_retained_cells

    @property
    def is_pressed(self) -> bool:
        """Cells or sequence numbers are running short: what is retained will soon be evicted."""
        return (
            self.ledger.free_cells < PRESSED_SHARE * self.ledger.n_cells
            or len(self._free_seqs) < PRESSED_SHARE * self.max_seqs
        )

    @property
    def has_number(self) -> bool:
        """A sequence number is free, or can be had from what is retained."""
        return bool(self._free_seqs or self._retained)

    def retained(self) -> Iterator[int]:
        """Retained sequences, the next to be evicted first."""
        yield from sorted(self._retained, key=self._rank)

    def retained_tokens(self, seq: int) -> NDArray[np.int32] | None:
        """Tokens a retained sequence holds (the very array it was retained with), else None."""
        kept = self._retained.get(seq)
        return None if kept is None else kept.tokens

    def passed_over(self, seq: int) -> float:
        """Cells that rows of others passed over because `seq`, retained, has been kept since it was
        last of use; cells that somebody shares with it are not counted."""
        rows = self.rows_passed - self._used[seq].rows_passed
        return rows * self.ledger.reclaimable({seq}) if rows else 0.0

    def session_of(self, seq: int) -> str | None:
        """The session a retained sequence is kept for."""
        return self._retained[seq].session

    def owner_of(self, seq: int) -> str:
        """Whose request a retained sequence is left from."""
        return self._retained[seq].owner

    def salt_of(self, seq: int) -> str:
        """The salt under which a retained sequence may be found."""
        return self._retained[seq].salt

    def take_ops(self) -> tuple[MemoryOp, ...]:
        """Memory operations llama.cpp has yet to be told, in order."""
        ops = tuple(self._ops)
        self._ops.clear()
        if self._beginnings is not None:
            self._beginnings.told()
        return ops

    @property
    def has_ops(self) -> bool:
        """Some are waiting to be told."""
        return bool(self._ops)

    # -- coming in ------------------------------------------------------------------------------

    def could_fit(
        self, entry: ScheduledRequest, giving_up: tuple[ScheduledRequest, ...] = ()
    ) -> bool:
        """Would `entry` fit if `giving_up` were preempted? Changes nothing."""
        if not (self._free_seqs or self._retained or giving_up):
            return False
        evictable = set(self._retained)
        promised = self._promised_cells
        for victim in giving_up:
            evictable.add(victim.seq)
            promised -= victim.cells_at_most - self.ledger.length(victim.seq)
        source, matched = self._match(entry)
        held = self.ledger.reclaimable_prefix(source, matched, evictable)
        spare = self.ledger.free_cells - promised
        need = entry.cells_at_most - matched
        return need <= spare or need <= spare + self.ledger.reclaimable(evictable) - held

    def evictions(self, entry: ScheduledRequest) -> tuple[int, ...]:
        """Retained sequences that `place` would evict for `entry`, which fits. Changes nothing."""
        source, matched = self._match(entry)
        adopts = self._is_adoptable(entry, source, matched)
        wants_seq = not adopts and not self._free_seqs
        short = self._promised_cells + entry.cells_at_most - matched - self.ledger.free_cells
        if not wants_seq and short <= 0:
            return ()
        chosen: list[int] = []
        order = [seq for seq in self.retained() if seq != source]
        if source in self._retained and not adopts:
            order.append(source)
        for seq in order:
            if not wants_seq and short <= self.ledger.reclaimable(set(chosen)):
                break
            chosen.append(seq)
            wants_seq = False
        return tuple(chosen)

    def place(self, entry: ScheduledRequest) -> bool:
        """Give `entry` a sequence and its longest known prefix, evicting what must go.

        False, with nothing changed, when it does not fit.
        """
        if not self.could_fit(entry):
            return False
        source, matched = self._match(entry)
        if self._is_adoptable(entry, source, matched):
            del self._retained[source], self._used[source]
            self.retained_version += 1
            self._cut(source, matched)
            seq = source
        else:
            if not self._free_seqs:
                self._make_room(besides=source)
            seq = self._free_seqs.pop()
            if matched:
                self._ops.append(SeqCopy(source=source, target=seq, n_tokens=matched))
                if self._beginnings is not None:
                    self._beginnings.planned_copy(source, seq)
                self.ledger.share(source, seq, matched)
                if source in self._retained:
                    self._was_of_use(source)
        entry.seq = seq
        entry.n_computed = matched
        self._live[seq] = entry
        self._end_passing(entry)
        self._promised_cells += entry.cells_at_most - matched
        self._index.put(seq, entry.tokens, matched, entry.salt)
        while self._promised_cells > self.ledger.free_cells:
            # The prefix it came from goes last: evicted, it frees only what lies behind the prefix.
            self._make_room(besides=source)
        self._n_retained_cells = None
        return True

    def _is_adoptable(self, entry: ScheduledRequest, source: int, matched: int) -> bool:
        """Wholly a prefix of the newcomer and nobody else's, or the only sequence number left: it
        becomes the newcomer's, and no number is spent on a copy."""
        kept = self._retained.get(source)
        if kept is None:
            return False
        if not self._free_seqs and len(self._retained) == 1:
            return True
        return self.ledger.length(source) == matched and kept.session in (None, entry.session)

    def longest_prefix(self, entry: ScheduledRequest) -> tuple[int, int]:
        """(sequence, tokens) of the longest prefix of `entry` that can be shared; (-1, 0) for
        none."""
        if not self._can_share_prefix:
            return -1, 0
        # The last known token is always computed: its logits are what is sampled.
        known = entry.tokens[: entry.n_tokens - 1]
        return self._index.longest(known, entry.salt, can_share=self._still_has)

    def _match(self, entry: ScheduledRequest) -> tuple[int, int]:
        source, matched = self.longest_prefix(entry)
        if entry.restore is not None and entry.restore.start < matched:
            # What is restored begins at a slab's border, a little before that.
            matched = entry.restore.start
        return (source, matched) if matched else (-1, 0)

    # -- staying --------------------------------------------------------------------------------

    def grow(self, entry: ScheduledRequest, n_tokens: int) -> None:
        """`n_tokens` more of `entry` were computed."""
        self.ledger.grow(entry.seq, n_tokens)
        entry.n_computed += n_tokens
        self._promised_cells -= n_tokens
        self._index.put(entry.seq, entry.tokens, entry.n_computed, entry.salt)

    def take_back(self, entry: ScheduledRequest, keep_tokens: int) -> None:
        """What was booked behind the first `keep_tokens` of a running entry never came."""
        self._promised_cells += entry.n_computed - keep_tokens
        entry.n_computed = keep_tokens
        self.ledger.trim(entry.seq, keep_tokens)
        self._ops.append(SeqTrim(seq=entry.seq, keep_tokens=keep_tokens))
        self._index.put(entry.seq, entry.tokens, keep_tokens, entry.salt)
        self._n_retained_cells = None

    def rolled_back(self, entry: ScheduledRequest) -> None:
        """A cut step may have left more of `entry` in the cells than is accounted for."""
        self._ops.append(SeqTrim(seq=entry.seq, keep_tokens=entry.n_computed))

    # -- going out ------------------------------------------------------------------------------

    def retain(self, entry: ScheduledRequest, *, passing: bool = False) -> None:
        """`entry` leaves; its cells stay as a prefix while nobody needs them.

        passing: and not beyond the next request of its app and lane, which has by then taken over
        what the two have in common.
        """
        seq = self._leave(entry)
        tokens = entry.tokens[: entry.n_computed]
        if not self._can_share_prefix or not tokens.size:
            self._empty(seq)
            return
        for other, retained in list(self._retained.items()):
            # A conversation's turn before is part of this one: one of them is enough.
            is_turn_before = entry.session is not None and retained.session == entry.session
            if is_turn_before or (
                retained.session is None
                and retained.salt == entry.salt
                and retained.tokens.size <= tokens.size
                and common_prefix(retained.tokens, tokens) == retained.tokens.size
                # The longer one stands for the shorter one only while it still has its beginning.
                and (self._still_has is None or self._still_has(seq, retained.tokens.size))
            ):
                self._evict(other)
        self._retained[seq] = _Retained(
            tokens,
            entry.session,
            (entry.lane, entry.app) if passing else None,
            entry.owner,
            entry.salt,
        )
        self._n_retained += 1
        self._was_of_use(seq)
        self.retained_version += 1
        self._n_retained_cells = None
        self._index.put(seq, tokens, tokens.size, entry.salt)

    def _end_passing(self, entry: ScheduledRequest) -> None:
        app = (entry.lane, entry.app)
        for seq, kept in list(self._retained.items()):
            if kept.passing == app and kept.owner == entry.owner:
                self._evict(seq)

    def release(self, entry: ScheduledRequest) -> None:
        """`entry` leaves and its cells are free at once."""
        self._empty(self._leave(entry))

    def forget(self, what: ForgetScope) -> set[str]:
        """Evict what `what` takes; the sessions it was retained for."""
        names: set[str] = set()
        for seq, kept in list(self._retained.items()):
            if what.takes(kept.session, kept.owner):
                names |= {kept.session} if kept.session is not None else set()
                self._evict(seq)
        return names

    def evict(self, seq: int) -> None:
        """Give up what is retained as `seq`."""
        self._evict(seq)

    def evict_all(self) -> None:
        """Evict everything retained."""
        for seq in list(self._retained):
            self._evict(seq)

    def _leave(self, entry: ScheduledRequest) -> int:
        seq = entry.seq
        del self._live[seq]
        self._promised_cells -= entry.cells_at_most - entry.n_computed
        entry.seq = -1
        return seq

    def _was_of_use(self, seq: int) -> None:
        self._retained.move_to_end(seq)
        n_tokens = self._retained[seq].tokens.size
        self._used[seq] = _LastUse(
            self._n_retained, self._rebuild_ms(n_tokens) / n_tokens, self.rows_passed
        )

    def _rank(self, seq: int) -> tuple[bool, float]:
        """The least goes first: sessions when all else has gone, and of the others what would cost
        least to rebuild for its room and the longer it has been of no use. Where a cell of one
        costs twice what a cell of another does, it is kept for twice as long; where all cost the
        same, that is who was used longest ago."""
        used = self._used[seq]
        since = self._n_retained - used.n_retained
        return self._retained[seq].session is not None, used.cell_ms / (1 + since)

    def _make_room(self, *, besides: int) -> None:
        """Evict whoever is to go first, `besides` last."""
        if not self._retained:
            raise LedgerViolation("cells are promised that nobody can give up")
        seq = min(self._retained, key=lambda one: (one == besides, *self._rank(one)))
        self._evict(seq)

    def _evict(self, seq: int) -> None:
        del self._retained[seq]
        del self._used[seq]
        self.retained_version += 1
        self._empty(seq)

    def _cut(self, seq: int, keep_tokens: int) -> None:
        if keep_tokens < self.ledger.length(seq):
            self.ledger.trim(seq, keep_tokens)
            self._ops.append(SeqTrim(seq=seq, keep_tokens=keep_tokens))

    def _empty(self, seq: int) -> None:
        self._index.drop(seq)
        self._cut(seq, 0)
        self._free_seqs.append(seq)
        self._n_retained_cells = None
