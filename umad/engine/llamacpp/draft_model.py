"""Opens a draft model beside its target: a file that fits, its context, and what its decodes cost.

    find_draft    which of the files that come into question is the draft, and the memory it takes.
                  A draft that a user named is refused in one line where it does not fit; of others
                  the smallest that fits is taken
    LlamaDraft    weights and context, once the target is there

The context has a pool of its own, of `DRAFT_CELLS` at most, for `DRAFT_SEQS` texts. It computes
with as many threads as the target, in the target's steps.

Not: what it guesses (`umad.engine.drafts`). Owner: the main thread opens, the step thread uses.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from umad.config import EngineSettings
from umad.engine.drafts.drafter import DraftFailed, DraftRows
from umad.engine.drafts.vocabularies import first_difference
from umad.engine.facts import StepTraffic
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.context_memory import ContextMemory, FileMemory, asked_of_file
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.engine.llamacpp.llama import Batch, Context, LlamaError, Model
from umad.engine.llamacpp.warm_up import WarmUp
from umad.engine.process import decode_threads
from umad.errors import ModelLoadFailed
from umad.models.drafts import AUTO
from umad.models.files import joined, whole_headers
from umad.models.gguf import GgufHeader, read_header
from umad.models.sizes import weight_bytes
from umad.scheduler.costs.step_cost import CostModel

log = logging.getLogger("umad.engine")

# Steps of more streams have no guesses (`speculator.MOST_STREAMS`).
DRAFT_SEQS = 8
# Texts that are longer together are not all drafted. Drafts of 0.5B take 12 KB a cell: 200 MB.
DRAFT_CELLS = 16_384
# One decode reads so many tokens of a text.
_MOST_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDraft:
    """A file that can be its target's draft."""

    path: Path
    headers: tuple[GgufHeader, ...]
    context: ContextOptions
    # Weights, and all that its context takes.
    size_bytes: int
    context_bytes: int
    # One position of one text.
    cell_bytes: int

    @property
    def n_bytes(self) -> int:
        """All the memory that it takes."""
        return self.size_bytes + self.context_bytes

    def as_map(self) -> dict[str, Any]:
        """For `ModelFacts`."""
        names = ("size_bytes", "context_bytes")
        return {"path": str(self.path), **{name: getattr(self, name) for name in names}}


def find_draft(options: EngineOptions) -> FoundDraft | None:
    """The draft of a model; None for none. Raises `ModelLoadFailed` for one that was named and does
    not fit.
    """
    if not options.drafts or options.engine.draft is None:
        return None
    is_named = options.engine.draft != AUTO
    target: Model | None = None
    try:
        for one in options.drafts:
            path = Path(one)
            try:
                found = _looked_at(path, options.engine, like=None if is_named else options.path)
                target = target or _vocabulary(Path(options.path))
                _compare(path, target)
            except ModelLoadFailed as error:
                if is_named:
                    raise
                log.info("no draft of model=%s: %s", options.name, error.message)
            else:
                return found
    finally:
        if target is not None:
            target.close()
    return None


def _looked_at(path: Path, settings: EngineSettings, *, like: str | None) -> FoundDraft:
    """like: a model whose header has to name the same tokenizer; None to look at tokens alone."""
    headers = whole_headers(path)
    header = headers[0]
    if like is not None and _tokenizer(read_header(Path(like))) != _tokenizer(header):
        raise ModelLoadFailed(f"{path} has another tokenizer", field="draft")
    if header.metadata.get("general.type") == "adapter":
        raise ModelLoadFailed(f"{path} is an adapter (LoRA) and cannot be a draft", field="draft")
    if header.own("attention.causal") is False:
        raise ModelLoadFailed(f"{path} only embeds and cannot be a draft", field="draft")
    shape = _shape(settings)

    def question(file: FileMemory) -> ContextMemory:
        memory = file.memory(shape)
        if file.keeps_states or memory.has_windows or memory.owns_cells:
            raise ModelLoadFailed(
                f"{path} cannot be a draft: tokens cannot be taken back from its states or "
                "windows; name another model",
                field="draft",
            )
        return memory

    memory = asked_of_file(path, headers, question, gpu_layers=settings.gpu_layers)
    return FoundDraft(
        path=path,
        headers=headers,
        context=shape,
        size_bytes=sum(one.file_bytes for one in headers),
        context_bytes=memory.kept_bytes(DRAFT_SEQS) + memory.working_bytes(DRAFT_SEQS),
        cell_bytes=memory.cell_bytes,
    )


def _tokenizer(header: GgufHeader) -> tuple[object, ...]:
    return tuple([header.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre")])


def _shape(settings: EngineSettings) -> ContextOptions:
    kv = KV_TYPES[settings.kv_type]
    batch = min(_MOST_BATCH, settings.batch)
    return ContextOptions(
        n_cells=min(DRAFT_CELLS, settings.ctx_size or DRAFT_CELLS),
        max_seqs=DRAFT_SEQS,
        batch=batch,
        ubatch=min(batch, settings.ubatch),
        threads=settings.threads or decode_threads(),
        type_k=kv.number,
        type_v=kv.number,
        flash_attention=settings.flash_attention,
    )


def _vocabulary(path: Path) -> Model:
    try:
        return Model(str(path), vocab_only=True)
    except LlamaError as error:
        raise ModelLoadFailed(f"{path} cannot be loaded: {error}") from error


def _compare(path: Path, target: Model) -> None:
    draft = _vocabulary(path)
    try:
        difference = first_difference(target, draft)
    finally:
        draft.close()
    if difference:
        raise ModelLoadFailed(
            f"{path} cannot be a draft, because its vocabulary is another one: {difference}",
            field="draft",
        )


class LlamaDraft:
    """An opened draft. `umad.engine.drafts.drafter.OpenDraft` says what its parts are."""

    def __init__(
        self, found: FoundDraft, settings: EngineSettings, now_ns: Callable[[], int]
    ) -> None:
        """Raises `ModelLoadFailed`."""
        self.found = found
        try:
            self._model = Model(
                str(found.path),
                gpu_layers=settings.gpu_layers,
                mmap=settings.mmap,
                mlock=settings.mlock,
                repack=bool(settings.repack),
            )
            context = Context(self._model, found.context)
        except LlamaError as error:
            raise ModelLoadFailed(f"{found.path} cannot be loaded: {error}") from error
        warm = WarmUp(self._model, context, found.context, DRAFT_SEQS, now_ns)
        warm.first_ms()
        self.cost = CostModel()
        self.cost.learn_all(warm.measure(None))
        self.context = DraftPool(self._model, context, found.context)
        header = found.headers[0] if len(found.headers) == 1 else joined(found.headers)
        self.traffic = StepTraffic(
            weights=weight_bytes(header),
            kv_cell_bytes=found.cell_bytes,
            n_vocab=self._model.n_vocab,
            ubatch=found.context.ubatch,
        )
        log.info(
            "draft=%s tokens cost %.1f ms, %.1f for 4 at once",
            found.path.stem,
            self.cost.decode.at(1),
            self.cost.decode.at(4),
        )

    def close(self) -> None:
        """Give context and weights back."""
        self.context.close()
        self._model.close()


class DraftPool:
    """The context of a draft. `umad.engine.drafts.drafter.DraftContext` says what it does."""

    def __init__(self, model: Model, context: Context, shape: ContextOptions) -> None:
        self._context = context
        self.n_vocab = model.n_vocab
        self.n_seqs = shape.max_seqs
        self.n_cells = context.n_cells
        self.batch_tokens = shape.batch
        self._batch = Batch(shape.batch)

    def decode(self, rows: Sequence[DraftRows]) -> list[int]:
        """Compute rows; return the likeliest token behind each that asks for it."""
        batch, at = self._batch, 0
        for row in rows:
            end = at + row.tokens.size
            batch.token[at:end] = row.tokens
            batch.pos[at:end] = np.arange(row.start, row.start + row.tokens.size)
            batch.seq[at:end] = row.seq
            batch.wants_logits[at:end] = 0
            batch.wants_logits[end - 1] = row.guesses
            at = end
        batch.set_rows(at)
        code = self._context.decode(batch)
        if code:
            raise DraftFailed(f"llama_decode returned {code}: {self._context.last_words()}")
        n_asked = sum([row.guesses for row in rows])
        if not n_asked:
            # The time of these rows is not to be that of the next step.
            self._context.wait()
            return []
        likeliest: list[int] = self._context.logits(n_asked).argmax(axis=1).tolist()
        return likeliest

    def trim(self, seq: int, keep: int) -> None:
        """Give up the cells of `seq` from position `keep` on."""
        self._context.trim(seq, keep)

    def copy(self, source: int, target: int, n: int) -> None:
        """Share the cells of positions [0, n) of `source` with the empty sequence `target`."""
        self._context.copy(source, target, n)

    def clear(self) -> None:
        """Empty the pool."""
        self._context.clear()

    def close(self) -> None:
        """Give the context back."""
        self._context.close()
