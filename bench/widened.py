"""Writes nano in the measures of a larger model: it answers as nano does and costs what that costs.

Random weights have a real model's speed, but their text repeats nothing, so they cannot show what
depends on the text: how many guesses hold, how long an answer in JSON is. nano repeats a file that
it is shown, but is so small that the host's part is most of a step. So its weights are put into
the corner of each larger matrix, its layers among more layers, and all else is zero, which a kernel
computes at the same speed. Not for measuring quality: it is nano's.

    width    the state's other elements are zero. The mean square of the norms is over all of
             them, so the norms' weights and epsilon are scaled
    heads    nano's query heads stand at the head of the group of their key head
    layers   spread evenly; the others add nothing to the state
    tokens   those that nano has not never come: element 256 of the state is the same small number
             for each token, and their logit is a large negative multiple of it

Owner: whoever holds the lock `models`.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.constants import GGMLQuantizationType, TokenType

from bench import cache
from umad import nano

_Blocks = npt.NDArray[np.uint8]
# Q8_0: a float16 scale and 32 int8.
_BLOCK, _BLOCK_BYTES = 32, 34
# The value of the element that unused tokens are told by, and what the last norm makes of it.
_MARK, _MARK_NORM = 1 / 256, 1e5
# Part of the file's name. Raise it when its bytes change.
_RECIPE = 1
_FILE_TYPE = 7  # LLAMA_FTYPE_MOSTLY_Q8_0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Those of the larger model, with tied embeddings and heads as wide as nano's."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn_width: int
    n_vocab: int


MEASURES = {
    one.name: one
    for one in (
        # Qwen2 0.5B.
        Measures(
            name="nano-0.5b",
            layers=24,
            width=896,
            heads=14,
            kv_heads=2,
            ffn_width=4864,
            n_vocab=151_936,
        ),
        Measures(
            name="nano-small", layers=8, width=384, heads=6, kv_heads=2, ffn_width=704, n_vocab=5152
        ),
    )
}


def model(name: str) -> Path:
    """The path of the model `name`, written on first use."""
    path = cache.folder("models") / f"{name}-q8_0-v{_RECIPE}.gguf"
    with cache.exclusive("models"):
        if not path.exists():
            partial = path.with_suffix(".partial")
            write(MEASURES[name], partial)
            partial.rename(path)
    return path


def write(measures: Measures, path: Path) -> None:
    """Writes the model as Q8_0; memory in use stays near that of its largest tensor."""
    reader = GGUFReader(nano.path())
    small = {tensor.name: tensor for tensor in reader.tensors}
    writer = GGUFWriter(path, "llama")
    _add_metadata(writer, reader, measures)
    planned = list(_planned(measures))
    for name, shape in planned:
        is_matrix = len(shape) > 1
        stored = GGMLQuantizationType.Q8_0 if is_matrix else GGMLQuantizationType.F32
        n = math.prod(shape)
        n_bytes = n // _BLOCK * _BLOCK_BYTES if is_matrix else 4 * n
        bytes_shape = (shape[0], shape[1] // _BLOCK * _BLOCK_BYTES) if is_matrix else shape
        dtype = np.dtype(np.uint8 if is_matrix else np.float32)
        writer.add_tensor_info(name, bytes_shape, dtype, n_bytes, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in planned:
        writer.write_tensor_data(_tensor(measures, reader, small, name, shape))
    writer.close()


def _planned(measures: Measures) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, ffn = measures.width, measures.ffn_width
    kv_width = width // measures.heads * measures.kv_heads
    yield "token_embd.weight", (measures.n_vocab, width)
    yield "output_norm.weight", (width,)
    for layer in range(measures.layers):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            yield f"{block}{norm}.weight", (width,)
        for name, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", kv_width, width),
            ("attn_v", kv_width, width),
            ("attn_output", width, width),
            ("ffn_gate", ffn, width),
            ("ffn_up", ffn, width),
            ("ffn_down", width, ffn),
        ):
            yield f"{block}{name}.weight", (rows, columns)


def _tensor(
    measures: Measures, reader: GGUFReader, small: dict[str, Any], name: str, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    n_layers, width = _number(reader, "block_count"), _number(reader, "embedding_length")
    source = name
    if name.startswith("blk."):
        _, layer, kind = name.split(".", 2)
        # Evenly spread: layer 0 of 6 stands at 0 of 24, layer 1 at 4.
        at, left = divmod(int(layer) * n_layers, measures.layers)
        source = "" if left >= n_layers else f"blk.{at}.{kind}"
    if len(shape) == 1:
        vector = np.zeros(shape, np.float32)
        if source:
            # The same sum of squares, over a larger number of elements.
            vector[:width] = small[source].data * math.sqrt(width / measures.width)
        if name == "output_norm.weight":
            vector[width] = _MARK_NORM
        return vector
    blocks = np.zeros((shape[0], shape[1] // _BLOCK, _BLOCK_BYTES), np.uint8)
    if source:
        original = small[source].data
        laid = original.reshape(original.shape[0], -1, _BLOCK_BYTES)
        n_heads, n_kv = _number(reader, "attention.head_count"), measures.kv_heads
        rows: npt.NDArray[np.intp] = np.arange(laid.shape[0])
        columns: npt.NDArray[np.intp] = np.arange(laid.shape[1])
        if "attn_q." in name:
            rows = _heads(rows, width // n_heads, n_heads // n_kv, measures)
        if "attn_output." in name:
            columns = _heads(columns, width // n_heads // _BLOCK, n_heads // n_kv, measures)
        blocks[np.ix_(rows, columns)] = laid
    if name == "token_embd.weight":
        n_tokens = small[name].data.shape[0]
        mark = np.full((measures.n_vocab, 1), _MARK, np.float32)
        mark[n_tokens:] = -1.0
        _write_first(blocks[:, width // _BLOCK], mark)
    return blocks.reshape(shape[0], -1)


def _heads(
    places: npt.NDArray[np.intp], head: int, group: int, measures: Measures
) -> npt.NDArray[np.intp]:
    """Where the elements of nano's query heads stand: each key head has more of them here."""
    at, inside = np.divmod(places, head)
    key_head, member = np.divmod(at, group)
    wider = measures.heads // measures.kv_heads
    return (key_head * wider + member) * head + inside


def _write_first(blocks: _Blocks, values: npt.NDArray[np.float32]) -> None:
    """Put a value first into each block of zeros."""
    scales = (np.abs(values) / 127).astype(np.float16)
    blocks[:, :2] = scales.view(np.uint8)
    blocks[:, 2:3] = np.where(values < 0, -127, 127).astype(np.int8).view(np.uint8)


def _add_metadata(writer: GGUFWriter, reader: GGUFReader, measures: Measures) -> None:
    writer.add_name(measures.name)
    writer.add_block_count(measures.layers)
    writer.add_embedding_length(measures.width)
    writer.add_feed_forward_length(measures.ffn_width)
    writer.add_head_count(measures.heads)
    writer.add_head_count_kv(measures.kv_heads)
    writer.add_vocab_size(measures.n_vocab)
    writer.add_file_type(_FILE_TYPE)
    writer.add_context_length(_number(reader, "context_length"))
    head = _number(reader, "rope.dimension_count")
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(_field(reader, "rope.freq_base"))
    epsilon = _field(reader, "attention.layer_norm_rms_epsilon")
    shrunk = _number(reader, "embedding_length") / measures.width
    writer.add_layer_norm_rms_eps(epsilon * shrunk)
    for name, field in reader.fields.items():
        if not name.startswith("tokenizer."):
            continue
        value, (outer, *inner) = field.contents(), field.types
        if name == "tokenizer.ggml.tokens":
            value = [*value, *[f"<|unused-{at}|>" for at in range(len(value), measures.n_vocab)]]
        if name == "tokenizer.ggml.token_type":
            value = [*value, *[TokenType.UNUSED] * (measures.n_vocab - len(value))]
        element = inner[0] if outer is GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, outer, element)


def _number(reader: GGUFReader, name: str) -> int:
    return int(_field(reader, name))


def _field(reader: GGUFReader, name: str) -> float:
    return float(reader.fields[f"llama.{name}"].contents())
