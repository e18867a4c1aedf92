"""A model of a pool whose sequences have states besides cells, as llama.cpp keeps them.

`FakeStates` knows for every sequence what its state has really seen. A copy of a sequence brings
the source's present state along, however few cells are copied. Cells that are put back from a slab
leave the target without a state. A recurrent state cannot be cut back. A row that is computed on a
state which is not that of exactly the tokens before it fails the test.

With a window, the state is what the layers with a window hold: the cells that the first token of
the last slice looked at, and those behind them. What lies before them is lost at once, as in a
cache of the window's own size; `slack` more tokens may stay a while.
"""

from dataclasses import dataclass, field
from typing import Literal

from typing_extensions import override

from tests.scheduler.fake_cells import Cell, FakeCells
from umad.scheduler.memory.parked_store import ParkShape
from umad.step import (
    HouseKept,
    SeqCopy,
    SeqRestore,
    SeqTrim,
    SessionFetch,
    SessionSave,
    StateDrop,
    StateLoad,
    StateOp,
    StateSave,
    StepPlan,
)

Kind = Literal["hybrid", "recurrent", "window"]
STATE_BYTES = 120
# What a state has seen that half a step left behind: no token.
SPOILT = -1
STATE_SHAPES = {
    "hybrid": ParkShape(capacity_bytes=4000, slice_cells=8, slab_bytes=100, state_bytes=120),
    "window": ParkShape(capacity_bytes=4000, slice_cells=8, slab_bytes=100, state_bytes=120),
    "recurrent": ParkShape(
        capacity_bytes=2000, slice_cells=8, slab_bytes=100, state_bytes=120, has_cells=False
    ),
}


@dataclass
class FakeStates(FakeCells):
    """llama.cpp's pool of a hybrid, a recurrent model, or one with windows at their size."""

    kind: Kind = "hybrid"
    # Milliseconds to copy a byte. Where it is much, copies take several steps.
    byte_ms: float = 1e-4
    slack: int = 0
    # The tokens that each sequence's state has seen; of a window, those that it holds.
    states: dict[int, list[int]] = field(default_factory=dict)
    checkpoints: dict[int, list[int]] = field(default_factory=dict)
    saved: list[tuple[int, int]] = field(default_factory=list)
    failed_states: list[int] = field(default_factory=list)
    # The sequences that the plan under way puts slabs into.
    restored: set[int] = field(default_factory=set)
    n_saved: int = 0
    n_late: int = 0
    n_loaded: int = 0
    n_cut: int = 0

    @override
    def parked_bytes(self) -> int:
        return super().parked_bytes() + sum(_bytes_of(state) for state in self.checkpoints.values())

    @override
    def carry_out(self, plan: StepPlan) -> HouseKept:
        self.saved, self.failed_states = [], []
        self.restored = {op.seq for op in plan.memory if isinstance(op, SeqRestore)}
        kept = super().carry_out(plan)
        return HouseKept(
            copied_bytes=kept.copied_bytes,
            copy_ms=kept.copied_bytes * self.byte_ms,
            failed=kept.failed,
            saved_states=tuple(self.saved),
            failed_states=tuple(self.failed_states),
        )

    @override
    def begin_of(self, seq: int) -> int:
        n_tokens = len(self.sequences.get(seq, []))
        return n_tokens - len(self.states.get(seq, [])) if n_tokens else -1

    @override
    def lose_beginnings(self, share: float) -> None:
        """It has lost them already."""

    # -- operations -----------------------------------------------------------------------------

    @override
    def copy(self, op: SeqCopy) -> None:
        super().copy(op)
        state = self.states.get(op.source, [])
        if self.kind == "window":
            behind = len(self.sequences[op.source]) - op.n_tokens
            state = state[: max(0, len(state) - behind)]
        self.states[op.target] = list(state)

    @override
    def trim(self, op: SeqTrim) -> None:
        n_lost = len(self.sequences.get(op.seq, [])) - op.keep_tokens
        super().trim(op)
        if not op.keep_tokens:
            self.states.pop(op.seq, None)
        elif n_lost > 0:
            assert self.kind == "window", "a recurrent state cannot be cut back"
            del self.states[op.seq][max(0, len(self.states[op.seq]) - n_lost) :]

    @override
    def restore(self, op: SeqRestore) -> None:
        tokens = self.slabs[op.key][op.slab]
        assert len(tokens) >= op.n_tokens, "more was to be put back than was parked"
        assert self.used() + len(tokens) <= self.n_cells, "put back into cells that were not free"
        cells = self.sequences.setdefault(op.seq, [])
        assert len(cells) == op.start
        cells.extend(Cell(token) for token in tokens[: op.n_tokens])
        self.states[op.seq] = []
        self.n_restored += op.n_tokens

    @override
    def move_state(self, op: StateOp) -> int:
        match op:
            case StateDrop():
                self.checkpoints.pop(op.key, None)
                return 0
            case StateSave():
                assert op.key not in self.checkpoints, "saved over a checkpoint"
                behind = len(self.sequences.get(op.seq, [])) - op.n_tokens
                assert behind == 0 or (behind > 0 and self.kind == "window"), "not at its end"
                assert self.state_is_true(op.seq, op.n_tokens), "a wrong state was saved"
                if self.fails(StateSave):
                    self.failed_states.append(op.key)
                    return 0
                state = self.states[op.seq]
                state = self.checkpoints[op.key] = state[: len(state) - behind]
                self.n_late += behind > 0
                self.saved.append((op.key, _bytes_of(state)))
                self.n_saved += 1
                return _bytes_of(state)
            case StateLoad():
                state = self.checkpoints[op.key]
                is_short = len(self.sequences.get(op.seq, [])) < op.n_tokens
                if self.fails(StateLoad) or (is_short and op.seq in self.restored):
                    # A slab that belongs to it could not be put back just before.
                    self.trim(SeqTrim(seq=op.seq, keep_tokens=0))
                    self.failed_states.append(op.key)
                    return 0
                if self.kind == "recurrent":
                    assert not self.sequences.get(op.seq), "a state alone goes into an empty one"
                    self.sequences[op.seq] = [Cell(token) for token in state]
                assert len(self.sequences[op.seq]) == op.n_tokens, "its cells are not there"
                self.states[op.seq] = list(state)
                assert self.state_is_true(op.seq, op.n_tokens), "a wrong state was loaded"
                self.n_loaded += 1
                return _bytes_of(state)

    @override
    def lend(self, op: SessionSave) -> list[list[int]]:
        if self.kind == "recurrent":
            return [op.tokens.tolist()]  # it has no slabs, but a file knows its tokens
        return super().lend(op)

    @override
    def lend_states(self, op: SessionSave) -> dict[int, list[int]]:
        assert op.states, "a file without a state is of no use"
        return {n_tokens: list(self.checkpoints[key]) for key, n_tokens in op.states}

    @override
    def put_states(self, op: SessionFetch, states: dict[int, list[int]]) -> None:
        for key, n_tokens in op.states:
            assert key not in self.checkpoints, "read over a checkpoint"
            self.checkpoints[key] = list(states[n_tokens])

    def fails(self, kind: type) -> bool:
        failing = self.failing.get(kind)
        return failing.pop() if failing else False

    @override
    def cut(self, plan: StepPlan, under: int = 0) -> tuple[tuple[int, int], ...]:
        if self.kind == "window":
            return super().cut(plan, under)
        self.n_cut += 1
        before = {piece.seq: list(self.states.get(piece.seq, [])) for piece in plan.prefill}
        for row in plan.decode:
            self.states[row.seq] = [SPOILT]
        for piece in plan.prefill:
            half = piece.tokens.tolist()[: piece.n_tokens // 2]
            self.compute(piece.seq, piece.start, [token + under for token in half])
            self.states[piece.seq] = [SPOILT]
        if plan.saves_state:
            assert plan.cuttable
            (piece,) = plan.prefill
            assert not plan.decode, "the states of several sequences lie in each other's way"
            if self.fails(StepPlan):
                self.trim(SeqTrim(seq=piece.seq, keep_tokens=0))
            else:
                self.states[piece.seq] = before[piece.seq]
                del self.sequences[piece.seq][piece.start :]
        return tuple((piece.seq, len(self.sequences.get(piece.seq, []))) for piece in plan.prefill)

    # -- what is true ---------------------------------------------------------------------------

    def state_is_true(self, seq: int, n_tokens: int) -> bool:
        """Whether a token at `n_tokens` can be computed, where a sequence ends there."""
        cells, state = self.sequences.get(seq, []), self.states.get(seq, [])
        tokens = [cell.token for cell in cells[:n_tokens]]
        if self.window is not None:
            state = state[: len(state) - (len(cells) - len(tokens))]
        if self.window is None:
            return state == tokens[:n_tokens]
        first = self.window.first_seen(n_tokens)
        return len(state) >= n_tokens - first and tokens[len(tokens) - len(state) :] == state

    @override
    def compute(self, seq: int, start: int, tokens: list[int]) -> list[int]:
        cells = self.sequences.setdefault(seq, [])
        assert len(cells) == start, f"sequence {seq} holds {len(cells)}, row is at {start}"
        assert self.state_is_true(seq, start), f"sequence {seq} has not the state of {start} tokens"
        cells.extend(Cell(token) for token in tokens)
        state = [*self.states.get(seq, []), *tokens]
        if self.window is not None:
            n_held = len(cells) - self.window.first_seen(start) + self.slack
            state = state[max(0, len(state) - n_held) :]
        self.states[seq] = state
        return [cell.token for cell in cells]


def _bytes_of(state: list[int]) -> int:
    """A checkpoint takes less than the most that one may take."""
    return STATE_BYTES - len(state) % 7
