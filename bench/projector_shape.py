"""Writes a projector with random weights: the eyes of a text model, of a real shape.

It is a vision transformer as LLaVA 1.5 has one (llama.cpp calls its projector "mlp"): an image of
any size becomes one square, and each patch of the square a row. What such rows say has no meaning;
what they cost does not depend on that. llama.cpp's own server reads the same file.

Not: text models (`bench.shapes`). Owner: whoever holds the lock `models`.
"""

import dataclasses
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from bench import cache
from bench.errors import BenchError
from umad.models import gguf


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorShape:
    """The measures of a vision transformer; by itself those of ViT-B with patches of 14 pixels."""

    name: str = "vit-b"
    side_px: int = 224
    patch_px: int = 14
    width: int = 768
    ffn_width: int = 3072
    layers: int = 12
    heads: int = 12

    @property
    def rows(self) -> int:
        """Rows that every image becomes."""
        return (self.side_px // self.patch_px) ** 2


SHAPES = {
    shape.name: shape
    for shape in (
        ProjectorShape(),
        ProjectorShape(name="tiny", side_px=56, width=64, ffn_width=128, layers=3, heads=4),
    )
}


def projector(name: str, text_model: Path, *, seed: int = 0) -> Path:
    """The path of a projector for a text model, written on first use."""
    width = _text_width(text_model)
    path = cache.folder("models") / f"mmproj-{name}-{width}-seed{seed}-v1.gguf"
    with cache.exclusive("models"):
        if not path.exists():
            partial = path.with_suffix(".partial")
            write(SHAPES[name], partial, text_width=width, seed=seed)
            partial.rename(path)
    return path


def write(shape: ProjectorShape, path: Path, *, text_width: int, seed: int) -> None:
    """Write it: float16 matrices, about one number each in what they make."""
    writer = GGUFWriter(path, "clip")
    drawn = np.random.default_rng(seed)
    writer.add_string("general.type", "mmproj")
    writer.add_uint32("general.file_type", 1)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    for name, value in (
        ("image_size", shape.side_px),
        ("patch_size", shape.patch_px),
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.ffn_width),
        ("block_count", shape.layers),
        ("projection_dim", text_width),
        ("attention.head_count", shape.heads),
    ):
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    for name in ("image_mean", "image_std"):
        writer.add_array(f"clip.vision.{name}", [0.5, 0.5, 0.5])

    def matrix(name: str, *size: int) -> None:
        values = drawn.standard_normal(size, np.float32) * float(np.prod(size[1:])) ** -0.5
        writer.add_tensor(name, values.astype(np.float16))

    def vector(name: str, n: int, value: float = 0.0) -> None:
        writer.add_tensor(name, np.full(n, value, np.float32))

    def norm(name: str) -> None:
        vector(f"{name}.weight", shape.width, 1.0)
        vector(f"{name}.bias", shape.width)

    width = shape.width
    matrix("v.patch_embd.weight", width, 3, shape.patch_px, shape.patch_px)
    writer.add_tensor("v.class_embd", drawn.standard_normal(width, np.float32))
    positions = drawn.standard_normal((shape.rows + 1, width), np.float32)
    writer.add_tensor("v.position_embd.weight", positions * np.float32(0.5))
    norm("v.pre_ln")
    for layer in range(shape.layers):
        block = f"v.blk.{layer}"
        norm(f"{block}.ln1")
        norm(f"{block}.ln2")
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            matrix(f"{block}.{part}.weight", width, width)
            vector(f"{block}.{part}.bias", width)
        matrix(f"{block}.ffn_up.weight", shape.ffn_width, width)
        vector(f"{block}.ffn_up.bias", shape.ffn_width)
        matrix(f"{block}.ffn_down.weight", width, shape.ffn_width)
        vector(f"{block}.ffn_down.bias", width)
    for number, columns in ((0, width), (2, text_width)):
        matrix(f"mm.{number}.weight", text_width, columns)
        vector(f"mm.{number}.bias", text_width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _text_width(model: Path) -> int:
    header = gguf.read_header(model)
    width = header.metadata.get(f"{header.architecture}.embedding_length")
    if not isinstance(width, int):
        raise BenchError(f"{model} does not say how wide its rows are")
    return width
