"""Tiny projectors with random weights, of three families, and a text model with M-RoPE for one.

Not a test. Written with the gguf package, some hundred kilobytes each; they see nothing. Names and
shapes are those that llama.cpp's clip.cpp reads.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

from tests.models.byte_vocabulary import add_vocabulary
from umad.media.medium import SAMPLE_RATE_HZ, Medium

NANO_WIDTH = 256
_WIDTH, _FFN, _LAYERS, _HEADS = 64, 128, 2, 4
_MROPE_VOCAB = 384


class _Drawn:
    """One projector that is being written."""

    def __init__(
        self,
        path: Path,
        kind: str,
        projector: str,
        *,
        width: int,
        seed: int = 7,
        layers: int = _LAYERS,
    ) -> None:
        self.layers = layers
        self.writer = writer = GGUFWriter(path, "clip")
        self.drawn = np.random.default_rng(seed)
        writer.add_string("general.type", "mmproj")
        writer.add_uint32("general.file_type", 1)
        writer.add_bool(f"clip.has_{kind}_encoder", True)
        writer.add_string("clip.projector_type", projector)
        writer.add_bool("clip.use_gelu", True)
        for name, value in (
            ("embedding_length", _WIDTH),
            ("feed_forward_length", _FFN),
            ("block_count", layers),
            ("projection_dim", width),
            ("attention.head_count", _HEADS),
        ):
            writer.add_uint32(f"clip.{kind}.{name}", value)
        writer.add_float32(f"clip.{kind}.attention.layer_norm_epsilon", 1e-6)

    def sees(self, size: int, patch: int) -> None:
        self.writer.add_uint32("clip.vision.image_size", size)
        self.writer.add_uint32("clip.vision.patch_size", patch)
        self.writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
        self.writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])

    def add(self, name: str, *shape: int, scale: float = 0.0, half: bool = True) -> None:
        """Random numbers of about one, whatever is multiplied with them; rows first."""
        scale = scale or float(np.prod(shape[1:])) ** -0.5
        values = self.drawn.standard_normal(shape) * scale
        self.writer.add_tensor(name, values.astype(np.float16 if half else np.float32))

    def add_one(self, name: str, n: int) -> None:
        self.writer.add_tensor(name, np.ones(n, np.float32))

    def add_none(self, name: str, *shape: int) -> None:
        self.writer.add_tensor(name, np.zeros(shape, np.float32))

    def add_layers(self, prefix: str, *, key_bias: bool = True) -> None:
        for layer in range(self.layers):
            block = f"{prefix}.blk.{layer}."
            for norm in ("ln1", "ln2"):
                self.add_one(f"{block}{norm}.weight", _WIDTH)
                self.add_none(f"{block}{norm}.bias", _WIDTH)
            for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
                self.add(f"{block}{name}.weight", _WIDTH, _WIDTH)
                if name != "attn_k" or key_bias:
                    self.add_none(f"{block}{name}.bias", _WIDTH)
            self.add(f"{block}ffn_up.weight", _FFN, _WIDTH)
            self.add_none(f"{block}ffn_up.bias", _FFN)
            self.add(f"{block}ffn_down.weight", _WIDTH, _FFN)
            self.add_none(f"{block}ffn_down.bias", _WIDTH)
        self.add_one(f"{prefix}.post_ln.weight", _WIDTH)
        self.add_none(f"{prefix}.post_ln.bias", _WIDTH)

    def write(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def write_gemma3(path: Path, *, width: int = NANO_WIDTH, seed: int = 7) -> Path:
    """Every image becomes 16 rows, which look at one another."""
    one = _Drawn(path, "vision", "gemma3", width=width, seed=seed)
    one.sees(64, 8)
    one.writer.add_uint32("clip.vision.projector.scale_factor", 2)
    one.add("v.patch_embd.weight", _WIDTH, 3, 8, 8)
    one.add_none("v.patch_embd.bias", _WIDTH)
    one.add("v.position_embd.weight", 64, _WIDTH, scale=0.5, half=False)
    one.add_layers("v")
    one.add("mm.input_projection.weight", _WIDTH, width, scale=_WIDTH**-0.5)
    one.add_one("mm.soft_emb_norm.weight", _WIDTH)
    one.write()
    return path


def write_qwen2vl(
    path: Path, *, width: int = NANO_WIDTH, seed: int = 7, layers: int = _LAYERS
) -> Path:
    """Images of any size; a row stands for 28 by 28 pixels."""
    one = _Drawn(path, "vision", "qwen2vl_merger", width=width, seed=seed, layers=layers)
    one.sees(56, 14)
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        one.add(name, _WIDTH, 3, 14, 14)
    one.add_layers("v")
    for name, rows in (("mm.0", 4 * _WIDTH), ("mm.2", width)):
        one.add(f"{name}.weight", rows, 4 * _WIDTH)
        one.add_none(f"{name}.bias", rows)
    one.write()
    return path


def write_ultravox(path: Path, *, width: int = NANO_WIDTH, seed: int = 7, stack: int = 4) -> Path:
    """Sounds; thirty seconds become 375 rows. stack: with 8, llama.cpp expects another number of
    rows than it computes, and ends the process."""
    one = _Drawn(path, "audio", "ultravox", width=width, seed=seed)
    one.writer.add_uint32("clip.audio.num_mel_bins", 80)
    one.writer.add_uint32("clip.audio.projector.stack_factor", stack)
    for name, inner in (("a.conv1d.1", 80), ("a.conv1d.2", _WIDTH)):
        one.add(f"{name}.weight", _WIDTH, inner, 3)
        one.add_none(f"{name}.bias", _WIDTH, 1)
    one.add("a.position_embd.weight", 1500, _WIDTH, scale=0.5, half=False)
    one.add_layers("a", key_bias=False)
    one.add_one("mm.a.norm_pre.weight", stack * _WIDTH)
    one.add("mm.a.mlp.1.weight", 256, stack * _WIDTH)
    one.add_one("mm.a.norm_mid.weight", 128)
    one.add("mm.a.mlp.2.weight", width, 128)
    one.write()
    return path


def write_mrope_text(path: Path) -> Path:
    """A text model whose positions have dimensions (qwen2vl), as wide as nano."""
    width, head, kv, ffn = NANO_WIDTH, 64, 2, 384
    writer = GGUFWriter(path, "qwen2vl")
    drawn = np.random.default_rng(3)
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(2)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(width // head)
    writer.add_head_count_kv(kv)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_array("qwen2vl.rope.dimension_sections", [8, 12, 12, 0])
    add_vocabulary(writer, _MROPE_VOCAB)

    def add(name: str, *shape: int) -> None:
        values = drawn.standard_normal(shape) * shape[-1] ** -0.5
        writer.add_tensor(name, values.astype(np.float16))

    add("token_embd.weight", _MROPE_VOCAB, width)
    add("output.weight", _MROPE_VOCAB, width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for layer in range(2):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}{norm}.weight", np.ones(width, np.float32))
        for name, rows in (("attn_q", width), ("attn_k", kv * head), ("attn_v", kv * head)):
            add(f"{block}{name}.weight", rows, width)
            writer.add_tensor(f"{block}{name}.bias", np.zeros(rows, np.float32))
        add(f"{block}attn_output.weight", width, width)
        add(f"{block}ffn_gate.weight", ffn, width)
        add(f"{block}ffn_up.weight", ffn, width)
        add(f"{block}ffn_down.weight", width, ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# -- media -------------------------------------------------------------------------------------


def image(width: int = 140, height: int = 90, *, seed: int = 5) -> Medium:
    """An image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Medium(
        kind="image", content_id=_id_of(pixels), data=pixels.tobytes(), width=width, height=height
    )


def sound(seconds: float = 3.0, *, seed: int = 5) -> Medium:
    """A sound of noise."""
    n = int(seconds * SAMPLE_RATE_HZ)
    samples = (np.random.default_rng(seed).standard_normal(n) * 0.1).astype("<f4")
    return Medium(
        kind="audio",
        content_id=_id_of(samples),
        data=samples.tobytes(),
        samples=n,
        rate=SAMPLE_RATE_HZ,
    )


def _id_of(values: NDArray[np.generic]) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


FAMILIES: dict[str, tuple[Callable[..., Path], Callable[..., Medium]]] = {
    "gemma3": (write_gemma3, image),
    "qwen2vl": (write_qwen2vl, image),
    "ultravox": (write_ultravox, sound),
}
