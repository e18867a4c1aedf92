"""Gives requests back from host memory what the KV pool does not hold any more.

    offer / begin   what a request gets back instead of computing it
    next_ops        the copies of the next step, within the milliseconds the step has for them
    settle          books whether those copies were made

Cells come back slab by slab. In a model with states, the state of a checkpoint comes last, into a
sequence that has exactly the cells up to it: from slabs, or shared with another sequence. Until all
of it is there, the request is not computed. The cost model decides whether the copies are worth
their time.

A sequence whose state could not be put back holds nothing that can be computed on. Its request goes
back to the waiting line (`settle`), and is placed again without that checkpoint.

Not: what is copied to host memory (`parking`, `state_saving`).
Pure; owner: the step thread.
"""

from collections.abc import Container
from dataclasses import dataclass, replace

from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.media.cells import folded_runs, whole_runs
from umad.scheduler.memory.checkpoints import Checkpoint, Checkpoints
from umad.scheduler.memory.parked_store import ParkedStore
from umad.scheduler.memory.purse import Purse
from umad.scheduler.memory.residency import Residency
from umad.scheduler.scheduled_request import NO_CELLS, Restore, ScheduledRequest
from umad.step import HouseKept, MemoryOp, SeqRestore, StateLoad

# After so many states that could not be put back, no more are.
MOST_FAILURES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The outcome of one plan's copies into the pool."""

    # Some requests have everything back, or give up waiting for it.
    goes_on: bool = False
    # Requests that hold nothing to compute on, and must be placed again.
    broken: tuple[ScheduledRequest, ...] = ()


NOTHING_RESTORED = Restored()


class Restorer:
    """Puts cells and states back into one pool."""

    def __init__(
        self,
        *,
        store: ParkedStore,
        checkpoints: Checkpoints,
        residency: Residency,
        copying: CopyCost,
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._residency = residency
        self._copying = copying
        self._restoring: dict[int, ScheduledRequest] = {}
        # How many tokens each request had before the plan under way put some back.
        self._before: dict[int, int] = {}
        # The checkpoints that the plan under way puts back, by request.
        self._loading: dict[int, int] = {}
        self._failures = 0
        self.restores_total = 0

    @property
    def has_work(self) -> bool:
        """Whether a request is getting something back."""
        return bool(self._restoring)

    # -- offers ---------------------------------------------------------------------------------

    def offer(self, entry: ScheduledRequest) -> Restore | None:
        """Return what `entry` would get back if it were placed now; None where nothing fits or
        computing it again is as cheap."""
        if entry.scores:
            return None
        if self._residency.needs_states:
            return self._offer_state(entry)
        if not len(self._store):
            return None
        key, end = self._store.longest(entry.tokens[: entry.n_tokens - 1], entry.salt)
        if key < 0:
            return None
        if entry.spans:
            end = self._whole_runs(entry, key, end)
        matched = self._residency.longest_prefix(entry)[1]
        if end <= matched:
            return None
        cuts = self._store.cuts(key)
        start = cuts.start(cuts.slab_at(matched))
        copy_ms = self._copying.copy_ms(end - start)
        if copy_ms >= self._copying.rebuild_ms(end - matched, start=matched):
            return None
        return Restore(key=key, start=start, end=end)

    def _whole_runs(self, entry: ScheduledRequest, key: int, end: int) -> int:
        """The cells that `entry` may get back of `end`: no part of a run of rows, and no slab that
        has more cells than are promised to it, so that it never gets less than was offered."""
        cuts = self._store.cuts(key)
        last = cuts.slab_at(end - 1)
        if self._store.slab_end(key, last) > entry.cells_at_most:
            end = cuts.start(last)
        return whole_runs(entry.tokens, end)

    def _offer_state(self, entry: ScheduledRequest) -> Restore | None:
        """Of the checkpoints that `entry` could begin from, choose the one that brings its first
        token soonest; None where it does better without."""
        hits = self._checkpoints.hits(entry) if self._failures < MOST_FAILURES else ()
        if not hits:
            return None
        goes_on_at = self._residency.longest_prefix(entry)[1]
        best: Restore | None = None
        # Room may have to be made before `begin` pins it.
        self._checkpoints.kept = None
        most_ms = 0.0
        for one in reversed(hits):
            if one.n_tokens <= goes_on_at:
                break
            found = self._with_cells(entry, one)
            if found is None:
                continue
            copy_ms = self._copying.bytes_ms(one.n_bytes)
            if found.key != NO_CELLS:
                copy_ms += self._copying.copy_ms(found.end - found.start)
            # The tokens that it saves are compared, and not what is left with it and without it:
            # a few tokens far into a sequence may be reckoned to cost more than all of it.
            saves_ms = self._copying.rebuild_ms(found.end - goes_on_at, start=goes_on_at) - copy_ms
            if saves_ms > most_ms:
                best, most_ms = found, saves_ms
            if found.key == NO_CELLS:
                break  # a shorter one leaves more to compute and is no cheaper to put back
        if best is not None:
            self._checkpoints.kept = best.state
        return best

    def _with_cells(self, entry: ScheduledRequest, one: Checkpoint) -> Restore | None:
        """Return how `entry` gets the cells that belong to a checkpoint, and its state; None where
        the cells are nowhere."""
        end, shape = one.n_tokens, self._store.shape
        if not shape.has_cells:
            return Restore(key=NO_CELLS, start=0, end=end, state=one.key)
        shared = self._residency.longest_cells(entry)[1]
        if end <= shared:
            return Restore(key=NO_CELLS, start=end, end=end, state=one.key)
        key, parked = self._store.longest(entry.tokens[: entry.n_tokens - 1], entry.salt)
        if end > parked:
            return None
        # The last slab takes cells for all that it holds before the rest of it is given up. The
        # request's own cells, which are promised to it, must suffice for that.
        cuts = self._store.cuts(key)
        if self._store.slab_end(key, cuts.slab_at(end - 1)) > entry.cells_at_most:
            return None
        start = cuts.start(cuts.slab_at(shared))
        return Restore(key=key, start=start, end=end, state=one.key)

    # -- copies ---------------------------------------------------------------------------------

    def begin(self, entry: ScheduledRequest) -> None:
        """Start to put back what `entry` was placed with as its `restore`, if it has one."""
        restore = entry.restore
        if restore is None:
            return
        if restore.key != NO_CELLS:
            self._store.pin(restore.key, rebuild_ms=self._copying.rebuild_ms(restore.end))
        if restore.state is not None:
            self._checkpoints.pin(restore.state)
        self._restoring[entry.rid] = entry
        self.restores_total += 1

    def forget(self, entry: ScheduledRequest) -> None:
        """Stop putting anything back for `entry`: it left, was preempted, or has it all."""
        restore = entry.restore
        if self._restoring.pop(entry.rid, None) is not None and restore is not None:
            if restore.key != NO_CELLS:
                self._store.unpin(restore.key)
            if restore.state is not None:
                self._checkpoints.unpin(restore.state)
        entry.restore = None
        self._before.pop(entry.rid, None)
        self._loading.pop(entry.rid, None)

    def next_ops(
        self, *, guarded: Container[str], newcomer: Purse, background: Purse
    ) -> list[MemoryOp]:
        """Return the copies of the next step."""
        ops: list[MemoryOp] = []
        for entry in self._restoring.values():
            purse = newcomer if entry.lane in guarded else background
            self._put_back(entry, purse, ops)
            self._put_state(entry, purse, ops)
        return ops

    def _put_back(self, entry: ScheduledRequest, purse: Purse, ops: list[MemoryOp]) -> None:
        restore = entry.restore
        if restore is None or restore.key == NO_CELLS:
            return
        cuts = self._store.cuts(restore.key)
        self._before[entry.rid] = entry.n_computed
        while entry.n_computed < restore.end:
            start = entry.n_computed
            slab = cuts.slab_at(start)
            n_tokens = min(cuts.end(slab), restore.end) - start
            n_taken = self._store.slab_end(restore.key, slab) - start
            is_too_large = n_taken > self._residency.ledger.free_cells
            if is_too_large and restore.state is None:
                # Only part of the slab is wanted, but the whole slab is put back before the rest
                # of it is given up; and there are not enough free cells for the whole.
                entry.restore = replace(restore, end=start)
                return
            if not purse.buys(self._copying.copy_ms(n_tokens)):
                return
            ops.append(
                SeqRestore(
                    key=restore.key,
                    slab=slab,
                    seq=entry.seq,
                    start=start,
                    n_tokens=n_tokens,
                    images=folded_runs(entry.tokens[start : start + n_tokens], start=start),
                )
            )
            self._residency.grow(entry, n_tokens)

    def _put_state(self, entry: ScheduledRequest, purse: Purse, ops: list[MemoryOp]) -> None:
        restore = entry.restore
        if restore is None or restore.state is None or entry.rid in self._loading:
            return
        missing = restore.end - entry.n_computed
        if missing and self._store.shape.has_cells:
            return  # its cells come first, and some are still to come
        if not purse.buys(self._copying.bytes_ms(self._checkpoints.bytes_of(restore.state))):
            return
        if missing:
            self._residency.grow(entry, missing)
        ops.append(StateLoad(key=restore.state, seq=entry.seq, n_tokens=restore.end))
        self._loading[entry.rid] = restore.state

    # -- results --------------------------------------------------------------------------------

    def settle(self, kept: HouseKept | None) -> Restored:
        """Book that the last `next_ops` were carried out."""
        if not (self._restoring or self._loading or self._before) and kept and not kept.failed:
            return NOTHING_RESTORED
        broken: list[ScheduledRequest] = []
        failed_cells = () if kept is None else kept.failed
        for key in failed_cells:
            broken += self._failed_cells(key)
        tried = set(self._loading.values())
        for key in tried if kept is None else tried.intersection(kept.failed_states):
            broken += self._failed_state(key)
        whole = [
            entry
            for entry in self._restoring.values()
            if entry.restore is not None
            and entry.n_computed >= entry.restore.end
            and (entry.restore.state is None or entry.rid in self._loading)
        ]
        self._before.clear()
        self._loading.clear()
        for entry in whole:
            self.forget(entry)
        return Restored(goes_on=bool(whole or broken), broken=tuple(broken))

    def _failed_state(self, key: int) -> list[ScheduledRequest]:
        """Book that checkpoint `key` could not be put back, so that nobody else tries. Return the
        requests that had it or waited for it."""
        self._failures += 1
        broken = [
            entry
            for entry in self._restoring.values()
            if entry.restore is not None and entry.restore.state == key
        ]
        for entry in broken:
            self.forget(entry)
        self._checkpoints.drop(key)
        return broken

    def _failed_cells(self, key: int) -> list[ScheduledRequest]:
        """Book that a slab of `key` could not be put back. Return the requests that hold nothing to
        compute on now."""
        broken: list[ScheduledRequest] = []
        for entry in list(self._restoring.values()):
            restore = entry.restore
            if restore is None or restore.key != key:
                continue
            if restore.state is not None:
                broken.append(entry)
            elif entry.rid in self._before:
                before = whole_runs(entry.tokens, self._before[entry.rid])
                self._residency.take_back(entry, before)
            self.forget(entry)
        return broken
