"""Computes a model's costs in bytes: weights per token, KV per cell. Pure arithmetic.

The weights serve the ΣBMT scorecard. The cells serve only for a llama.cpp that cannot itself say
what they take when `umad.engine.llamacpp.context_memory` asks it: the arithmetic here knows only
layers with keys and values.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from umad.models.gguf import BLOCKS, GgufHeader, whole_number

# Tensors of which a token reads one row. The embedding counts in full only where the output
# is the same tensor (tied).
_LOOKED_UP = ("token_embd.weight", "per_layer_token_embd.weight", "position_embd.weight")
_OUTPUT = "output.weight"
# "chexps": of chunks of experts, chosen with them (GroveMoE).
_EXPERTS = re.compile(r"_(?:ch)?exps\.")
_BLOCK = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightBytes:
    """Bytes of a model's weights, by how a step reads them."""

    # Bytes that every step reads.
    dense: int
    # Bytes of all experts together; each token of each layer chooses `experts_used` of
    # `experts_count`.
    experts: int = 0
    experts_used: int = 0
    experts_count: int = 0

    def touched(self, n_rows: int) -> int:
        """Bytes that a micro-batch of `n_rows` tokens reads. Experts are assumed to be chosen
        independently: an expert stays untouched with probability (1 - used/count) ** n_rows.
        """
        if not self.experts or not n_rows:
            return self.dense if n_rows else 0
        untouched = 1.0 - self.experts_used / self.experts_count
        return self.dense + round(self.experts * (1.0 - untouched**n_rows))


def weight_bytes(header: GgufHeader) -> WeightBytes:
    """Weight bytes from the tensors' sizes. No token reads layers that only draft (multi-token
    prediction).
    """
    n_layers = _number(header, "block_count", 0)
    drafts = _number(header, "nextn_predict_layers", 0)
    first_draft = n_layers - drafts if 0 < drafts < n_layers else None
    is_tied = all(tensor.name != _OUTPUT for tensor in header.tensors)
    dense = experts = 0
    for tensor in header.tensors:
        size = tensor.size_bytes or 0
        block = _BLOCK.match(tensor.name)
        if first_draft is not None and block is not None and int(block[1]) >= first_draft:
            continue
        if _EXPERTS.search(tensor.name):
            experts += size
        elif tensor.name not in _LOOKED_UP or (is_tied and tensor.name == _LOOKED_UP[0]):
            dense += size
    count = _number(header, "expert_count", 0)
    each = _each(header, "expert_used_count", count, 1)
    used = round(sum(each) / len(each)) if each else count
    if not experts or not count:
        return WeightBytes(dense=dense + experts)
    return WeightBytes(
        dense=dense, experts=experts, experts_used=used, experts_count=max(count, used)
    )


def expert_bytes(header: GgufHeader, *, n_layers: int) -> int:
    """The bytes of the experts of the first `n_layers` layers."""
    total = 0
    for tensor in header.tensors:
        block = _BLOCK.match(tensor.name)
        if block is not None and int(block[1]) < n_layers and _EXPERTS.search(tensor.name):
            total += tensor.size_bytes or 0
    return total


def layer_of(tensor: str) -> int | None:
    """The number of the layer that a tensor belongs to, by its name; None for the others."""
    block = _BLOCK.match(tensor)
    return None if block is None else int(block[1])


def lies_with_input(tensor: str) -> bool:
    """Whether only rows of a tensor are read, which llama.cpp does on the processor."""
    return tensor in _LOOKED_UP


def tied_output_bytes(headers: Iterable[GgufHeader]) -> int:
    """The bytes of the embedding where the output is the same tensor. A device that computes the
    output has them a second time."""
    tensors = {one.name: one for header in headers for one in header.tensors}
    if _OUTPUT in tensors or _LOOKED_UP[0] not in tensors:
        return 0
    return tensors[_LOOKED_UP[0]].size_bytes or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KvShape:
    """Elements one cell holds, all layers together."""

    k_elements: int
    v_elements: int

    def cell_bytes(self, type_k: int, type_v: int) -> int:
        """Bytes of one cell with keys and values of these ggml types."""
        return _bytes_of(self.k_elements, type_k) + _bytes_of(self.v_elements, type_v)


def kv_shape(header: GgufHeader) -> KvShape:
    """From head counts and widths; a layer without KV heads (recurrent) holds nothing."""
    n_layers = _number(header, "block_count", 0)
    n_embd = _number(header, "embedding_length", 0)
    n_heads = max(_each(header, "attention.head_count", 1, 1))
    width = n_embd // n_heads if n_heads else 0
    k_width = _number(header, "attention.key_length", width)
    v_width = _number(header, "attention.value_length", width)
    n_kv_heads = sum(_each(header, "attention.head_count_kv", n_heads, n_layers))
    return KvShape(k_elements=n_kv_heads * k_width, v_elements=n_kv_heads * v_width)


def _bytes_of(elements: int, type_number: int) -> int:
    weights, size = BLOCKS[type_number]
    return -(-elements * size // weights)


def _number(header: GgufHeader, key: str, default: int) -> int:
    value = header.own(key)
    return whole_number(value) if isinstance(value, int | float) else default


def _each(header: GgufHeader, key: str, default: int, n_layers: int) -> tuple[int, ...]:
    """A value for each layer, whether the file gives one for all or one for each."""
    value = header.own(key)
    if isinstance(value, tuple):
        return tuple(map(whole_number, value))
    return (whole_number(value) if isinstance(value, int | float) else default,) * n_layers
