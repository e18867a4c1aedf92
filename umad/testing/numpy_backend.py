"""A backend in numpy alone: a toy model that answers at once and always the same.

It proves the seam `umad.engine.backend`, and runs the whole engine process without a model file.
Its vocabulary is the 256 bytes and four marks of ChatML. The logits of a token follow from every
token before it, by a hash that is kept in the cells: a cell that is shared, parked or restored
wrongly gives another answer, and one that is missing ends the engine.

A model's file is JSON: `{"toy": 1, "step_ms": 2.0}`; `ToyModel.write` makes one.
Not: a language model. Its answers mean nothing.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umad.chat.formats import format_of
from umad.engine.backend import Capabilities
from umad.engine.board_watch import BoardWatch
from umad.engine.cutter import Cutter
from umad.engine.embed_work import Embedded, Wanted
from umad.engine.embedding import EmbedFacts
from umad.engine.execution import NOTHING_KEPT, Decoded
from umad.engine.facts import ModelFacts
from umad.engine.launch import EngineOptions
from umad.engine.session_disk import SessionDisk
from umad.engine.slabs import SlabStore
from umad.errors import ModelLoadFailed
from umad.models.sizes import WeightBytes
from umad.protocol.link import Reply
from umad.scheduler.cost import CostModel
from umad.scheduler.embeds import EmbedShape
from umad.scheduler.parked import ParkShape
from umad.step import (
    DiskDone,
    EmbedSlice,
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
    StepPlan,
)
from umad.testing.toy_cells import SLAB_CELLS, ToyCells, ToySlabs, slab_bytes
from umad.testing.toy_tokens import ToyTokens, toy_logits
from umad.units import NS_PER_MS

CELL_BYTES = 12
# Sequences where the settings leave their number to the engine.
SEQS = 64
EMBED_WIDTH = 8
# Cells that a text to embed may have.
EMBED_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyModel:
    """How the toy behaves. It stands in a file where a model's weights would.

    step_ms: a step takes at least so long. row_ms: and so much longer for every row.
    """

    toy: int = 1
    step_ms: float = 0.0
    row_ms: float = 0.0

    def write(self, path: Path) -> Path:
        """Make the model's file."""
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "ToyModel":
        """Raises `ModelLoadFailed` for a file that is none."""
        try:
            values = json.loads(path.read_text())
            if not isinstance(values, dict) or "toy" not in values:
                raise ValueError("it does not say that it is a toy")
            return cls(**values)
        except (OSError, TypeError, ValueError) as error:
            raise ModelLoadFailed(f"{path} is no model of the numpy backend: {error}") from None


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
        return not self._flag.wait(ms / 1_000) if ms > 0 else not self._flag.is_set()


class ToyRunner:
    """Carries plans out on toy cells. `umad.engine.execution.StepRunner` says what is asked."""

    def __init__(
        self,
        cells: ToyCells,
        model: ToyModel,
        abort: Abort,
        *,
        cutter: Cutter,
        now_ns: Callable[[], int],
        watch: BoardWatch | None,
        slabs: SlabStore | None,
        disk: SessionDisk | None,
    ) -> None:
        self._cells = cells
        self._model = model
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
            copied_bytes=copied_bytes, copy_ms=ms if copied_bytes else 0.0, failed=tuple(failed)
        )

    def _copy(self, operation: SeqPark | SeqRestore) -> int:
        if self._slabs is None:
            return 0
        if isinstance(operation, SeqPark):
            return self._slabs.park(operation)
        return self._slabs.restore(operation)

    def run(self, plan: StepPlan) -> Decoded:
        """One step. Raises `EngineFailed` where a row has no cell before it."""
        house = self.keep_house(plan.memory)
        can_cut = plan.cuttable and self._watch is not None
        if can_cut:
            self._cutter.arm()
            if self._watch is not None and plan.background:
                self._watch.began()
        began_ns = self._now_ns()
        lasts = self._abort.passes(self._model.step_ms + self._model.row_ms * plan.n_rows)
        was_cut = can_cut and not lasts
        rids, states = ([], []) if was_cut else self._compute(plan)
        device_ns = self._now_ns() - began_ns
        if can_cut:
            if self._watch is not None and plan.background:
                self._watch.ended()
            self._cutter.disarm()
        return Decoded(
            "cut" if was_cut else "done", rids, toy_logits(states), device_ns, plan.n_rows, house
        )

    def _compute(self, plan: StepPlan) -> tuple[list[int], list[int]]:
        """The request of each row of logits, and the hash that its logits follow from."""
        rids, states = [], []
        for row in plan.decode:
            rids.append(row.rid)
            states.append(self._cells.extend(row.seq, row.position, [row.token]))
        for piece in plan.prefill:
            state = self._cells.extend(piece.seq, piece.start, piece.tokens.tolist())
            if piece.wants_logits:
                rids.append(piece.rid)
                states.append(state)
        return rids, states

    def disk_done(self, report: DiskDone) -> None:
        """A session was written or read, or could not be."""
        if self._disk is not None:
            self._disk.done(report)

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        """(seq, tokens in the cells) of the plan's prefill sequences."""
        return tuple([(piece.seq, self._cells.length(piece.seq)) for piece in plan.prefill])


class ToyEmbedder:
    """Makes vectors that follow from a text's tokens and from nothing else."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._wanted: dict[int, Wanted] = {}
        self._tokens: dict[tuple[int, int], list[int]] = {}
        self._left: dict[int, int] = {}

    def expect(self, wanted: Wanted) -> None:
        """Slices of this request will come."""
        self._wanted[wanted.call] = wanted
        self._left[wanted.call] = len(wanted.sizes)

    def forget(self, call: int) -> None:
        """None of it will come any more."""
        if self._wanted.pop(call, None) is not None:
            del self._left[call]
            self._tokens = {at: one for at, one in self._tokens.items() if at[0] != call}

    def run(self, work: EmbedSlice, *, cuttable: bool) -> Embedded:
        """One slice: tokens are kept until their text is whole."""
        began_ns = self._now_ns()
        told = Embedded()
        for piece in work.pieces:
            if piece.call not in self._wanted:
                continue
            tokens = self._tokens.setdefault((piece.call, piece.index), [])
            tokens += piece.tokens.tolist()
            if piece.ends:
                self._left[piece.call] -= 1
                if not self._left[piece.call]:
                    told.replies.append(self._reply(piece.call))
        told.ns = self._now_ns() - began_ns
        return told

    def _reply(self, call: int) -> Reply:
        wanted = self._wanted[call]
        texts = [self._tokens[call, index] for index in range(len(wanted.sizes))]
        vectors = np.array([_vector(text) for text in texts], np.float32)
        self.forget(call)
        value = {
            "dimensions": EMBED_WIDTH,
            "vectors": vectors.tobytes(),
            "prompt_tokens": sum(wanted.sizes),
        }
        return Reply(call=call, value=value)

    def rest(self, now_ns: int) -> bool:
        """There is no memory to give back."""
        return False

    def close(self) -> None:
        """There is nothing to close."""


def _vector(tokens: list[int]) -> NDArray[np.float32]:
    """float32 (EMBED_WIDTH,) of length 1."""
    counts = np.bincount(np.array(tokens) % EMBED_WIDTH, minlength=EMBED_WIDTH) + 0.5
    return (counts / np.linalg.norm(counts)).astype(np.float32)


class OpenToy:
    """An opened toy; `umad.engine.backend.OpenModel` says what its parts are."""

    def __init__(self, options: EngineOptions, model: ToyModel) -> None:
        settings = options.engine
        self._model = model
        self._cells = ToyCells(settings.ctx_size)
        self._scratch = settings.max_seqs or SEQS
        self.tokens = ToyTokens()
        self.cost = CostModel(decode_ms_each=1.0, prefill_ms_per_token=0.1)
        self.cost_file = None
        self.sessions = None
        self.beginnings = None
        self.batch_tokens = min(settings.batch, settings.ctx_size)
        self.abort = Abort()
        self.parking = None
        if settings.park_bytes is None or settings.park_bytes >= slab_bytes():
            self.parking = ParkShape(
                capacity_bytes=settings.park_bytes or 64 * 2**20,
                slice_cells=SLAB_CELLS,
                slab_bytes=slab_bytes(),
            )
        self.embeds = EmbedFacts(
            pooling="mean",
            whole=False,
            generates=True,
            most_tokens=EMBED_TOKENS,
            width=EMBED_WIDTH,
            shape=EmbedShape(rows=64, seqs=8, whole=False),
        )
        self.facts = _facts(options, self.tokens, self.embeds, self.parking)

    @property
    def capabilities(self) -> Capabilities:
        """Everything but the tiles of ggml's kernels."""
        return Capabilities(
            can_share_prefix=True,
            can_park=self.parking is not None,
            cuts_soon=True,
            has_tiles=False,
            skip_ms=0.0,
            device_bytes=0,
        )

    def slabs(self) -> SlabStore | None:
        """Host memory for cells; None where `park_bytes` leaves none."""
        return None if self.parking is None else ToySlabs(self._cells, scratch=self._scratch)

    def runner(
        self,
        *,
        cutter: Cutter,
        now_ns: Callable[[], int],
        watch: BoardWatch | None = None,
        slabs: SlabStore | None = None,
        disk: SessionDisk | None = None,
    ) -> ToyRunner:
        """Carries plans out."""
        return ToyRunner(
            self._cells,
            self._model,
            self.abort,
            cutter=cutter,
            now_ns=now_ns,
            watch=watch,
            slabs=slabs,
            disk=disk,
        )

    def embedder(
        self, *, cutter: Cutter, now_ns: Callable[[], int], watch: BoardWatch
    ) -> ToyEmbedder:
        """Makes vectors; nothing of it takes long enough to be cut."""
        return ToyEmbedder(now_ns)

    def clear(self) -> None:
        """Empty the cells."""
        self._cells.clear()

    def close(self) -> None:
        """There is nothing to close."""


def _facts(
    options: EngineOptions, tokens: ToyTokens, embeds: EmbedFacts, parking: ParkShape | None
) -> ModelFacts:
    settings = options.engine
    template = tokens.chat_template()
    return ModelFacts(
        name=options.name,
        path=options.path,
        architecture="toy",
        description="numpy toy",
        size_bytes=0,
        n_params=0,
        n_layer=1,
        n_embd=EMBED_WIDTH,
        n_head_kv=1,
        n_vocab=tokens.n_vocab,
        n_ctx_train=settings.ctx_size,
        n_cells=settings.ctx_size,
        max_seqs=settings.max_seqs or SEQS,
        text_tokens=settings.ctx_size,
        weights=WeightBytes(dense=0),
        kv_type="toy",
        kv_type_asked=settings.kv_type,
        kv_pack="unified",
        kv_cell_bytes=CELL_BYTES,
        can_share_prefix=True,
        cuts_soon=True,
        skip_ms=0.0,
        flash_attention=False,
        backends=("numpy",),
        devices=("numpy",),
        threads=1,
        has_chat_template=True,
        chat_format=format_of(template),
        bos_token=tokens.bos,
        adds_bos=tokens.adds_bos,
        eog_tokens=tuple(sorted(tokens.eog_tokens())),
        pooling=embeds.pooling,
        embed_tokens=embeds.most_tokens,
        embed_width=embeds.width,
        park_bytes=0 if parking is None else parking.capacity_bytes,
    )


class NumpyBackend:
    """Opens toys."""

    def open(
        self, options: EngineOptions, *, now_ns: Callable[[], int], costs_folder: Path | None
    ) -> OpenToy:
        """Open `options.path`. Raises `ModelLoadFailed`."""
        return OpenToy(options, ToyModel.read(Path(options.path)))


BACKEND = NumpyBackend()
