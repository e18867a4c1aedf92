"""Implements a backend in numpy alone: a toy model that answers at once and always the same.

It proves the seam `umad.engine.backend`, and runs the whole engine process without a model file.
Its vocabulary is the 256 bytes and four marks of ChatML. The logits of a token follow from every
token before it, by a hash that is kept in the cells. So a cell that is shared, parked or restored
wrongly gives another answer, and a cell that is missing ends the engine.

A model's file is JSON: `{"toy": 1, "step_ms": 2.0}`; `ToyModel.write` makes one.
Not: a language model. Its answers mean nothing.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from umad.chat.formats import format_of
from umad.engine.backend import Capabilities
from umad.engine.board.watch import BoardWatch
from umad.engine.company import Company
from umad.engine.embedding.facts import EmbedFacts
from umad.engine.facts import ModelFacts
from umad.engine.launch import EngineOptions
from umad.engine.media.desk import MediaDesk
from umad.engine.sessions.disk import SessionDisk
from umad.engine.slabs import SlabStore, StateStore
from umad.engine.steps.cutter import Cutter
from umad.errors import ModelLoadFailed
from umad.models.sizes import WeightBytes
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.embeds.queue import EmbedShape
from umad.scheduler.memory.parked_store import ParkShape
from umad.testing.toy_cells import SLAB_CELLS, ToyCells, ToySlabs, slab_bytes
from umad.testing.toy_embedder import EMBED_WIDTH, ToyEmbedder
from umad.testing.toy_runner import Abort, ToyRunner
from umad.testing.toy_tokens import ToyTokens

CELL_BYTES = 12
# The number of sequences, where the settings leave it to the engine.
SEQS = 64
# The cells of the pool, likewise.
N_CELLS = 8192
# The most tokens of a text to embed.
EMBED_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyModel:
    """The behaviour of the toy. It is stored in a file, where a model's weights would be."""

    toy: int = 1
    # A step takes at least so long.
    step_ms: float = 0.0
    # Each row adds so much to a step.
    row_ms: float = 0.0

    def write(self, path: Path) -> Path:
        """Make the model's file."""
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "ToyModel":
        """Read the model's file. Raises `ModelLoadFailed` for any other file."""
        try:
            values = json.loads(path.read_text())
            if not isinstance(values, dict) or "toy" not in values:
                raise ValueError("it does not say that it is a toy")
            return cls(**values)
        except (OSError, TypeError, ValueError) as error:
            raise ModelLoadFailed(f"{path} is no model of the numpy backend: {error}") from None


class OpenToy:
    """An opened toy; `umad.engine.backend.OpenModel` says what its parts are."""

    def __init__(self, options: EngineOptions, model: ToyModel) -> None:
        settings = options.engine
        self._model = model
        n_cells = settings.ctx_size or N_CELLS
        self._cells = ToyCells(n_cells)
        self._scratch = settings.max_seqs or SEQS
        self.tokens = ToyTokens()
        self.cost = CostModel(decode_ms_each=1.0, prefill_ms_per_token=0.1)
        self.cost_file = None
        self.sessions = None
        self.beginnings = None
        self.adapters = None
        self.batch_tokens = min(settings.batch, n_cells)
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
        self.media = None
        self.draft = None
        self.facts = _facts(options, self.tokens, self.embeds, self.parking)

    @property
    def capabilities(self) -> Capabilities:
        """The toy can do everything but the tiles of ggml's kernels."""
        return Capabilities(
            cut_save_ms=None,
            can_share_prefix=True,
            shares_at="anywhere",
            can_park=self.parking is not None,
            cut_share=0.0,
            has_tiles=False,
            skip_ms=0.0,
            device_bytes=0,
        )

    def slabs(self) -> SlabStore | None:
        """The host memory for cells; None where `park_bytes` leaves none."""
        return None if self.parking is None else ToySlabs(self._cells, scratch=self._scratch)

    def states(self) -> StateStore | None:
        """None: the toy keeps cells only."""
        return None

    def runner(
        self,
        *,
        cutter: Cutter,
        now_ns: Callable[[], int],
        watch: BoardWatch | None = None,
        slabs: SlabStore | None = None,
        states: StateStore | None = None,
        disk: SessionDisk | None = None,
        media: MediaDesk | None = None,
    ) -> ToyRunner:
        """Make the part that carries plans out. The toy sees nothing."""
        return ToyRunner(
            self._cells,
            self.abort,
            cutter=cutter,
            now_ns=now_ns,
            watch=watch,
            slabs=slabs,
            disk=disk,
            step_ms=self._model.step_ms,
            row_ms=self._model.row_ms,
        )

    def embedder(
        self, *, cutter: Cutter, now_ns: Callable[[], int], watch: BoardWatch
    ) -> ToyEmbedder:
        """Make the part that computes vectors. It is too quick to be cut."""
        return ToyEmbedder(now_ns)

    def clear(self) -> None:
        """Empty the cells."""
        self._cells.clear()

    def close(self) -> None:
        """Does nothing: there is nothing to close."""


def _facts(
    options: EngineOptions, tokens: ToyTokens, embeds: EmbedFacts, parking: ParkShape | None
) -> ModelFacts:
    settings = options.engine
    n_cells = settings.ctx_size or N_CELLS
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
        n_ctx_train=n_cells,
        n_cells=n_cells,
        max_seqs=settings.max_seqs or SEQS,
        text_tokens=settings.ctx_per_stream or n_cells,
        text_bound="pool" if settings.ctx_per_stream is None else "asked",
        weights=WeightBytes(dense=0),
        kv_type="toy",
        kv_type_asked=settings.kv_type,
        kv_pack="unified",
        kv_cell_bytes=CELL_BYTES,
        can_share_prefix=True,
        cut_share=0.0,
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
        self,
        options: EngineOptions,
        *,
        now_ns: Callable[[], int],
        costs_folder: Path | None,
        company: Company | None = None,
    ) -> OpenToy:
        """Open `options.path`. Raises `ModelLoadFailed`."""
        return OpenToy(options, ToyModel.read(Path(options.path)))


BACKEND = NumpyBackend()
