"""Measures how surprised a model is by a short text, to tell a broken file from a good one.

Perplexity is exp of the mean negative log-probability of each next token. Of one short text it says
nothing about how good a model is; of the same text under a source and under its quantized copy it
says how much the copy lost. Source: llama.cpp's tools/perplexity. Not: what loss is allowed
(`umad.quantization`). Owner: the main thread of a process of its own.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.engine.llamacpp.llama import Batch, Context, LlamaError, Model
from umad.engine.process import decode_threads
from umad.errors import ModelLoadFailed

# The weights are read once for so many tokens: in one decode.
MOST_TOKENS = 256
# The first tokens have nothing before them that would tell what comes.
_PASSED_OVER = 16
# Where a model has no vocabulary of words, any tokens will do: both files get the same ones.
_SEED = 14
TEXT = """\
A library lends books to everybody who lives in the town. Readers come in the morning, look for a
title in the catalogue, and take the book to the desk, where its number is written down. Most books
may be kept for four weeks. If nobody else has asked for a book, it may be kept longer. Whoever
brings a book back late pays a small fee for each day.

def fees(days_late: int, per_day: float = 0.2, most: float = 10.0) -> float:
    # The fee for a book that is brought back late.
    if days_late <= 0:
        return 0.0
    return min(most, days_late * per_day)

def test_fees():
    assert fees(0) == 0.0
    assert fees(5) == 1.0
    assert fees(365) == 10.0

The oldest books lie in a room without windows, because light makes paper brittle. They may be read
there and not taken home. In the year 1911 a flood reached the second shelf, and since then the rare
books stand on the upper ones.
"""


def perplexity(path: Path, *, gpu_layers: int = 0) -> float | None:
    """The perplexity of `TEXT` under the model in `path`; None for one that predicts no next token.
    Raises `ModelLoadFailed` where it cannot be opened or computed.
    """
    try:
        model = Model(str(path), gpu_layers=gpu_layers)
        try:
            if not model.has_decoder or model.has_encoder:
                return None
            return _measured(model)
        finally:
            model.close()
    except LlamaError as error:
        raise ModelLoadFailed(f"{path} cannot be loaded: {error}") from error


def _measured(model: Model) -> float | None:
    tokens = _tokens(model)
    n = tokens.size
    context = Context(model, _options(n))
    try:
        if not context.has_memory:
            return None
        batch = Batch(n)
        batch.token[:] = tokens
        batch.pos[:] = np.arange(n)
        batch.seq[:] = 0
        batch.wants_logits[:] = 1
        batch.set_rows(n)
        code = context.decode(batch)
        if code:
            raise LlamaError(f"its first decode failed with {code}: {context.last_words()}")
        logits = context.logits(n)
        return math.exp(_mean_surprise(logits, tokens))
    finally:
        context.close()


def _mean_surprise(logits: NDArray[np.float32], tokens: NDArray[np.int32]) -> float:
    """The mean of -log p of each token after those passed over. Row by row: 256 rows of a large
    vocabulary as float64 would take half a gigabyte.
    """
    total, places = 0.0, range(_PASSED_OVER, tokens.size)
    for place in places:
        row = logits[place - 1].astype(np.float64)
        top = row.max()
        total += top + math.log(np.exp(row - top).sum()) - row[tokens[place]]
    return total / len(places)


def _tokens(model: Model) -> NDArray[np.int32]:
    tokens = model.tokenize(TEXT.encode(), add_special=True, parse_special=False)[:MOST_TOKENS]
    if tokens.size > 2 * _PASSED_OVER:
        return tokens
    drawn = np.random.default_rng(_SEED).integers(0, model.n_vocab, MOST_TOKENS // 2)
    return drawn.astype(np.int32)


def _options(n_tokens: int) -> ContextOptions:
    return ContextOptions(
        n_cells=n_tokens,
        max_seqs=1,
        batch=n_tokens,
        ubatch=n_tokens,
        threads=decode_threads(),
        type_k=KV_TYPES["f16"].number,
        type_v=KV_TYPES["f16"].number,
        flash_attention=True,
        outputs=n_tokens,
    )
