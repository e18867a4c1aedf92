"""Describes the shape of a llama.cpp context. Values only."""

from dataclasses import dataclass


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
    # None for a context that generates. Otherwise the context embeds, every row is an output, and
    # this number (`umad.engine.embedding.facts.POOLINGS`) says how the rows are combined.
    pooling: int | None = None
