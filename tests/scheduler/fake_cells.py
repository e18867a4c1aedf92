"""A model of llama.cpp's KV pool, and of a disk, as far as a scheduler can tell.

`FakeCells` keeps, for every sequence, the very tokens whose KV it would hold, cell by cell, as
llama.cpp's unified pool does: a copy shares cells, a trim frees those nobody holds. With a window
a sequence may lose its beginning at any time, as far as its own next token does not look at it.
What is parked it keeps slab by slab, and puts a slab back only where there are free cells for all
of it; now and then a copy fails. `FakeDisk` answers late, or that it could not, and outlives the
scheduler.
"""

from dataclasses import dataclass, field

from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.windows import Window
from umad.step import (
    DiskDone,
    HostLimit,
    HouseKept,
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
    StateOp,
    StateSave,
    StepPlan,
)

N_CELLS = 160
PARKING = ParkShape(capacity_bytes=40 * 100, slice_cells=8, slab_bytes=100)


@dataclass(eq=False)
class Cell:
    token: int


@dataclass
class FakeCells:
    """llama.cpp's unified KV pool, as far as the scheduler can tell."""

    sequences: dict[int, list[Cell]] = field(default_factory=dict)
    slabs: dict[int, dict[int, list[int]]] = field(default_factory=dict)
    # Of the next copies there, and back, whether each fails.
    failing: dict[type, list[bool]] = field(default_factory=dict)
    n_restored: int = 0
    window: Window | None = None
    begins: dict[int, int] = field(default_factory=dict)
    shape: ParkShape = PARKING
    n_cells: int = N_CELLS
    host_limit: HostLimit | None = None
    disk: "FakeDisk" = field(default_factory=lambda: FakeDisk())

    def used(self) -> int:
        return len({id(cell) for cells in self.sequences.values() for cell in cells})

    def begin_of(self, seq: int) -> int:
        begin = self.begins.get(seq, 0)
        return begin if begin < len(self.sequences.get(seq, [])) else -1

    def lose_beginnings(self, share: float) -> None:
        """Of every sequence, so much of what it may lose."""
        assert self.window is not None
        for seq, cells in self.sequences.items():
            lost = int(share * self.window.first_seen(len(cells)))
            self.begins[seq] = max(lost, self.begins.get(seq, 0))

    def parked_bytes(self) -> int:
        return self.shape.slab_bytes * sum(len(slabs) for slabs in self.slabs.values())

    def carry_out(self, plan: StepPlan) -> HouseKept:
        failed: set[int] = set()
        n_bytes = 0
        for op in plan.memory:
            match op:
                case SeqCopy():
                    self.copy(op)
                case SeqTrim():
                    self.trim(op)
                case StateSave() | StateLoad() | StateDrop():
                    n_bytes += self.move_state(op)
                case ParkDrop():
                    self.slabs.pop(op.key, None)
                case HostLimit():
                    self.host_limit = op
                case SessionSave():
                    slabs = [] if op.key in failed else self.lend(op)
                    self.disk.writing.append((op, slabs, self.lend_states(op)))
                case SessionFetch():
                    assert op.key not in self.slabs, "read over what is parked"
                    self.disk.reading.append(op)
                case SessionForget():
                    self.disk.writing.append((op, [], {}))
                case SeqPark() | SeqRestore():
                    assert 0 < op.n_tokens <= self.shape.slice_cells
                    assert op.start == op.slab * self.shape.slice_cells
                    if (fails := self.failing.get(type(op))) and fails.pop():
                        failed.add(op.key)
                    if op.key not in failed:
                        n_bytes += self.shape.slab_bytes
                        self.park(op) if isinstance(op, SeqPark) else self.restore(op)
        assert self.parked_bytes() <= self.shape.capacity_bytes
        return HouseKept(copied_bytes=n_bytes, copy_ms=n_bytes * 1e-4, failed=tuple(sorted(failed)))

    def copy(self, op: SeqCopy) -> None:
        assert not self.sequences.get(op.target), "copied onto a sequence in use"
        source = self.sequences.get(op.source, [])
        assert len(source) >= op.n_tokens, "copied more than is there"
        self.sequences[op.target] = source[: op.n_tokens]
        self.begins[op.target] = self.begins.get(op.source, 0)

    def trim(self, op: SeqTrim) -> None:
        self.sequences[op.seq] = self.sequences.get(op.seq, [])[: op.keep_tokens]
        if not op.keep_tokens:
            self.begins.pop(op.seq, None)

    def move_state(self, op: StateOp) -> int:
        raise AssertionError("this pool has no states")

    def lend_states(self, op: SessionSave) -> dict[int, list[int]]:
        assert not op.states, "this pool has no states"
        return {}

    def put_states(self, op: SessionFetch, states: dict[int, list[int]]) -> None:
        assert not op.states, "this pool has no states"

    def lend(self, op: SessionSave) -> list[list[int]]:
        return list(self.slabs[op.key].values())

    def park(self, op: SeqPark) -> None:
        cells = self.sequences[op.seq][op.start : op.start + op.n_tokens]
        assert len(cells) == op.n_tokens, "parked more than is there"
        self.slabs.setdefault(op.key, {})[op.slab] = [cell.token for cell in cells]

    def restore(self, op: SeqRestore) -> None:
        tokens = self.slabs[op.key][op.slab]
        assert len(tokens) >= op.n_tokens, "more was to be put back than was parked"
        assert self.used() + len(tokens) <= self.n_cells, "put back into cells that were not free"
        self.compute(op.seq, op.start, tokens[: op.n_tokens])
        self.n_restored += op.n_tokens

    def cut(self, plan: StepPlan, under: int = 0) -> tuple[tuple[int, int], ...]:
        """Cut a step in the middle; the length of each sequence of a slice. Whole micro-batches of
        some sequences are kept, and nothing of others. under: what adapters make of a token."""
        lengths = []
        for at, piece in enumerate(plan.prefill):
            kept = piece.tokens.tolist()[: (piece.n_tokens if at % 2 else piece.n_tokens // 2)]
            if self.window is not None:
                kept = []  # a step is one micro-batch
            self.compute(piece.seq, piece.start, [token + under for token in kept])
            lengths.append((piece.seq, piece.start + len(kept)))
        return tuple(lengths)

    def compute(self, seq: int, start: int, tokens: list[int]) -> list[int]:
        """Add cells; the tokens the last row's attention saw."""
        cells = self.sequences.setdefault(seq, [])
        assert len(cells) == start, f"sequence {seq} holds {len(cells)}, row is at {start}"
        if self.window is not None:
            begin, seen = self.begins.get(seq, 0), self.window.first_seen(start)
            assert begin <= seen, f"sequence {seq} begins at {begin}, row looks at {seen}"
        cells.extend(Cell(token) for token in tokens)
        return [cell.token for cell in cells]


# A cell that was computed under adapters holds its token and so many times their number. No test
# has so many tokens. It is no multiple of 50: the model of the tests counts in those, and would not
# see the difference.
ADAPTED = 1_000_003


def plain(slabs: list[list[int]]) -> list[int]:
    """The tokens of the cells in these slabs, whatever they were computed under."""
    return [token % ADAPTED for slab in slabs for token in slab]


@dataclass
class FakeDisk:
    """What has been asked of it, in order, and the slabs and states of each session's file."""

    writing: list[tuple[SessionSave | SessionForget, list[list[int]], dict[int, list[int]]]] = (
        field(default_factory=list)
    )
    reading: list[SessionFetch] = field(default_factory=list)
    files: dict[str, list[list[int]]] = field(default_factory=dict)
    # By the number of tokens after which each was taken.
    states: dict[str, dict[int, list[int]]] = field(default_factory=dict)

    def written(self, *, fails: bool) -> DiskDone | None:
        """The next one is done with."""
        op, slabs, states = self.writing.pop(0)
        if isinstance(op, SessionForget):
            self.files.pop(op.session, None)
            self.states.pop(op.session, None)
            return None
        if fails or not slabs:
            return DiskDone(operation=op, ok=False)
        assert op.tokens.tolist() == plain(slabs)
        others = tuple(self.files)[:-1]  # now and then some have to make room
        for other in others:
            del self.files[other]
            self.states.pop(other, None)
        self.files[op.session] = slabs
        self.states[op.session] = states
        return DiskDone(operation=op, ok=True, n_bytes=100, ms=1.0, evicted=others)

    def read(self, cells: FakeCells, *, fails: bool) -> DiskDone:
        op = self.reading.pop(0)
        slabs = self.files.get(op.session, [])
        if fails or plain(slabs) != op.tokens.tolist():
            self.files.pop(op.session, None)  # nobody trusts it any longer
            return DiskDone(operation=op, ok=False)
        assert len(op.rooms) <= len(slabs)
        cells.slabs[op.key] = dict(enumerate(slabs[: len(op.rooms)]))
        cells.put_states(op, self.states.get(op.session, {}))
        return DiskDone(operation=op, ok=True, n_bytes=100, ms=1.0)
