"""The values that pass between the scheduler and the engine at each step.

`StepPlan` says what the next `llama_decode` runs, `StepResult` what came of it. Values only:
the scheduler makes plans, the engine carries them out, neither knows the other's inside.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from umad.request import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqCopy:
    """Share the cells of positions [0, n_tokens) of `source` with the empty sequence `target`."""

    source: int
    target: int
    n_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqTrim:
    """Give up the cells of `seq` from position `keep_tokens` on; 0 empties the sequence."""

    seq: int
    keep_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqPark:
    """Copy the cells of positions [start, start + n_tokens) of `seq` to host memory, where they are
    slab number `slab` of `key`; what that slab held before is written over. The cells stay."""

    seq: int
    key: int
    slab: int
    start: int
    n_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqRestore:
    """Put slab number `slab` of `key`, or its first `n_tokens`, back: free cells become positions
    [start, start + n_tokens) of `seq`, which ends at `start`. There are free cells for all of the
    slab, whatever part of it is kept."""

    key: int
    slab: int
    seq: int
    start: int
    n_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkDrop:
    """Forget everything parked under `key`."""

    key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSave:
    """Write what is parked under `key` to the file of `session`, beside the steps to come.

    tokens: int32 (n,), what the cells under `key` are of, all of them.
    """

    session: str
    key: int
    tokens: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFetch:
    """Read the first `n_slabs` slabs of the file of `session` into host memory, as `key`, beside
    the steps to come.

    tokens: int32 (n,), what the file is thought to be of; a file of anything else is refused.
    """

    session: str
    key: int
    n_slabs: int
    tokens: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionForget:
    """Remove the file of `session`, if there is one."""

    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskDone:
    """What became of a save, a fetch or a removal, whole or not at all.

    n_bytes, ms: read or written, and how long it took. evicted: sessions whose files had to make
    room.
    """

    operation: "SessionOp"
    ok: bool
    n_bytes: int = 0
    ms: float = 0.0
    evicted: tuple[str, ...] = ()


SessionOp = SessionSave | SessionFetch | SessionForget
MemoryOp = SeqCopy | SeqTrim | SeqPark | SeqRestore | ParkDrop | SessionOp


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseKept:
    """What the memory operations of one plan came to.

    copied_bytes, copy_ms: of parking and restoring alone; the others move no bytes.
    failed: keys that could not be parked, or not restored; their operations changed nothing.
    """

    copied_bytes: int = 0
    copy_ms: float = 0.0
    failed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillSlice:
    """`tokens` are computed at positions [start, start + n_tokens) of a sequence.

    tokens: int32 (n_tokens,), a view the engine copies from and never keeps.
    wants_logits: the slice ends the prompt, so its last position is sampled.
    """

    rid: int
    seq: int
    start: int
    tokens: NDArray[np.int32]
    wants_logits: bool

    @property
    def n_tokens(self) -> int:
        """Rows this slice takes in the batch."""
        return self.tokens.size


class DecodeSlice(NamedTuple):
    """One sampled token, at `position`, is computed and the next one sampled from its logits.

    A tuple, as one is made for every row of every step: a frozen dataclass takes three times as
    long to make.
    """

    rid: int
    seq: int
    position: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedPiece:
    """`tokens` of input number `index` of the embedding request `call`, at positions from `start`
    on of a sequence of the embedding context.

    tokens: int32 (n_tokens,), a view. ends: the input ends with them, and its cells may go.
    """

    call: int
    index: int
    seq: int
    start: int
    tokens: NDArray[np.int32]
    ends: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSlice:
    """One decode of the embedding context, which needs `cells` cells for it (of an encoder: as many
    rows); where it has fewer it is made anew and is empty, and every piece begins at 0.

    drop: sequences whose cells go first. n_cells_read: as in `StepPlan`. bulk: it is background
    work. cuttable: an arrival may abort it in the middle.
    """

    pieces: tuple[EmbedPiece, ...]
    cells: int
    drop: tuple[int, ...] = ()
    n_cells_read: int = 0
    bulk: bool = False
    cuttable: bool = False

    @property
    def n_rows(self) -> int:
        """Tokens in the batch."""
        return sum([piece.tokens.size for piece in self.pieces])


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """One step. `memory` is carried out first, in order; then one decode of all slices, then, where
    there is one, that of `embed`.

    Rows are laid out decode first, then prefill, in the order given here. n_padding: rows of nobody
    behind them that make the step quicker, in cells which are free again when it is done.
    background: no interactive work is in it. cuttable: what it loses when an interactive arrival
    aborts it in the middle is worth less than what the arrival would wait.
    n_cells_read: KV cells the attention of this step reads, summed over rows, padding's included;
    n_cells_prefill: the part of it that prefill slices read.
    predicted_ms: what the cost model expects; the guard's books are kept with it.
    solo_ms: what its readers would wait for it with no background work in it, the host's part and
    newcomers' slices included; within_ms: what the strictest latency cap of its interactive rows
    makes of that; 0 for a step without any.
    wait_ms: of an idle plan, when there is background work that may run after so long; 0: none.
    """

    memory: tuple[MemoryOp, ...] = ()
    decode: tuple[DecodeSlice, ...] = ()
    prefill: tuple[PrefillSlice, ...] = ()
    n_padding: int = 0
    background: bool = False
    cuttable: bool = False
    n_cells_read: int = 0
    n_cells_prefill: int = 0
    predicted_ms: float = 0.0
    solo_ms: float = 0.0
    within_ms: float = 0.0
    wait_ms: float = 0.0
    embed: EmbedSlice | None = None

    @property
    def n_rows(self) -> int:
        """Tokens in the batch that are somebody's."""
        return len(self.decode) + sum(s.n_tokens for s in self.prefill)

    @property
    def is_idle(self) -> bool:
        """Nothing to decode (there may still be memory to release)."""
        return not self.decode and not self.prefill and self.embed is None


class Sampled(NamedTuple):
    """One token drawn for one request, and whether it ends it. A tuple for the same reason.

    finish: "stop" for an end-of-generation token or a stop string; "length" is the scheduler's
    own to decide and never set here.
    """

    rid: int
    token: int
    finish: FinishReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one decode did.

    outcome: "done", or "cut" (aborted in the middle; `seq_lengths` tells how much each prefill
    sequence kept), or "no_memory" (llama.cpp found no cells although the ledger had; nothing ran).
    device_ms: wall time of the decode call alone. felt_ms: from the previous step's tokens to this
    one's, the host's part of it included; 0 where no step came right before.
    bytes_moved: weights touched, KV read and written, logits; of a cut step the part it got to.
    seq_lengths: (seq, tokens now in the KV) of every prefill slice, asked of llama.cpp after a cut.
    house: what the plan's memory operations came to; None when nobody looked.
    embed_ms: wall time of the embedding decode; embed_cut: it was aborted and brought nothing.
    """

    outcome: Literal["done", "cut", "no_memory"]
    sampled: tuple[Sampled, ...] = ()
    device_ms: float = 0.0
    felt_ms: float = 0.0
    bytes_moved: int = 0
    seq_lengths: tuple[tuple[int, int], ...] = ()
    house: HouseKept | None = None
    embed_ms: float = 0.0
    embed_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A request the scheduler has let go of; its cells are free or retained from here on."""

    rid: int
    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
