"""Says which vectors a loaded model makes and how, from its header and llama.cpp.

Pooling is what the file says. A generative model whose file says nothing gets the mean of all its
tokens: such models were never trained to put a text's meaning into one place, and without training
the mean carries more of it than the last token does (SGPT, arXiv 2202.08904, section 3; LLM2Vec,
arXiv 2404.05961, table 1).
Pure; owner: the thread that loads the model.
"""

from dataclasses import dataclass

from umad.models.sizes import WeightBytes
from umad.scheduler.embeds.queue import EmbedShape

# By number in a GGUF file: llama_pooling_type of llama.h. "none": a vector for each token.
POOLINGS = ("none", "mean", "cls", "last", "rank")
DEFAULT_POOLING = "mean"
RANK = "rank"
# For every row of a batch that embeds, llama.cpp makes and zeroes a row of logits, once in its
# graph and once for the reader: 1.2 MB a row with a vocabulary of 152,000. So the rows of a slice
# are limited: their logits stay below a share of the weights or, for small models, below so many
# bytes.
_OUTPUT_SHARE = 0.04
_LEAST_OUTPUT_BYTES = 8_000_000
_BYTES_PER_LOGIT = 8
# An encoder computes no logits (diffusion models do, which hardly anybody asks for vectors).
# llama.cpp zeroes the reader's rows when it makes them, and never touches them again: they cost
# memory, and no time in a step. More rows in a slice compute more texts a second.
_ENCODER_OUTPUT_SHARE = 0.08
_LEAST_ENCODER_OUTPUT_BYTES = 64_000_000
_ENCODER_BYTES_PER_LOGIT = 4
_LEAST_ROWS, _MOST_ROWS, _MOST_ENCODER_ROWS = 16, 256, 512
# Two sequences are kept for inputs that are begun and not complete.
HELD_SEQS = 2
_MOST_SEQS = 64
_RECURRENT_SEQS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedFacts:
    """Describes how a model embeds texts."""

    # One of `POOLINGS`, never "none".
    pooling: str
    # All tokens of an input look at each other, so an input must be one decode.
    whole: bool
    # The model can also write.
    generates: bool
    # The most tokens of one input.
    most_tokens: int
    # Numbers of a vector. For a reranking model it is 1: the score.
    width: int
    shape: EmbedShape
    # A context needs so many cells to compute with the same RoPE factors as the model's own
    # context.
    least_cells: int = 0

    @property
    def ranks(self) -> bool:
        """True if the model scores pairs of texts and makes no vectors."""
        return self.pooling == RANK

    @property
    def context_pooling(self) -> str:
        """The pooling that llama.cpp is told. An input computed in slices gets its mean here,
        because llama.cpp pools within one micro-batch only.
        """
        return self.pooling if self.whole or self.pooling in ("last", RANK) else "none"


def pooling_of(number: int) -> str:
    """The pooling for a file's `pooling_type`; pass 0 where the file has none."""
    known = POOLINGS[number] if 0 <= number < len(POOLINGS) else POOLINGS[0]
    return DEFAULT_POOLING if known == POOLINGS[0] else known


def embed_shape(
    *, whole: bool, recurrent: bool, n_vocab: int, weights: WeightBytes, batch: int
) -> EmbedShape:
    """The most that one embedding decode of a model may hold."""
    share, least_bytes, logit_bytes = _OUTPUT_SHARE, _LEAST_OUTPUT_BYTES, _BYTES_PER_LOGIT
    most = _MOST_ROWS
    if whole:
        share, least_bytes = _ENCODER_OUTPUT_SHARE, _LEAST_ENCODER_OUTPUT_BYTES
        logit_bytes, most = _ENCODER_BYTES_PER_LOGIT, _MOST_ENCODER_ROWS
    output_bytes = max(least_bytes, share * (weights.dense + weights.experts))
    rows = int(output_bytes // (logit_bytes * n_vocab))
    rows = min(max(rows, _LEAST_ROWS), most, max(batch, _LEAST_ROWS))
    # A recurrent model keeps a state for each sequence, used or not.
    seqs = min(rows, _RECURRENT_SEQS if recurrent else _MOST_SEQS) - HELD_SEQS
    return EmbedShape(rows=rows, seqs=seqs, whole=whole)
