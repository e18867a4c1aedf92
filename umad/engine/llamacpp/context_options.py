"""The shape of a llama.cpp context. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """Shape of a context. type_k, type_v: ggml type numbers (`umad.engine.llamacpp.kv_types`).

    pooling: None for a context that generates; else it embeds, every row is an output, and this
    number (`umad.engine.embedding.facts.POOLINGS`) says what is made of them.
    """

    n_cells: int
    max_seqs: int
    batch: int
    ubatch: int
    threads: int
    type_k: int
    type_v: int
    flash_attention: bool
    pooling: int | None = None
