"""Describes the shape of a llama.cpp context. Pure."""

from dataclasses import dataclass

from umad.models.positions import AS_IN_FILE
from umad.models.rope import Rope

_PAD_CELLS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """The shape of a context."""

    n_cells: int
    max_seqs: int
    batch: int
    ubatch: int
    threads: int
    # ggml type numbers of keys and values (`umad.engine.llamacpp.kv_types`).
    type_k: int
    type_v: int
    flash_attention: bool
    # Layers with a window keep as many cells as the others. Otherwise each sequence keeps its
    # window of them.
    swa_full: bool = True
    # None for a context that generates. Otherwise the context embeds, every row is an output, and
    # this number (`umad.engine.embedding.facts.POOLINGS`) says how the rows are combined.
    pooling: int | None = None
    # Rows of output of one decode; None for one of each sequence.
    outputs: int | None = None
    # How positions are scaled, where that is not as the model's file says.
    rope: Rope = AS_IN_FILE

    def window_cells(self, window_tokens: int) -> int:
        """The cells that layers with such a window have; those of the whole pool where that is
        less. llama.cpp makes as many (`llama_kv_cache_iswa`)."""
        pool_cells = padded(self.n_cells)
        if self.swa_full or not window_tokens:
            return pool_cells
        own_cells = window_tokens * self.max_seqs + self.ubatch
        return min(pool_cells, padded(own_cells))

    def has_small_windows(self, window_tokens: int) -> bool:
        """Whether layers with such a window have fewer cells than the pool. Then each sequence has
        room for a window of its own there, and none for more."""
        return self.window_cells(window_tokens) < padded(self.n_cells)


def padded(n_cells: int) -> int:
    """The number of cells that llama.cpp makes of `n_cells` (`llama_context`, GGML_PAD)."""
    return -(-n_cells // _PAD_CELLS) * _PAD_CELLS
