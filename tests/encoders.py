"""Small encoders with random weights, for tests: BERT as an embedding model and as a reranker.

Not tests. Their vectors mean nothing, but llama.cpp computes them like any other model's. Written
with the gguf package; half a megabyte each.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, PoolingType
from numpy.typing import NDArray

WIDTH, HEADS, LAYERS, FFN, CONTEXT = 64, 4, 2, 128, 128
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!-"
# A piece that begins a word is written with a mark before it, as llama.cpp's converter does.
_TOKENS = (*_SPECIAL, *(f"\u2581{one}" for one in _LETTERS), *_LETTERS)
_ROLES = {
    "padding": "[PAD]",
    "unknown": "[UNK]",
    "bos": "[CLS]",
    "cls": "[CLS]",
    "seperator": "[SEP]",  # as the format spells it
    "mask": "[MASK]",
}
_CONTROL, _NORMAL = 3, 1


def write_encoder(
    path: Path,
    *,
    pooling: PoolingType = PoolingType.CLS,
    seed: int = 0,
    rerank_template: str = "",
) -> Path:
    """A BERT model; with `PoolingType.RANK` it has a classification head and ranks.
    rerank_template: how its file says that pairs are written.
    """
    writer = GGUFWriter(path, "bert")
    writer.add_name("random bert")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_file_type(0)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(list(_TOKENS))
    writer.add_token_types([_CONTROL if one in _SPECIAL else _NORMAL for one in _TOKENS])
    writer.add_token_type_count(2)
    for role, token in _ROLES.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", _SPECIAL.index(token))
    if rerank_template:
        writer.add_string("tokenizer.chat_template.rerank", rerank_template)
    drawn = np.random.default_rng(seed)
    for name, shape in _tensors(ranks=pooling is PoolingType.RANK):
        writer.add_tensor(name, _random(drawn, name, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(*, ranks: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (len(_TOKENS), WIDTH)
    yield "token_types.weight", (2, WIDTH)
    yield "position_embd.weight", (CONTEXT, WIDTH)
    yield from _norm("token_embd_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}{name}.weight", (WIDTH, WIDTH)
            yield f"{block}{name}.bias", (WIDTH,)
        yield from _norm(f"{block}attn_output_norm")
        yield f"{block}ffn_up.weight", (FFN, WIDTH)
        yield f"{block}ffn_up.bias", (FFN,)
        yield f"{block}ffn_down.weight", (WIDTH, FFN)
        yield f"{block}ffn_down.bias", (WIDTH,)
        yield from _norm(f"{block}layer_output_norm")
    if ranks:
        yield "cls.weight", (WIDTH, WIDTH)
        yield "cls.bias", (WIDTH,)
        yield "cls.output.weight", (1, WIDTH)
        yield "cls.output.bias", (1,)


def _norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (WIDTH,)
    yield f"{name}.bias", (WIDTH,)


def _random(drawn: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = drawn.standard_normal(shape).astype(np.float32)
    if "norm.weight" in name:
        return np.float32(1) + np.float32(0.1) * values
    if len(shape) == 1:
        return np.float32(0.1) * values
    return values * np.float32(1.5 / np.sqrt(shape[-1]))
