"""Says what a generated model is made of: its metadata and its tensors.

Here stands a Qwen2; hybrids and models with windows are in `bench.hybrid_shapes`. `bench.shapes`
writes them all. The scales of the weights are chosen so that a greedy stream does not
fall into repeating one token: see `LOGIT_STD` and `QUERY_KEY_GAIN`. Values only.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import ClassVar

from gguf import GGUFWriter

from bench.weights import Tensor

# Embeddings are tied: logits are (final state of size one) · embedding. Small embeddings beside
# layer outputs of size one keep the last token from predicting itself, and logits of standard
# deviation 3 give the likeliest of 151,936 tokens 5 to 20 %: neither certain nor lost in a tie.
LOGIT_STD = 3.0
# Attention scores of standard deviation 4: a few positions win, so the whole context decides the
# next token. With scores near 1 attention averages and greedy text soon runs in a circle.
QUERY_KEY_GAIN = 2.0
# LLAMA_FTYPE_MOSTLY_Q8_0 and LLAMA_FTYPE_MOSTLY_MXFP4_MOE.
_FILE_TYPES = {"q8_0": 7, "mxfp4": 38}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The measures of a model with tied embeddings; by itself of a Qwen2."""

    architecture: ClassVar[str] = "qwen2"
    # The form of most of its weights.
    form: ClassVar[str] = "q8_0"
    # Part of the file's name. Raise it when the bytes that a seed gives change.
    recipe: ClassVar[int] = 1

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn_width: int
    context_tokens: int = 32_768
    head_width: int = 0  # 0: the heads share the width

    @property
    def head(self) -> int:
        """Elements of one head's key, value or query."""
        return self.head_width or self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Elements of one token's key (or value) in one layer."""
        return self.head * self.kv_heads

    @property
    def into(self) -> float:
        """Deviation of weights that take a state of size one to outputs of size one."""
        return 1 / math.sqrt(self.width)

    def add_metadata(self, writer: GGUFWriter) -> None:
        """What llama.cpp asks of the file, but for its vocabulary."""
        self._add_common(writer)
        writer.add_rope_freq_base(1e6)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_file_type(_FILE_TYPES[self.form])

    def tensors(self, n_vocab: int) -> Iterator[Tensor]:
        """All of them, for so many tokens."""
        yield from self._outside(n_vocab)
        for layer in range(self.layers):
            yield from self._block(layer, f"blk.{layer}.")

    def _add_common(self, writer: GGUFWriter) -> None:
        writer.add_block_count(self.layers)
        writer.add_context_length(self.context_tokens)
        writer.add_embedding_length(self.width)
        writer.add_feed_forward_length(self.ffn_width)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self._kv_heads())

    def _add_head_width(self, writer: GGUFWriter) -> None:
        writer.add_key_length(self.head)
        writer.add_value_length(self.head)

    def _kv_heads(self) -> int | list[int]:
        """Of all layers, or of each."""
        return self.kv_heads

    def _outside(self, n_vocab: int) -> Iterator[Tensor]:
        embedding = self.into * LOGIT_STD
        yield Tensor(name="token_embd.weight", rows=n_vocab, columns=self.width, std=embedding)
        yield self.norm("output_norm", self.width)

    def _block(self, layer: int, block: str) -> Iterator[Tensor]:
        for norm in ("attn_norm", "ffn_norm"):
            yield self.norm(f"{block}{norm}", self.width)
        width, kv_width = self.width, self.kv_width
        yield from self._attention(block, q_rows=width)
        yield from self._ffn(block)
        for name, columns in (("attn_q", width), ("attn_k", kv_width), ("attn_v", kv_width)):
            yield self.vector(f"{block}{name}.bias", columns)

    def _attention(
        self, block: str, *, q_rows: int, gain: float = QUERY_KEY_GAIN
    ) -> Iterator[Tensor]:
        """q_rows: of the queries, and of what beside them the same matrix makes."""
        width, kv_width, into = self.width, self.kv_width, self.into
        inner = self.head * self.heads
        yield self.matrix(f"{block}attn_q", q_rows, width, into * gain)
        yield self.matrix(f"{block}attn_k", kv_width, width, into * gain)
        yield self.matrix(f"{block}attn_v", kv_width, width, into)
        yield self.matrix(f"{block}attn_output", width, inner, 1 / math.sqrt(inner))

    def _ffn(self, block: str) -> Iterator[Tensor]:
        width, ffn = self.width, self.ffn_width
        yield self.matrix(f"{block}ffn_gate", ffn, width, self.into)
        yield self.matrix(f"{block}ffn_up", ffn, width, self.into)
        yield self.matrix(f"{block}ffn_down", width, ffn, 1 / math.sqrt(ffn))

    def matrix(self, name: str, rows: int, columns: int, std: float) -> Tensor:
        """Q8_0 weights."""
        return Tensor(name=f"{name}.weight", rows=rows, columns=columns, std=std)

    def norm(self, name: str, columns: int, *, mean: float = 1.0) -> Tensor:
        """Of a norm: around `mean`."""
        return Tensor(name=f"{name}.weight", rows=1, columns=columns, std=0.1, mean=mean)

    def vector(self, name: str, columns: int, *, std: float = 0.1, mean: float = 0.0) -> Tensor:
        """Such as a bias."""
        return Tensor(name=name, rows=1, columns=columns, std=std, mean=mean)
