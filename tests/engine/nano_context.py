"""Contexts of the model that ships, and steps on them, by hand."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.kv_types import KV_TYPES

# A prompt of 150 tokens that say nothing, mostly different ones.
TOKENS = (3 + np.arange(150) ** 2 % 4000).astype(np.int32)


def new_context(model: llama.Model, **changes: Any) -> llama.Context:
    q8 = KV_TYPES["q8"].number
    options: dict[str, Any] = {"n_cells": 1024, "max_seqs": 8, "threads": 1}
    options |= {"batch": 256, "ubatch": 256}
    return llama.Context(
        model,
        ContextOptions(**{**options, **changes}, type_k=q8, type_v=q8, flash_attention=True),
    )


def step(
    context: llama.Context, *rows: tuple[int, int, NDArray[np.int32], bool]
) -> tuple[int, NDArray[np.float32]]:
    """Decode (seq, start, tokens, wants_logits) parts; the code and a copy of the rows."""
    batch = llama.Batch(2048)
    at = 0
    for seq, start, tokens, wants in rows:
        end = at + tokens.size
        batch.token[at:end] = tokens
        batch.pos[at:end] = np.arange(start, start + tokens.size)
        batch.seq[at:end] = seq
        batch.wants_logits[end - 1] = wants
        at = end
    batch.set_rows(at)
    code = context.decode(batch)
    wanted = sum(wants for *_, wants in rows)
    return code, context.logits(wanted).copy() if code == 0 else np.empty((0, 0), np.float32)


def feed(context: llama.Context, seq: int, slice_tokens: int) -> NDArray[np.float32]:
    for start in range(0, TOKENS.size, slice_tokens):
        part = TOKENS[start : start + slice_tokens]
        code, rows = step(context, (seq, start, part, start + part.size == TOKENS.size))
        assert code == 0
    last: NDArray[np.float32] = rows[0]
    return last
