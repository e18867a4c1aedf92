"""Generates GGUF models of real shapes with random weights and a real tokenizer.

Speed depends on shapes and types, not on the values of the weights. So only llama.cpp's sources are
downloaded; their Qwen2 vocabulary is copied into the file. The text such a model writes has no
meaning. Not for measuring quality. Owner: whoever holds the lock `models`.

The same shape and seed give the same bytes. What each architecture is made of, and how large its
weights are, is in `bench.model_shape` and `bench.hybrid_shapes`; `bench.weights` draws them.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from rich.console import Console

from bench import cache, peers
from bench.errors import BenchError
from bench.hybrid_shapes import DeltaNetShape, GemmaShape, MambaShape, SinkShape
from bench.model_shape import ModelShape
from bench.weights import drawn

VOCABULARY_TOKENS = 151_936

SHAPES = {
    shape.name: shape
    for shape in (
        ModelShape(name="qwen2-0.5b", layers=24, width=896, heads=14, kv_heads=2, ffn_width=4864),
        ModelShape(name="tiny", layers=4, width=256, heads=4, kv_heads=2, ffn_width=1024),
        ModelShape(name="qwen2-1.5b", layers=28, width=1536, heads=12, kv_heads=2, ffn_width=8960),
        # Qwen3 8B's measures; 8.7 GB as Q8_0.
        ModelShape(name="qwen3-8b", layers=36, width=4096, heads=32, kv_heads=8, ffn_width=12288),
        # Qwen3.5 0.8B with two thirds of its layers.
        DeltaNetShape(
            name="qwen35-0.5b",
            layers=16,
            width=1024,
            heads=8,
            kv_heads=2,
            head_width=256,
            ffn_width=3584,
            state_heads=16,
            state_head_width=128,
        ),
        # Granite 4 H 350M.
        MambaShape(
            name="granite-h-0.4b",
            layers=32,
            width=768,
            heads=12,
            kv_heads=4,
            ffn_width=2048,
            state_heads=48,
            state_width=128,
            attention=(10, 13, 17, 27),
        ),
        # Gemma 3 between its 270M and its 1B.
        GemmaShape(
            name="gemma3-0.4b",
            layers=18,
            width=1024,
            heads=4,
            kv_heads=1,
            head_width=256,
            ffn_width=4096,
            window=512,
        ),
        # gpt-oss with a fifth of its width and half of its layers and experts.
        SinkShape(
            name="gpt-oss-0.6b",
            layers=12,
            width=768,
            heads=16,
            kv_heads=2,
            head_width=64,
            ffn_width=768,
            window=128,
            experts=16,
            experts_used=4,
        ),
        DeltaNetShape(
            name="tiny-qwen35",
            layers=4,
            width=128,
            heads=2,
            kv_heads=1,
            head_width=64,
            ffn_width=256,
            state_heads=2,
            state_head_width=64,
        ),
        MambaShape(
            name="tiny-granite-h",
            layers=4,
            width=128,
            heads=4,
            kv_heads=2,
            ffn_width=256,
            state_heads=8,
            state_width=32,
            attention=(2,),
        ),
        GemmaShape(
            name="tiny-gemma3",
            layers=6,
            width=128,
            heads=2,
            kv_heads=1,
            head_width=64,
            ffn_width=256,
            window=64,
        ),
        SinkShape(
            name="tiny-gpt-oss",
            layers=4,
            width=128,
            heads=4,
            kv_heads=2,
            head_width=64,
            ffn_width=128,
            window=64,
            experts=4,
            experts_used=2,
        ),
    )
}
# Gigabytes that few benchmarks want: written where they are named.
LARGE = ("qwen2-1.5b", "qwen3-8b")
# One of each kind of memory that is more than cells.
HYBRIDS_AND_WINDOWS = ("qwen35-0.5b", "granite-h-0.4b", "gemma3-0.4b", "gpt-oss-0.6b")
TINY_HYBRIDS_AND_WINDOWS = ("tiny-qwen35", "tiny-granite-h", "tiny-gemma3", "tiny-gpt-oss")


def model(name: str, *, seed: int = 0) -> Path:
    """The path of the generated model `name`, written on first use."""
    shape = SHAPES.get(name)
    if shape is None:
        raise BenchError(f"no shape is called {name!r}; there are {', '.join(SHAPES)}")
    path = cache.folder("models") / f"{name}-{shape.form}-seed{seed}-v{shape.recipe}.gguf"
    with cache.exclusive("models"):
        if not path.exists():
            partial = path.with_suffix(".partial")
            write(shape, partial, seed=seed)
            partial.rename(path)
    return path


def write(
    shape: ModelShape,
    path: Path,
    *,
    seed: int,
    vocabulary: Callable[[GGUFWriter, int], None] | None = None,
    n_vocab: int = VOCABULARY_TOKENS,
) -> None:
    """Writes the model; memory in use stays near that of its largest tensor. vocabulary: adds one
    of `n_vocab` tokens; None for Qwen2's."""
    writer = GGUFWriter(path, shape.architecture)
    writer.add_name(f"random {shape.name}")
    shape.add_metadata(writer)
    if vocabulary is None:
        _copy_tokenizer(writer)
    else:
        vocabulary(writer, n_vocab)
    tensors = list(shape.tensors(n_vocab))
    for tensor in tensors:
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.size_bytes, tensor.ggml_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(drawn(tensor, seed))
    writer.close()


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
    """Command line: write the named models (without names all but the large), print their paths."""
    parser = argparse.ArgumentParser(prog="python -m bench.shapes", description=__doc__)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console, errors = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    try:
        for name in options.shapes or [one for one in SHAPES if one not in LARGE]:
            console.print(str(model(name, seed=options.seed)), highlight=False)
    except BenchError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
