"""Places requests in the KV pool, shares prefixes, and retains and evicts sequences.

A request is placed only when every cell it may ever need is free or can be reclaimed. So a running
request never fails for lack of memory, and never makes another one fail. The cells of an ended
request stay as a prefix for the next turn until the cells or the sequence number are needed.

Not: which request is placed (`scheduler`).
Owner: the step thread.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.media.cells import whole_match, whole_runs
from umad.scheduler.memory.cell_ledger import KvLedger, LedgerViolation
from umad.scheduler.memory.cell_salt import Salt
from umad.scheduler.memory.prefix_index import PrefixIndex
from umad.scheduler.memory.retained import Retained, RetainedSequences
from umad.scheduler.memory.windows import Beginnings
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.step import MemoryOp, SeqCopy, SeqTrim

# The pool is under pressure when less than this share of cells or of sequence numbers is free.
PRESSED_SHARE = 0.3


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
        needs_states: bool = False,
    ) -> None:
        """rebuild_ms: the milliseconds to compute the first n tokens of a sequence. Unless given,
        every token costs the same.
        beginnings: for a model whose sequences may lose their beginnings; None for any other.
        needs_states: sequences have states besides cells. Then a prefix is shared as it is only
        where its sequence ends, and anywhere else only with a checkpoint (`restoring`)."""
        self.ledger = KvLedger(n_cells)
        self.max_seqs = max_seqs
        self.needs_states = needs_states
        self._can_share_prefix = can_share_prefix
        self._beginnings = beginnings
        self._still_has = None if beginnings is None else beginnings.can_share
        if needs_states:
            self._still_has = self._goes_on
        # A recurrent state stays that of all its tokens, whatever cells are given up.
        self._cannot_cut = needs_states and beginnings is None
        self._free_seqs = list(range(max_seqs - 1, -1, -1))
        self._live: dict[int, ScheduledRequest] = {}
        self._retained = RetainedSequences(rebuild_ms)
        self._index = PrefixIndex()
        self._promised_cells = 0
        self._ops: list[MemoryOp] = []
        # Live sequences of which the device may hold more than is booked until it is told.
        self._being_cut: set[int] = set()
        # Counting shared cells walks every chain, so the count is kept until something changes.
        self._n_retained_cells: int | None = 0

    # -- what is where --------------------------------------------------------------------------

    @property
    def cells_live(self) -> int:
        """Cells held by running requests. A shared cell counts once."""
        return self.ledger.used_cells - self.cells_retained

    @property
    def cells_retained(self) -> int:
        """Cells that only retained sequences hold. Eviction makes them free at once."""
        if self._n_retained_cells is None:
            self._n_retained_cells = self.ledger.reclaimable(set(self._retained))
        return self._n_retained_cells

    @property
    def spare_cells(self) -> int:
        """Cells that are promised to nobody once all that is retained has been evicted."""
        return self.ledger.free_cells - self._promised_cells + self.cells_retained

    @property
    def is_pressed(self) -> bool:
        """Whether cells or sequence numbers run short, so that evictions are near."""
        return (
            self.ledger.free_cells < PRESSED_SHARE * self.ledger.n_cells
            or len(self._free_seqs) < PRESSED_SHARE * self.max_seqs
        )

    @property
    def has_number(self) -> bool:
        """Whether a sequence number is free, or a retained sequence can give up its own."""
        return bool(self._free_seqs or self._retained)

    @property
    def retained_version(self) -> int:
        """Counts up whenever a sequence becomes retained or stops being retained."""
        return self._retained.version

    @property
    def rows_passed(self) -> float:
        """Rows that have passed over every cell."""
        return self._retained.rows_passed

    def pass_rows(self, n_rows: float) -> None:
        """Count rows that have passed over every cell (`rent`)."""
        self._retained.rows_passed += n_rows

    def retained(self) -> Iterator[int]:
        """Yield the retained sequences in the order in which they will be evicted."""
        yield from self._retained.in_order()

    def retained_tokens(self, seq: int) -> NDArray[np.int32] | None:
        """The very array that `seq` was retained with; None when `seq` is not retained."""
        kept = self._retained.get(seq)
        return None if kept is None else kept.tokens

    def passed_over(self, seq: int) -> float:
        """How many cells other sequences' rows have passed over since retained `seq` was last of
        use, because it is kept. Cells that it shares with another sequence are not counted."""
        rows = self._retained.rows_since_use(seq)
        return rows * self.ledger.reclaimable({seq}) if rows else 0.0

    def session_of(self, seq: int) -> str | None:
        """The session a retained sequence is kept for."""
        return self._retained[seq].session

    def owner_of(self, seq: int) -> str:
        """The owner of the request that left a retained sequence."""
        return self._retained[seq].owner

    def salt_of(self, seq: int) -> Salt:
        """The salt under which a retained sequence may be found."""
        return self._retained[seq].salt

    def take_ops(self) -> tuple[MemoryOp, ...]:
        """Return the memory operations that llama.cpp has not been told of yet, in order."""
        ops = tuple(self._ops)
        self._ops.clear()
        self._being_cut.clear()
        if self._beginnings is not None:
            self._beginnings.told()
        return ops

    @property
    def has_ops(self) -> bool:
        """Whether `take_ops` has something to return."""
        return bool(self._ops)

    # -- coming in ------------------------------------------------------------------------------

    def could_fit(
        self, entry: ScheduledRequest, giving_up: tuple[ScheduledRequest, ...] = ()
    ) -> bool:
        """Whether `entry` would fit if all of `giving_up` were preempted. Changes nothing."""
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
        """The retained sequences that `place` would evict for `entry`, which must fit. Changes
        nothing."""
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
        """Give `entry` a sequence and its longest known prefix; evict the sequences in its way.

        Return False, with nothing changed, when it does not fit.
        """
        if not self.could_fit(entry):
            return False
        source, matched = self._match(entry)
        if self._is_adoptable(entry, source, matched):
            self._retained.remove(source)
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
                    self._retained.was_of_use(source)
        entry.seq = seq
        entry.n_computed = matched
        self._live[seq] = entry
        self._end_passing(entry)
        self._promised_cells += entry.cells_at_most - matched
        self._index.put(seq, entry.tokens, matched, entry.salt)
        while self._promised_cells > self.ledger.free_cells:
            # `source` is evicted last, because it shares its prefix with `entry`: its eviction
            # frees only the cells behind that prefix.
            self._make_room(besides=source)
        self._n_retained_cells = None
        return True

    def _is_adoptable(self, entry: ScheduledRequest, source: int, matched: int) -> bool:
        """Whether `entry` can take over the retained sequence `source`, which saves the sequence
        number of a copy: all of `source` is a prefix of `entry` and is no other session's, or
        `source` has the only sequence number left."""
        kept = self._retained.get(source)
        if kept is None:
            return False
        is_whole = self.ledger.length(source) == matched
        if entry.lacks_state or (self._cannot_cut and not is_whole):
            return False
        if not self._free_seqs and len(self._retained) == 1:
            return True
        return is_whole and kept.session in (None, entry.session)

    def longest_prefix(self, entry: ScheduledRequest) -> tuple[int, int]:
        """(sequence, tokens) of the longest prefix `entry` can share; (-1, 0) for none."""
        if not self._can_share_prefix or entry.scores:
            return -1, 0
        # The last known token is always computed: the next one is sampled from its logits.
        known = entry.tokens[: entry.n_tokens - 1]
        found = self._index.longest(known, entry.salt, can_share=self._still_has)
        whole = whole_match(entry.tokens, found) if entry.spans else found
        can_share = whole == found or self._still_has is None or self._still_has(*whole)
        return whole if can_share else (-1, 0)

    def longest_cells(self, entry: ScheduledRequest) -> tuple[int, int]:
        """(sequence, tokens) of the longest prefix whose cells `entry` can share, if it gets a
        state that fits them; (-1, 0) for none."""
        if not self._can_share_prefix or entry.scores:
            return -1, 0
        source, matched = self._index.longest(entry.tokens[: entry.n_tokens - 1], entry.salt)
        if entry.spans:
            source, matched = whole_match(entry.tokens, (source, matched))
        if not self._free_seqs and len(self._retained) == 1 and source in self._retained:
            # `entry` needs a number of its own, and the only one to be had is that of `source`.
            return -1, 0
        return source, matched

    def _goes_on(self, seq: int, n_tokens: int) -> bool:
        """Whether a copy of the first `n_tokens` of `seq` can be computed on as it is.

        Only at its end: there llama.cpp protects the cells of a window. Further back they may be
        whole while the plan is made, and be overwritten by a state that the same plan puts back
        before the copy (6.6 nats off, two editors beside a chat).
        """
        live = self._live.get(seq)
        if live is not None and live.lacks_state:
            return False
        return self.ledger.length(seq) == n_tokens

    def _match(self, entry: ScheduledRequest) -> tuple[int, int]:
        if entry.lacks_state:
            source, matched = self.longest_cells(entry)
        else:
            source, matched = self.longest_prefix(entry)
        if entry.restore is not None and entry.restore.start < matched:
            # Restored cells begin at a slab's border, a little before the end of the match.
            matched = entry.restore.start
        return (source, matched) if matched else (-1, 0)

    # -- staying --------------------------------------------------------------------------------

    def grow(self, entry: ScheduledRequest, n_tokens: int) -> None:
        """Book that `n_tokens` more of `entry` were computed."""
        self.ledger.grow(entry.seq, n_tokens)
        entry.n_computed += n_tokens
        self._promised_cells -= n_tokens
        self._index.put(entry.seq, entry.tokens, entry.n_computed, entry.salt)

    def take_back(self, entry: ScheduledRequest, keep_tokens: int) -> None:
        """Undo what was booked for a running entry behind its first `keep_tokens`: those cells were
        never filled."""
        self._promised_cells += entry.n_computed - keep_tokens
        entry.n_computed = keep_tokens
        self.ledger.trim(entry.seq, keep_tokens)
        self._ops.append(SeqTrim(seq=entry.seq, keep_tokens=keep_tokens))
        self._index.put(entry.seq, entry.tokens, keep_tokens, entry.salt)
        self._n_retained_cells = None

    def rolled_back(self, entry: ScheduledRequest) -> None:
        """Trim `entry` to what is booked, because a cut step may have left more of it in the
        cells."""
        self._ops.append(SeqTrim(seq=entry.seq, keep_tokens=entry.n_computed))
        self._being_cut.add(entry.seq)

    def is_being_cut(self, seq: int) -> bool:
        """Whether the device may hold more of `seq` than is booked, until it is told."""
        return seq in self._being_cut

    # -- going out ------------------------------------------------------------------------------

    def retain(self, entry: ScheduledRequest, *, passing: bool = False) -> None:
        """Let `entry` leave, and keep its cells as a prefix until another request needs them.

        passing: keep them no longer than until the next request of its app and lane is placed. By
        then that request has taken over the prefix that the two share.
        """
        lacks_state = entry.lacks_state
        seq = self._leave(entry)
        n_kept = whole_runs(entry.tokens, entry.n_computed) if entry.spans else entry.n_computed
        lacks_state |= self._cannot_cut and n_kept < entry.n_computed
        if not (self._can_share_prefix and n_kept) or lacks_state:
            self._empty(seq)
            return
        self._cut(seq, n_kept)
        tokens = entry.tokens[:n_kept]
        kept = Retained(
            tokens,
            entry.session,
            (entry.lane, entry.app) if passing else None,
            entry.owner,
            entry.salt,
        )
        # The longer sequence replaces a shorter one only where its beginning can still be shared.
        for other in self._retained.replaced_by(
            kept, lambda n_tokens: self._still_has is None or self._still_has(seq, n_tokens)
        ):
            self.evict(other)
        self._retained.add(seq, kept)
        self._n_retained_cells = None
        self._index.put(seq, tokens, tokens.size, entry.salt)

    def _end_passing(self, entry: ScheduledRequest) -> None:
        app = (entry.lane, entry.app)
        for seq, kept in self._retained.items():
            if kept.passing == app and kept.owner == entry.owner:
                self.evict(seq)

    def release(self, entry: ScheduledRequest) -> None:
        """Let `entry` leave, and free its cells at once."""
        self._empty(self._leave(entry))

    def forget(self, what: ForgetScope) -> set[str]:
        """Evict every sequence that `what` covers; return the sessions they were retained for."""
        names: set[str] = set()
        for seq, kept in self._retained.items():
            if what.takes(kept.session, kept.owner):
                names |= {kept.session} if kept.session is not None else set()
                self.evict(seq)
        return names

    def _leave(self, entry: ScheduledRequest) -> int:
        seq = entry.seq
        del self._live[seq]
        self._promised_cells -= entry.cells_at_most - entry.n_computed
        entry.seq = -1
        return seq

    def _make_room(self, *, besides: int) -> None:
        """Evict the retained sequence with the lowest rank; `besides` only if it is the last."""
        if not self._retained:
            raise LedgerViolation("cells are promised that nobody can give up")
        self.evict(self._retained.first_to_go(besides=besides))

    def evict(self, seq: int) -> None:
        """Evict the retained sequence `seq`."""
        self._retained.remove(seq)
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
