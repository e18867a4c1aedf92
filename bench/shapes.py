"""Generates GGUF models of real shapes with random weights and a real tokenizer.

Speed depends on shapes and types, not on the values of the weights. So only llama.cpp's sources are
downloaded; their Qwen2 vocabulary is copied into the file. The text such a model writes has no
meaning. Not for measuring quality. Owner: whoever holds the lock `models`.

The scales are chosen so that a greedy stream does not fall into repeating one token: see
`_LOGIT_STD` and `_QUERY_KEY_GAIN`. The same shape and seed give the same bytes.
"""

import argparse
import dataclasses
import math
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from rich.console import Console

from bench import cache, peers
from bench.errors import BenchError

VOCABULARY_TOKENS = 151_936
_RECIPE = 1  # part of the file name: raise it when the bytes a seed gives change

_BLOCK_WEIGHTS = 32  # Q8_0: one float16 scale, then 32 int8
_BLOCK_BYTES = 34
_INT8_STD = 127 / math.sqrt(3)  # of uniform int8 in [-127, 127]

# Embeddings are tied: logits are (final state of size one) · embedding. Small embeddings beside
# layer outputs of size one keep the last token from predicting itself, and logits of standard
# deviation 3 give the likeliest of 151,936 tokens 5 to 20 %: neither certain nor lost in a tie.
_LOGIT_STD = 3.0
# Attention scores of standard deviation 4: a few positions win, so the whole context decides the
# next token. With scores near 1 attention averages and greedy text soon runs in a circle.
_QUERY_KEY_GAIN = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The measures of a Qwen2 model with tied embeddings, stored as Q8_0."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn_width: int
    context_tokens: int = 32_768

    @property
    def kv_width(self) -> int:
        """Elements of one token's key (or value) in one layer."""
        return self.width // self.heads * self.kv_heads


SHAPES = {
    shape.name: shape
    for shape in (
        ModelShape(name="qwen2-0.5b", layers=24, width=896, heads=14, kv_heads=2, ffn_width=4864),
        ModelShape(name="tiny", layers=4, width=256, heads=4, kv_heads=2, ffn_width=1024),
    )
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    rows: int  # 1 for the float32 vectors
    columns: int
    std: float
    mean: float = 0.0

    @property
    def quantized(self) -> bool:
        return self.rows > 1

    @property
    def size_bytes(self) -> int:
        weights = self.rows * self.columns
        return weights // _BLOCK_WEIGHTS * _BLOCK_BYTES if self.quantized else 4 * weights


def model(name: str, *, seed: int = 0) -> Path:
    """The path of the generated model `name`, written on first use."""
    shape = SHAPES.get(name)
    if shape is None:
        raise BenchError(f"no shape is called {name!r}; there are {', '.join(SHAPES)}")
    path = cache.folder("models") / f"{name}-q8_0-seed{seed}-v{_RECIPE}.gguf"
    with cache.exclusive("models"):
        if not path.exists():
            partial = path.with_suffix(".partial")
            write(shape, partial, seed=seed)
            partial.rename(path)
    return path


def write(shape: ModelShape, path: Path, *, seed: int) -> None:
    """Writes the model; memory in use stays near that of its largest tensor."""
    writer = GGUFWriter(path, "qwen2")
    writer.add_name(f"random {shape.name}")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.ffn_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(7)  # LLAMA_FTYPE_MOSTLY_Q8_0
    _copy_tokenizer(writer)
    tensors = list(_tensors(shape))
    for tensor in tensors:
        quantized = tensor.quantized
        writer.add_tensor_info(
            tensor.name,
            (tensor.rows, tensor.columns) if quantized else (tensor.columns,),
            np.dtype(np.float32),
            tensor.size_bytes,
            GGMLQuantizationType.Q8_0 if quantized else GGMLQuantizationType.F32,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(_random(tensor, seed))
    writer.close()


def _tensors(shape: ModelShape) -> Iterator[_Tensor]:
    width, kv_width, ffn = shape.width, shape.kv_width, shape.ffn_width
    into, out_of_ffn = 1 / math.sqrt(width), 1 / math.sqrt(ffn)
    embedding = into * _LOGIT_STD
    yield _Tensor(name="token_embd.weight", rows=VOCABULARY_TOKENS, columns=width, std=embedding)
    yield _Tensor(name="output_norm.weight", rows=1, columns=width, std=0.1, mean=1.0)
    sharp = into * _QUERY_KEY_GAIN
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            yield _Tensor(name=f"{block}{norm}.weight", rows=1, columns=width, std=0.1, mean=1.0)
        for name, rows, columns, std in (
            ("attn_q", width, width, sharp),
            ("attn_k", kv_width, width, sharp),
            ("attn_v", kv_width, width, into),
            ("attn_output", width, width, into),
            ("ffn_gate", ffn, width, into),
            ("ffn_up", ffn, width, into),
            ("ffn_down", width, ffn, out_of_ffn),
        ):
            yield _Tensor(name=f"{block}{name}.weight", rows=rows, columns=columns, std=std)
        for name, columns in (("attn_q", width), ("attn_k", kv_width), ("attn_v", kv_width)):
            yield _Tensor(name=f"{block}{name}.bias", rows=1, columns=columns, std=0.1)


def _random(tensor: _Tensor, seed: int) -> npt.NDArray[np.generic]:
    """float32 (columns,), or the bytes of Q8_0 rows: uint8 (rows, columns / 32 * 34)."""
    # Seeded by name, so that a tensor's values do not depend on which were drawn before it.
    generator = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
    if not tensor.quantized:
        drawn = generator.standard_normal(tensor.columns, dtype=np.float32)
        return drawn * np.float32(tensor.std) + np.float32(tensor.mean)
    raw = np.frombuffer(bytearray(generator.bytes(tensor.size_bytes)), dtype=np.uint8)
    blocks = raw.reshape(-1, _BLOCK_BYTES)
    blocks[blocks == 0x80] = 0x81  # -128 is no value a Q8_0 quantizer writes
    scale = np.array([tensor.std / _INT8_STD], dtype="<f2")
    blocks[:, :2] = scale.view(np.uint8)
    return raw.reshape(tensor.rows, -1)


def _copy_tokenizer(writer: GGUFWriter) -> None:
    vocabulary = peers.source() / "models" / "ggml-vocab-qwen2.gguf"
    if not vocabulary.is_file():
        raise BenchError(f"llama.cpp {peers.VERSION} has no {vocabulary.name} among its models")
    fields = GGUFReader(vocabulary).fields
    count = len(fields["tokenizer.ggml.tokens"].data)
    if count != VOCABULARY_TOKENS:
        raise BenchError(f"{vocabulary.name} has {count} tokens, not {VOCABULARY_TOKENS}")
    for name, field in fields.items():
        if name.startswith("tokenizer."):
            outer, *inner = field.types
            element = inner[0] if outer is GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), outer, element)


def main() -> int:
    """Command line: write the named models (all when none is named), print their paths."""
    parser = argparse.ArgumentParser(prog="python -m bench.shapes", description=__doc__)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console, errors = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    try:
        for name in options.shapes or SHAPES:
            console.print(str(model(name, seed=options.seed)), highlight=False)
    except BenchError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
