"""Defines the values that pass between the scheduler and the engine at each step.

`StepPlan` says what the next `llama_decode` runs. `StepResult` says what that decode did. The
scheduler makes plans and the engine carries them out; neither knows the inside of the other.

Values only.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from umad.draft_slices import DraftOrder
from umad.embed_slices import EmbedPiece as EmbedPiece
from umad.embed_slices import EmbedSlice as EmbedSlice
from umad.media_slices import EncodeTurn, FoldedRun, RowSlice
from umad.request import FinishReason

# What a step carried beside the next tokens of its interactive streams, as bits of one number. All
# but a prompt are other work than interactive work: the prompt's part is in `StepPlan.solo_ms`.
CARRIED_BACKGROUND = 1
# A part of a prompt of an interactive request: a newcomer's, or one that is computed again.
CARRIED_PROMPT = 2
# Cells were moved between the pool and host memory.
CARRIED_COPY = 4
CARRIED_EMBEDDING = 8
CARRIED_OTHER_WORK = CARRIED_BACKGROUND | CARRIED_COPY | CARRIED_EMBEDDING
# The largest number of such bits.
CARRIED_MOST = CARRIED_OTHER_WORK | CARRIED_PROMPT


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
    """Copy the cells of positions [start, start + n_tokens) of `seq` to host memory, into slab
    number `slab` of `key`. The slab's earlier contents are overwritten. The cells stay."""

    seq: int
    key: int
    slab: int
    start: int
    n_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqRestore:
    """Put slab number `slab` of `key` back into the KV pool, or only its first `n_tokens`.

    Free cells become positions [start, start + n_tokens) of `seq`, which ends at `start` before.
    There are free cells for the whole slab, whatever part of it is kept.
    """

    key: int
    slab: int
    seq: int
    start: int
    n_tokens: int
    # The images among these cells that have fewer positions than cells.
    images: tuple[FoldedRun, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkDrop:
    """Free everything that is parked under `key`."""

    key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSave:
    """Copy the state of `seq` after its first `n_tokens` tokens to host memory as checkpoint `key`.
    A state is what recurrent layers, and layers with a small window, keep of a sequence. It is true
    at the sequence's present end only, so `seq` holds exactly `n_tokens`. Where the state is that
    of windows alone, it may hold a few more: what the windows hold before them is still there."""

    seq: int
    key: int
    n_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLoad:
    """Put checkpoint `key` into `seq`, which ends at `n_tokens` afterwards.

    The cells of positions [0, n_tokens) are there already: a copy of cells brings the state of its
    source along, so the state comes last.
    """

    key: int
    seq: int
    n_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDrop:
    """Free checkpoint `key`."""

    key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimit:
    """Hold at most so many bytes of host memory for copies, in use or not."""

    capacity_bytes: int
    # Memory that a copy gave back may be kept for the next one. Where the machine is short of
    # memory, it goes back to the system at once.
    keeps_spare: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSave:
    """Write the cells that are parked under `key` to the file of `session`, while steps go on, and
    the checkpoints `states` with them."""

    session: str
    # -1 for a model that keeps states alone: it has no cells to write.
    key: int
    # int32 (n,): the tokens of all cells under `key`.
    tokens: NDArray[np.int32]
    # (key of a checkpoint, after how many of `tokens` it was taken), ascending by the second.
    states: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFetch:
    """Read the first slabs of the file of `session` into host memory, as `key`, while steps go on,
    and some of its states as checkpoints."""

    session: str
    key: int
    # Of each slab, the memory that it takes, counted in slabs: 1, and more for a large image. None
    # for a model that keeps states alone.
    rooms: tuple[int, ...]
    # int32 (n,): the tokens that the file is expected to hold. A file of other tokens is refused.
    tokens: NDArray[np.int32]
    # (new key, n): the file's state after `n` tokens becomes the checkpoint of that key.
    states: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionForget:
    """Remove the file of `session`, if there is one."""

    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskDone:
    """The end of a save, a fetch or a removal, which was done whole or not at all."""

    operation: "SessionOp"
    ok: bool
    # Bytes read or written.
    n_bytes: int = 0
    # How long it took.
    ms: float = 0.0
    # Sessions whose files were removed to make room.
    evicted: tuple[str, ...] = ()


SessionOp = SessionSave | SessionFetch | SessionForget
StateOp = StateSave | StateLoad | StateDrop
MemoryOp = SeqCopy | SeqTrim | SeqPark | SeqRestore | ParkDrop | StateOp | SessionOp | HostLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseKept:
    """The results of one plan's memory operations."""

    # Bytes moved by copies to and from host memory; the other operations move none.
    copied_bytes: int = 0
    # Milliseconds that those copies took.
    copy_ms: float = 0.0
    # Keys that could not be parked or restored. Their operations changed nothing.
    failed: tuple[int, ...] = ()
    # (key, bytes) of every checkpoint that was saved.
    saved_states: tuple[tuple[int, int], ...] = ()
    # Keys of checkpoints that could not be saved or loaded. A save that failed left nothing. After
    # a load that failed the sequence is empty.
    failed_states: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillSlice:
    """Prompt tokens to be computed at positions [start, start + n_tokens) of a sequence."""

    rid: int
    seq: int
    start: int
    # int32 (n_tokens,): a view that the engine copies from and never keeps.
    tokens: NDArray[np.int32]
    # The slice ends the prompt, so a token is sampled from the logits of its last position.
    wants_logits: bool
    # Every position has logits, because the request asks how probable its prompt's tokens are.
    # These slices are the last ones of a plan.
    scores: bool = False

    @property
    def n_tokens(self) -> int:
        """How many rows this slice takes in the batch."""
        return self.tokens.size


class DecodeSlice(NamedTuple):
    """One sampled token to be computed at `position`. The next token is sampled from its logits.

    It is a tuple because one is made for every row of every step, and a frozen dataclass takes
    three times as long to make.
    """

    rid: int
    seq: int
    position: int
    token: int


class GuessSlice(NamedTuple):
    """Guesses of the tokens that follow a stream's decode row, from position `start` on."""

    rid: int
    seq: int
    start: int
    tokens: tuple[int, ...]
    # A draft model has guessed them.
    drafted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """One step: memory operations, then the decode of `rows`, then one decode of all slices. What
    `embed` and `encode` ask for runs in the same step, in contexts of their own.

    The rows of the batch are those of `decode`, then those of `prefill`, in the order given here,
    then those of `guesses`, then the padding.
    """

    # Carried out first, in this order.
    memory: tuple[MemoryOp, ...] = ()
    decode: tuple[DecodeSlice, ...] = ()
    prefill: tuple[PrefillSlice, ...] = ()
    # Each belongs to a stream that has a row in `decode`. Every row of them has logits. No plan has
    # guesses and slices that score a prompt.
    guesses: tuple[GuessSlice, ...] = ()
    # What a draft model is to guess before the step; the plan is done once it has answered.
    drafts: tuple[DraftOrder, ...] = ()
    # The milliseconds that this has taken, and the bytes that it has moved.
    draft_ms: float = 0.0
    draft_bytes: int = 0
    # How many padding rows follow. They belong to no request and make the step quicker. Their cells
    # are free again when the step is done.
    n_padding: int = 0
    # No interactive work is in the step.
    background: bool = False
    # An interactive arrival may abort the step in the middle, because the work lost by that is
    # worth less than the time that the arrival would wait.
    cuttable: bool = False
    # A cut would spoil the state of the step's one sequence. So the engine saves that state before
    # the step, and puts it back after a cut. Only with `cuttable`.
    saves_state: bool = False
    # How many KV cells the attention of this step reads, summed over all rows, padding included.
    n_cells_read: int = 0
    # The part of `n_cells_read` that prefill slices read.
    n_cells_prefill: int = 0
    # How long the step takes as the cost model expects it.
    predicted_ms: float = 0.0
    # How long the step's readers would wait with no background work in it. The host's part and
    # newcomers' slices are included. 0 for a step without interactive rows.
    solo_ms: float = 0.0
    # How long the step may take under the strictest latency cap of its interactive rows. 0 for a
    # step without interactive rows.
    within_ms: float = 0.0
    # For an idle plan: the time after which some background work may run; 0 for no such work.
    wait_ms: float = 0.0
    # The decode of the embedding context, where there is one.
    embed: EmbedSlice | None = None
    # Rows of a medium, or time to encode some: at most one of the two.
    rows: RowSlice | None = None
    encode: EncodeTurn | None = None
    # The key of the set of adapters that all rows of the step are computed under; "" for none. It
    # says nothing where the step has no rows.
    adapters: str = ""
    # How long the change to that set takes, as it was learnt; 0 where the step before had it too.
    switch_ms: float = 0.0

    @property
    def n_rows(self) -> int:
        """How many tokens the batch has, without padding."""
        n_prefill = sum([one.n_tokens for one in self.prefill]) if self.prefill else 0
        return len(self.decode) + n_prefill + self.n_guesses

    @property
    def n_guesses(self) -> int:
        """The number of rows that are guesses."""
        return sum([len(one.tokens) for one in self.guesses]) if self.guesses else 0

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to decode. There may still be memory to release."""
        return not (self.decode or self.prefill or self.embed or self.has_media)

    @property
    def decodes(self) -> bool:
        """Whether streams have rows to decode, of tokens or of a medium."""
        return self.rows is not None or bool(self.decode or self.prefill)

    @property
    def has_media(self) -> bool:
        """Whether a medium is encoded or read."""
        return self.rows is not None or self.encode is not None


class Sampled(NamedTuple):
    """One token drawn for one request. It is a tuple for the same reason as `DecodeSlice`."""

    rid: int
    token: int
    # "stop" if the token ends the request: it is an end-of-generation token or completes a stop
    # string. "length" is never set here, because the scheduler decides it.
    finish: FinishReason | None = None


class Verified(NamedTuple):
    """The number of a stream's guesses that held. The cells of the others are to be given up."""

    rid: int
    n_accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The results of one step."""

    # "cut": the decode was aborted in the middle, and `seq_lengths` tells how much each prefill
    # sequence kept. "no_memory": llama.cpp found no cells although the ledger had some; nothing
    # ran.
    outcome: Literal["done", "cut", "no_memory"]
    # A stream whose guesses held has several, in their order.
    sampled: tuple[Sampled, ...] = ()
    # One for each of the plan's guesses, where the step was done.
    verified: tuple[Verified, ...] = ()
    # Wall time of the decode call alone.
    device_ms: float = 0.0
    # Time from the previous step's tokens to this one's, the host's part included; 0 where no step
    # came right before.
    felt_ms: float = 0.0
    # Weights touched, KV read and written, and logits; for a cut step, the part that it got to.
    bytes_moved: int = 0
    # Of a cut step: from the arrival that asked for the cut until the device was free.
    cut_ms: float = 0.0
    # (seq, tokens now in the KV) of every prefill slice, asked of llama.cpp after a cut. A sequence
    # whose state could not be put back is empty.
    seq_lengths: tuple[tuple[int, int], ...] = ()
    # The results of the plan's memory operations; None when they were not measured.
    house: HouseKept | None = None
    # Wall time of the embedding decode.
    embed_ms: float = 0.0
    # The embedding decode was aborted and brought nothing.
    embed_cut: bool = False
    # Wall time of the rows of a medium, or of its encoder.
    media_ms: float = 0.0
    # The encoding that the plan gave time to is over, well or badly.
    is_encoded: bool = False
    # Another engine or an encoder computed meanwhile, so the step may have taken longer than alone.
    crowded: bool = False
    # An encoder computed meanwhile as background work, which the plan had no turn for.
    bulk_beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A request that has ended. Its cells are free or retained from here on."""

    rid: int
    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    # int32 (n,): prompt and answer; a view of the request's own tokens.
    tokens: NDArray[np.int32] | None = field(default=None, compare=False, repr=False)
