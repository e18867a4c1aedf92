"""Carries out a plan on llama.cpp: memory operations, then one decode.

Not: sampling or the scheduler's books. Owner: the step thread.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from umad.engine.adapters.adapter_set import AdapterShelf, NoAdapters
from umad.engine.board.watch import BoardWatch
from umad.engine.execution import NOTHING_KEPT, Decoded, no_decode
from umad.engine.llamacpp.batch import PlanWriter
from umad.engine.llamacpp.cut_state import CutState
from umad.engine.llamacpp.cuttable import ABORTED, decode_cuttable
from umad.engine.llamacpp.host_memory import HostMemory
from umad.engine.llamacpp.llama import Context
from umad.engine.llamacpp.positions import Positions
from umad.engine.llamacpp.row_batch import RowBatch
from umad.engine.llamacpp.saved_states import OwnWindows
from umad.engine.media.desk import MediaDesk
from umad.engine.sessions.disk import SessionDisk
from umad.engine.slabs import SlabStore, StateStore
from umad.engine.steps.cutter import Cutter
from umad.errors import EngineFailed
from umad.media_slices import RowSlice
from umad.step import (
    DiskDone,
    HostLimit,
    HouseKept,
    MemoryOp,
    ParkDrop,
    SeqCopy,
    SeqPark,
    SeqRestore,
    SeqTrim,
    SessionFetch,
    SessionForget,
    SessionOp,
    SessionSave,
    StateDrop,
    StateLoad,
    StateSave,
    StepPlan,
)
from umad.units import NS_PER_MS

log = logging.getLogger("umad.engine")

_DONE, _NO_MEMORY = 0, 1  # llama_decode's results; below 0 it is an error
# The ledger makes "no cells" impossible. The first times may be its slip, which an eviction mends;
# more in a row are a bug that would go round for ever.
_MOST_NO_MEMORY = 8


@dataclass(slots=True)
class _House:
    """The results of memory operations, while they are carried out."""

    failed: list[int] = field(default_factory=list)
    saved_states: list[tuple[int, int]] = field(default_factory=list)
    failed_states: list[int] = field(default_factory=list)
    copied_bytes: int = 0
    copy_ns: int = 0

    def copied(self, n_bytes: int, ns: int) -> None:
        self.copied_bytes += n_bytes
        self.copy_ns += ns

    def lacks(self, operation: SessionSave) -> bool:
        """Whether something that the session is saved from could not be copied."""
        states = [key for key, _ in operation.states if key in self.failed_states]
        return bool(states) or operation.key in self.failed

    def kept(self) -> HouseKept:
        return HouseKept(
            copied_bytes=self.copied_bytes,
            copy_ms=self.copy_ns / NS_PER_MS,
            failed=tuple(self.failed),
            saved_states=tuple(self.saved_states),
            failed_states=tuple(self.failed_states),
        )


class DecodeRunner:
    """Runs plans on one context, which it alone uses."""

    def __init__(
        self,
        context: Context,
        *,
        capacity: int,
        cutter: Cutter,
        can_cut: bool,
        now_ns: Callable[[], int],
        watch: BoardWatch | None = None,
        before: CutState | None = None,
        parked: SlabStore | None = None,
        states: StateStore | None = None,
        disk: SessionDisk | None = None,
        windows: OwnWindows | None = None,
        host: HostMemory | None = None,
        adapters: AdapterShelf | None = None,
        media: MediaDesk | None = None,
        row_batch: RowBatch | None = None,
        positions: Positions | None = None,
        scratch: int,
        wants_output: bool = False,
    ) -> None:
        """can_cut: steps may be cut. before: needed where a cut spoils states; then a step is cut
        only where its plan says that the state is saved.

        scratch: a sequence number that no plan's slices have, for padding rows. watch: lets work of
        other engines cut this engine's background steps, too. parked: needed where plans park
        sequences. states: needed where plans save states. disk: needed where plans save sessions.
        windows: needed where windows are small. host: where copies lie. adapters: needed where
        plans have some. media, row_batch: needed where plans have rows of media. positions: the
        book of the pool's images, which `parked` has, too. wants_output: as of `PlanWriter`.
        """
        self._context = context
        self._positions = Positions() if positions is None else positions
        self._writer = PlanWriter(
            capacity, scratch=scratch, wants_output=wants_output, positions=self._positions
        )
        self._media = media
        self._row_batch = row_batch
        self._scratch = scratch
        self._cutter = cutter
        self._can_cut = can_cut
        self._now_ns = now_ns
        self._watch = watch
        self._before = before
        self._parked = parked
        self._states = states
        self._windows = windows
        self._host = host
        self._disk = disk
        self._adapters = adapters or NoAdapters()
        self._no_logits = context.logits_of_none()
        self._no_memory_in_a_row = 0

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        """Carry out memory operations, in order. When a copy to or from host memory fails, later
        operations of its key fail, too.
        """
        if not operations:
            return NOTHING_KEPT
        house = _House()
        # Where each sequence gets a state, and its window with it.
        loads = {one.seq: at for at, one in enumerate(operations) if isinstance(one, StateLoad)}
        for at, operation in enumerate(operations):
            match operation:
                case SeqCopy():
                    self._copy(operation)
                    if self._windows is not None and loads.get(operation.target, -1) < at:
                        self._own_window(self._windows, operation, house)
                case SeqTrim():
                    self._trim(operation)
                case ParkDrop():
                    if self._parked is not None:
                        self._parked.drop(operation.key)
                case StateDrop():
                    if self._states is not None:
                        self._states.drop(operation.key)
                case HostLimit():
                    if self._host is not None:
                        self._host.limit(
                            operation.capacity_bytes, keeps_spare=operation.keeps_spare
                        )
                    if not operation.keeps_spare:
                        self._adapters.spare()
                case SessionSave() | SessionFetch() | SessionForget():
                    self._begin(operation, house)
                case SeqPark() | SeqRestore():
                    began_ns = self._now_ns()
                    n_bytes = 0 if operation.key in house.failed else self._move(operation)
                    house.copied(n_bytes, self._now_ns() - began_ns)
                    if not n_bytes:
                        house.failed.append(operation.key)
                case StateSave() | StateLoad():
                    began_ns = self._now_ns()
                    n_bytes = self._save_or_load(operation)
                    house.copied(n_bytes, self._now_ns() - began_ns)
                    if not n_bytes:
                        house.failed_states.append(operation.key)
                    elif isinstance(operation, StateSave):
                        house.saved_states.append((operation.key, n_bytes))
        return house.kept()

    def _begin(self, operation: SessionOp, house: _House) -> None:
        if self._disk is None:
            return
        if isinstance(operation, SessionSave) and house.lacks(operation):
            self._disk.refuse(operation)
        else:
            self._disk.begin(operation)

    def _move(self, operation: SeqPark | SeqRestore) -> int:
        if self._parked is None:
            return 0
        if isinstance(operation, SeqPark):
            return self._parked.park(operation)
        return self._parked.restore(operation)

    def _save_or_load(self, operation: StateSave | StateLoad) -> int:
        if self._states is None:
            return 0
        if isinstance(operation, StateSave):
            return self._states.save(operation)
        return self._states.load(operation)

    def _own_window(self, windows: OwnWindows, operation: SeqCopy, house: _House) -> None:
        began_ns = self._now_ns()
        n_bytes = windows.give(operation.target)
        if not n_bytes:
            raise EngineFailed(
                f"sequence {operation.target} cannot share the window of {operation.source}: "
                f"{self._context.last_words()}"
            )
        house.copied(n_bytes, self._now_ns() - began_ns)

    def _copy(self, operation: SeqCopy) -> None:
        n_tokens = operation.n_tokens
        if self._positions:
            n_tokens = self._positions.of(operation.source, n_tokens)
            self._positions.copied(operation.source, operation.target, operation.n_tokens)
        self._context.copy(operation.source, operation.target, n_tokens)

    def _trim(self, operation: SeqTrim) -> None:
        keep_tokens = operation.keep_tokens
        if self._positions:
            keep_tokens = self._positions.of(operation.seq, keep_tokens)
            self._positions.trimmed(operation.seq, operation.keep_tokens)
        if not self._context.trim(operation.seq, keep_tokens):
            # Only models that cannot share prefixes refuse, and only to trim to a middle. The whole
            # sequence can always be removed, and is computed again.
            raise EngineFailed(
                f"llama.cpp kept the cells of sequence {operation.seq} "
                f"from {operation.keep_tokens} on"
            )

    def disk_done(self, report: DiskDone) -> None:
        """A session was written or read, or could not be."""
        if self._disk is not None:
            self._disk.done(report)

    def run(self, plan: StepPlan) -> Decoded:
        """Run one step that has rows of streams or of a medium. Raises `EngineFailed` when
        llama.cpp cannot go on."""
        house = self.keep_house(plan.memory)
        if plan.rows is not None:
            rows_ns = self._run_rows(plan.rows, plan.adapters)
            if not plan.n_rows:
                return replace(no_decode(house), rows_ns=rows_ns)
            return replace(self._run_tokens(plan, house), rows_ns=rows_ns)
        return self._run_tokens(plan, house)

    def _run_rows(self, piece: RowSlice, adapters: str) -> int:
        """Compute rows of a medium; return how long that took."""
        batch, context = self._row_batch, self._context
        if self._media is None or batch is None:
            raise EngineFailed("a model without a projector was given rows of a medium")
        if adapters != self._adapters.on:
            self._adapters.apply(adapters)
        laid = self._media.rows(piece)
        # All rows of an image with places count them from its first position.
        begins_at = piece.start - (piece.offset if laid.places is not None else 0)
        position = self._positions.of(piece.seq, begins_at)
        batch.fill(laid.rows, seq=piece.seq, position=position, places=laid.places)
        began_ns = self._now_ns()
        if not laid.piece.causal:
            context.set_causal(False)
        try:
            code = context.decode(batch)
        finally:
            if not laid.piece.causal:
                context.set_causal(True)
        # The next decode would wait for it; the time is that of these rows.
        context.wait()
        rows_ns = self._now_ns() - began_ns
        if code != _DONE:
            raise EngineFailed(f"llama_decode of rows returned {code}: {context.last_words()}")
        if piece.offset + piece.n_cells == laid.piece.n_rows:
            start = piece.start - piece.offset
            n_rows, n_positions = laid.piece.n_rows, laid.piece.n_positions
            self._positions.laid(piece.seq, start, n_rows, n_positions)
        self._media.laid(piece)
        return rows_ns

    def _run_tokens(self, plan: StepPlan, house: HouseKept) -> Decoded:
        writer, context = self._writer, self._context
        rids = writer.write(plan)
        if plan.adapters != self._adapters.on:
            # llama.cpp reserves its graphs anew in the decode that follows.
            self._adapters.apply(plan.adapters)
        can_be_cut = plan.cuttable and self._can_cut and self._keeps_state(plan)
        if can_be_cut:
            self._cutter.arm()
            if self._watch is not None and plan.background:
                self._watch.began()
        began_ns, cut_ns = self._now_ns(), 0
        if can_be_cut:
            code = decode_cuttable(context, writer.batch, plan.predicted_ms)
        else:
            code = context.decode(writer.batch)
        if code == _DONE:
            n_logits = len(rids) + writer.n_scored if writer.scored else len(rids)
            if plan.guesses:
                n_logits += plan.n_guesses
            logits = context.logits(n_logits) if n_logits else self._no_logits
        device_ns = self._now_ns() - began_ns
        if plan.n_padding:
            context.trim(self._scratch, 0)
        if can_be_cut:
            if self._watch is not None and plan.background:
                self._watch.ended()
            cut_ns = self._cutter.disarm()
        if code == _DONE:
            self._no_memory_in_a_row = 0
            return Decoded("done", rids, logits, device_ns, plan.n_rows, house, writer.scored)
        if code == ABORTED:
            if self._before is not None:
                self._before.put_back()
            told = Decoded("cut", [], self._no_logits, device_ns, plan.n_rows, house)
            return replace(told, cut_ns=cut_ns)
        self._no_memory_in_a_row += code == _NO_MEMORY
        if code != _NO_MEMORY or self._no_memory_in_a_row > _MOST_NO_MEMORY:
            raise EngineFailed(f"llama_decode returned {code}: {context.last_words()}")
        log.warning("no cells for a step that the ledger had cells for rows=%d", plan.n_rows)
        return Decoded("no_memory", [], self._no_logits, device_ns, plan.n_rows, house)

    def _keeps_state(self, plan: StepPlan) -> bool:
        """Whether the state before the step is there afterwards, if it is cut. It is saved now
        where a cut spoils it; that is no part of the step's time, which teaches what steps cost.
        """
        if self._before is None:
            return True
        return plan.saves_state and self._before.save(plan)

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        """(seq, tokens in the KV) of the plan's prefill sequences, asked of llama.cpp."""
        return tuple(
            [
                (piece.seq, self._positions.cells(piece.seq, self._context.length(piece.seq)))
                for piece in plan.prefill
            ]
        )
