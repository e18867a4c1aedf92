"""What a model makes vectors of, and how: facts of a loaded model, from its header and llama.cpp.

Pooling is what the file says. A generative model whose file says nothing gets the mean of all its
tokens: such models were never trained to put a text's meaning into one place, and of what can be
had from them without training the mean carries more than the last token (SGPT, arXiv 2202.08904,
section 3; LLM2Vec, arXiv 2404.05961, table 1).
Pure; owner: whoever loads.
"""

from dataclasses import dataclass

from umad.models.sizes import WeightBytes
from umad.scheduler.embeds.queue import EmbedShape

# By number in a GGUF file: llama_pooling_type of llama.h. "none": a vector for each token.
POOLINGS = ("none", "mean", "cls", "last", "rank")
DEFAULT_POOLING = "mean"
RANK = "rank"
# llama.cpp makes, and zeroes, a row of logits for every row of a batch that embeds, once in its
# graph and once for the reader: 1.2 MB a row with a vocabulary of 152,000. So a slice has as many
# rows as keep that below a share of the weights or, for small models, below so many bytes.
_OUTPUT_SHARE = 0.04
_LEAST_OUTPUT_BYTES = 8_000_000
_BYTES_PER_LOGIT = 8
_LEAST_ROWS, _MOST_ROWS = 16, 256
# Two sequences are kept for inputs that are begun.
HELD_SEQS = 2
_MOST_SEQS = 64
_RECURRENT_SEQS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedFacts:
    """pooling: of `POOLINGS`, never "none". whole: all tokens of an input look at
    each other, so that it is one decode. generates: the model can also write. most_tokens: of one
    input. width: numbers of a vector; 1 of a reranking model, its score. least_cells: of a context
    that computes what the model's own does."""

    pooling: str
    whole: bool
    generates: bool
    most_tokens: int
    width: int
    shape: EmbedShape
    least_cells: int = 0

    @property
    def ranks(self) -> bool:
        """It judges pairs, and has no vectors."""
        return self.pooling == RANK

    @property
    def context_pooling(self) -> str:
        """What llama.cpp is told to pool. The mean of an input computed in slices is made here:
        llama.cpp pools within one micro-batch."""
        return self.pooling if self.whole or self.pooling in ("last", RANK) else "none"


def pooling_of(number: int) -> str:
    """What a file's `pooling_type` means here; 0 where it has none."""
    known = POOLINGS[number] if 0 <= number < len(POOLINGS) else POOLINGS[0]
    return DEFAULT_POOLING if known == POOLINGS[0] else known


def embed_shape(
    *, whole: bool, recurrent: bool, n_vocab: int, weights: WeightBytes, batch: int
) -> EmbedShape:
    """What one embedding decode of a model may hold."""
    output_bytes = max(_LEAST_OUTPUT_BYTES, _OUTPUT_SHARE * (weights.dense + weights.experts))
    rows = int(output_bytes // (_BYTES_PER_LOGIT * n_vocab))
    rows = min(max(rows, _LEAST_ROWS), _MOST_ROWS, max(batch, _LEAST_ROWS))
    # A recurrent model has a state a sequence, used or not.
    seqs = min(rows, _RECURRENT_SEQS if recurrent else _MOST_SEQS) - HELD_SEQS
    return EmbedShape(rows=rows, seqs=seqs, whole=whole)
