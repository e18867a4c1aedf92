"""Carries plans out on the toy's cells, and lets a step's time pass. Owner: the step thread."""

import threading
from collections.abc import Callable

from umad.engine.board.watch import BoardWatch
from umad.engine.execution import NOTHING_KEPT, Decoded, ScoredRows, scored_rows
from umad.engine.sessions.disk import SessionDisk
from umad.engine.slabs import SlabStore
from umad.engine.steps.cutter import Cutter
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
    SessionSave,
    StateDrop,
    StateLoad,
    StateSave,
    StepPlan,
)
from umad.testing.toy_cells import ToyCells
from umad.testing.toy_tokens import toy_logits
from umad.units import MS_PER_S, NS_PER_MS


class Abort:
    """Ends a step that waits for its time to pass. Any thread."""

    def __init__(self) -> None:
        self._flag = threading.Event()

    def set(self) -> None:
        """Make a running step return."""
        self._flag.set()

    def clear(self) -> None:
        """Let steps run again."""
        self._flag.clear()

    def passes(self, ms: float) -> bool:
        """Let so much time pass; False where it was ended early."""
        return not self._flag.wait(ms / MS_PER_S) if ms > 0 else not self._flag.is_set()


class ToyRunner:
    """Carries plans out on toy cells. `umad.engine.execution.StepRunner` says what it has to do."""

    def __init__(
        self,
        cells: ToyCells,
        abort: Abort,
        *,
        cutter: Cutter,
        now_ns: Callable[[], int],
        watch: BoardWatch | None,
        slabs: SlabStore | None,
        disk: SessionDisk | None,
        step_ms: float,
        row_ms: float,
    ) -> None:
        """step_ms, row_ms: as in `ToyModel`."""
        self._cells = cells
        self._step_ms = step_ms
        self._row_ms = row_ms
        self._abort = abort
        self._cutter = cutter
        self._now_ns = now_ns
        self._watch = watch
        self._slabs = slabs
        self._disk = disk

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        """Carry out memory operations, in order."""
        if not operations:
            return NOTHING_KEPT
        began_ns, copied_bytes, failed = self._now_ns(), 0, list[int]()
        failed_states: list[int] = []
        for operation in operations:
            match operation:
                case SeqCopy():
                    self._cells.share(operation.source, operation.target, 0, operation.n_tokens)
                case SeqTrim():
                    self._cells.trim(operation.seq, operation.keep_tokens)
                case SeqPark() | SeqRestore():
                    n_bytes = 0 if operation.key in failed else self._copy(operation)
                    copied_bytes += n_bytes
                    if not n_bytes:
                        failed.append(operation.key)
                case StateSave() | StateLoad():
                    failed_states.append(operation.key)
                case StateDrop():
                    pass  # no state was ever saved
                case HostLimit():
                    pass  # the toy frees every slab at once
                case ParkDrop():
                    if self._slabs is not None:
                        self._slabs.drop(operation.key)
                case SessionSave() if self._disk is not None and operation.key in failed:
                    self._disk.refuse(operation)
                case SessionSave() | SessionFetch() | SessionForget():
                    if self._disk is not None:
                        self._disk.begin(operation)
        ms = (self._now_ns() - began_ns) / NS_PER_MS
        return HouseKept(
            copied_bytes=copied_bytes,
            copy_ms=ms if copied_bytes else 0.0,
            failed=tuple(failed),
            failed_states=tuple(failed_states),
        )

    def _copy(self, operation: SeqPark | SeqRestore) -> int:
        if self._slabs is None:
            return 0
        if isinstance(operation, SeqPark):
            return self._slabs.park(operation)
        return self._slabs.restore(operation)

    def run(self, plan: StepPlan) -> Decoded:
        """Run one step. Raises `EngineFailed` where a row has no cell before it."""
        house = self.keep_house(plan.memory)
        can_cut = plan.cuttable and self._watch is not None
        if can_cut:
            self._cutter.arm()
            if self._watch is not None and plan.background:
                self._watch.began()
        began_ns = self._now_ns()
        lasts = self._abort.passes(self._step_ms + self._row_ms * plan.n_rows)
        was_cut = can_cut and not lasts
        rids, states, scored = ([], [], ()) if was_cut else self._compute(plan)
        device_ns = self._now_ns() - began_ns
        if can_cut:
            if self._watch is not None and plan.background:
                self._watch.ended()
            self._cutter.disarm()
        return Decoded(
            "cut" if was_cut else "done",
            rids,
            toy_logits(states),
            device_ns,
            plan.n_rows,
            house,
            scored,
        )

    def _compute(self, plan: StepPlan) -> tuple[list[int], list[int], tuple[ScoredRows, ...]]:
        """The request of each row that a token is drawn from, the hash that each row's logits
        follow from, and the rows of slices that score their prompts.
        """
        rids, states = [], []
        scored: tuple[ScoredRows, ...] = ()
        for row in plan.decode:
            rids.append(row.rid)
            states.append(self._cells.extend(row.seq, row.position, [row.token]))
        for piece in plan.prefill:
            if piece.scores:
                scored = (*scored, scored_rows(piece, scored, len(rids)))
                for at, token in enumerate(piece.tokens.tolist()):
                    states.append(self._cells.extend(piece.seq, piece.start + at, [token]))
                continue
            state = self._cells.extend(piece.seq, piece.start, piece.tokens.tolist())
            if piece.wants_logits:
                rids.append(piece.rid)
                states.append(state)
        for guesses in plan.guesses:
            for at, token in enumerate(guesses.tokens, guesses.start):
                states.append(self._cells.extend(guesses.seq, at, [token]))
        return rids, states, scored

    def disk_done(self, report: DiskDone) -> None:
        """A session was written or read, or could not be."""
        if self._disk is not None:
            self._disk.done(report)

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        """(seq, tokens in the cells) of the plan's prefill sequences."""
        return tuple([(piece.seq, self._cells.length(piece.seq)) for piece in plan.prefill])
