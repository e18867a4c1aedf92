"""Collects the facts of a model whose weights are mapped, and how it embeds texts.

Not: opening it (`loading`). Owner: the main thread.
"""

from dataclasses import dataclass
from pathlib import Path

from umad.chat.formats import format_of
from umad.engine.embedding.facts import (
    HELD_SEQS,
    POOLINGS,
    RANK,
    EmbedFacts,
    embed_shape,
    pooling_of,
)
from umad.engine.facts import ModelFacts, SharesAt
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.abort_flag import AbortFlag
from umad.engine.llamacpp.context_memory import ContextMemory
from umad.engine.llamacpp.context_options import ContextOptions, padded
from umad.engine.llamacpp.devices import Device, looks_always
from umad.engine.llamacpp.kv_types import GgmlType
from umad.engine.llamacpp.llama import Model
from umad.models.gguf import GgufHeader, whole_number
from umad.models.positions import StreamContext, long_factors_from, stream_context
from umad.models.rope import Rope
from umad.models.sizes import WeightBytes
from umad.scheduler.memory.windows import Window
from umad.units import NS_PER_MS

# One head of a layer takes so long to pass over a masked cell (0.5B model, 24 layers of 14 heads,
# two cores of a Xeon: 3.2 ns where a row is alone, 2.0 where there are eight).
_SKIP_NS = 2.5
_TITLE_CHARS = 128
# Architectures whose window is a chunk (LLAMA_SWA_TYPE_CHUNKED). llama.cpp does not report that.
_IN_CHUNKS = frozenset({"llama4"})
# Architectures whose graph sets the logits of tokens for pictures, and asserts that there are some.
WANTS_OUTPUT = frozenset({"chameleon"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A model whose weights are mapped, and everything that is known of it by then."""

    options: EngineOptions
    path: Path
    header: GgufHeader
    model: Model
    weights: WeightBytes
    devices: tuple[Device, ...]
    kv: GgmlType
    threads: int
    load_ms: float
    # Ends steps, by a gate on devices that do not look at it.
    abort: AbortFlag
    # Experts that stay in the file.
    paged_bytes: int = 0
    # Of a row of logits, by llama.cpp, until it can be read.
    row_copies: int = 1

    def _cut_share(self) -> float:
        if looks_always(self.devices):
            return 0.0
        return 1.0 if self.abort.gate is None else self.abort.gate.cut_share

    @property
    def builds(self) -> bool:
        """Whether a device computes that may have to build programs for its steps."""
        return not looks_always(self.devices) and self.options.engine.gpu_layers != 0

    @property
    def can_cut(self) -> bool:
        """Whether a step may be ended in the middle as it is. A step that ran half way leaves the
        states of recurrent layers at no position at all (`cut_state`)."""
        return not self.model.is_recurrent

    @property
    def wants_output(self) -> bool:
        """Whether llama.cpp ends the process at a micro-batch of which no row is an output, as most
        slices of a long prompt are."""
        return self.header.architecture in WANTS_OUTPUT

    def embeds(self, *, n_cells: int, generates: bool) -> EmbedFacts:
        """Describe how the model embeds texts. n_cells: of its pool, which bounds the
        length of a text, too.
        """
        header, model = self.header, self.model
        pooling = pooling_of(header_number(header, "pooling_type"))
        ranks = pooling == RANK
        switch = long_factors_from(header)
        return EmbedFacts(
            pooling=pooling,
            whole=not generates,
            generates=generates,
            most_tokens=self.stream_context(n_cells).tokens,
            width=1 if ranks else model.n_embd_out,
            # Texts of any length, and the chats, must have the same RoPE factors.
            least_cells=switch + 1 if switch is not None and n_cells > switch else 0,
            shape=embed_shape(
                whole=not generates,
                recurrent=model.is_recurrent,
                n_vocab=model.n_vocab,
                weights=self.weights,
                batch=self.options.engine.batch,
            ),
        )

    def stream_context(self, n_cells: int) -> StreamContext:
        """The length of one text, in a pool of `n_cells`."""
        asked = self.options.engine.ctx_per_stream
        return stream_context(self.header, n_cells=n_cells, asked=asked, rope=self.rope)

    @property
    def rope(self) -> Rope:
        """How positions are scaled, where that is not as the file says."""
        return Rope.of(self.options.engine)

    def embed_options(self, embeds: EmbedFacts) -> ContextOptions:
        """The shape of the smallest context for embeddings."""
        rows = embeds.shape.rows
        return ContextOptions(
            n_cells=rows,
            max_seqs=embeds.shape.seqs + HELD_SEQS,
            batch=rows,
            ubatch=rows,
            threads=self.threads,
            type_k=self.kv.number,
            type_v=self.kv.number,
            flash_attention=self.options.engine.flash_attention,
            pooling=POOLINGS.index(embeds.context_pooling),
            rope=self.rope,
        )

    def _window_cells(self, memory: ContextMemory, n_cells: int, n_seqs: int) -> int:
        """Cells of the layers with a window; those of one sequence where it has them for itself."""
        if memory.windows is not None:
            return memory.windows.cells(n_seqs)
        window_tokens = self._looks_back(memory)
        if not window_tokens or not 0 < memory.seq_cell_bytes < memory.cell_bytes:
            return n_cells
        settings = self.options.engine
        return min(n_cells, padded(window_tokens + min(settings.ubatch, settings.batch)))

    def window_tokens(self, memory: ContextMemory) -> int:
        """The positions that layers with a window look back over, as llama.cpp reports them; 0
        where there are no such layers. A file may name a window that no layer of its model has
        (EXAONE 4 has windows in 64 layers, or in none)."""
        return self.model.sliding_window if memory.has_windows else 0

    def window(self, memory: ContextMemory, *, stream_tokens: int, is_small: bool) -> Window | None:
        """The window that cells can fall out of; None where there is none.

        stream_tokens: the most tokens of a sequence. is_small: each sequence has cells for one
        window. Where they have them for the whole pool and no sequence is as long as the window,
        every token looks at all before it, and llama.cpp keeps and saves the cells of all.
        """
        n_tokens = self._looks_back(memory)
        if not n_tokens or (n_tokens > stream_tokens and not is_small):
            return None
        return Window(n_tokens=n_tokens, in_chunks=self.header.architecture in _IN_CHUNKS)

    def _looks_back(self, memory: ContextMemory) -> int:
        if not memory.has_windows:
            return 0
        # llama.cpp reports no window where the rest of the memory cannot be rolled back
        # (deepseek4).
        named = header_number(self.header, "attention.sliding_window")
        return max(0, self.model.sliding_window or named)

    def facts(
        self,
        embeds: EmbedFacts,
        *,
        n_cells: int,
        max_seqs: int,
        memory: ContextMemory,
        n_seqs: int = 0,
        can_share_prefix: bool = True,
        can_cut: bool = False,
        shares_at: SharesAt = "anywhere",
        park_bytes: int = 0,
        warmup_ms: float = 0.0,
        decode_ms: float = 0.0,
    ) -> ModelFacts:
        """The facts that `EngineReady` tells."""
        header, model, settings = self.header, self.model, self.options.engine
        devices, stream = self.devices, self.stream_context(n_cells)
        return ModelFacts(
            name=self.options.name,
            path=str(self.path),
            architecture=header.architecture,
            description=model.description,
            size_bytes=model.size_bytes,
            n_params=model.n_params,
            n_layer=header_number(header, "block_count"),
            n_embd=header_number(header, "embedding_length"),
            n_head_kv=header_number(header, "attention.head_count_kv"),
            n_vocab=model.n_vocab,
            n_ctx_train=header_number(header, "context_length"),
            n_cells=n_cells,
            max_seqs=max_seqs,
            weights=self.weights,
            kv_type=self.kv.name,
            kv_type_asked=settings.kv_type,
            kv_pack="unified",
            kv_cell_bytes=memory.cell_bytes,
            window_cell_bytes=memory.window_cell_bytes,
            window_tokens=self.window_tokens(memory),
            window_cells=self._window_cells(memory, n_cells, n_seqs),
            state_bytes=memory.state_bytes,
            seq_bytes=memory.stream_bytes,
            context_bytes=memory.kept_bytes(n_seqs) + memory.working_bytes(n_seqs),
            paged_bytes=self.paged_bytes,
            rope=self.rope.words(),
            text_tokens=stream.tokens,
            text_bound=stream.bound,
            can_share_prefix=can_share_prefix,
            shares_at=shares_at,
            cut_share=self._cut_share() if can_cut else 1.0,
            skip_ms=skip_ms(header, devices),
            flash_attention=settings.flash_attention,
            backends=tuple(dict.fromkeys(device.backend for device in devices)),
            devices=tuple(device.description for device in devices),
            threads=self.threads,
            has_chat_template=model.chat_template() is not None,
            chat_format=format_of(model.chat_template()),
            bos_token=model.bos,
            adds_bos=model.adds_bos,
            eog_tokens=tuple(sorted(model.eog_tokens())),
            fim_tokens=dict(model.fim_tokens()),
            generates=embeds.generates,
            pooling=embeds.pooling,
            embed_tokens=embeds.most_tokens,
            embed_width=embeds.width,
            title=str(header.metadata.get("general.name") or "")[:_TITLE_CHARS],
            park_bytes=park_bytes,
            load_ms=self.load_ms,
            warmup_ms=warmup_ms,
            decode_ms=decode_ms,
        )


def skip_ms(header: GgufHeader, devices: tuple[Device, ...]) -> float:
    """The time that one row takes to pass over one cell of another sequence."""
    if any(device.kind in ("gpu", "igpu") for device in devices):
        return 0.0  # the kernels of GPUs skip whole blocks of such cells
    heads = header_number(header, "attention.head_count")
    return _SKIP_NS * header_number(header, "block_count") * heads / NS_PER_MS


def header_number(header: GgufHeader, key: str) -> int:
    """A number of the model's own metadata: the largest where each layer has one, 0 without one."""
    return whole_number(header.own(key))
