"""Tiny models with random weights, of kinds that are unlike the model that ships.

Not a test. Written with the gguf package, some hundred kilobytes each; they speak no language.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from tests.models.byte_vocabulary import add_vocabulary

N_VOCAB = 384
ORIGINAL = 4096  # the context that the model with LongRoPE was first trained on
POSITIONS = 256  # of the model that has a row for each
_WIDTH, _HEADS, _LAYERS, _FFN = 64, 2, 2, 96
_INNER, _STATE, _RANK, _CONV = 2 * _WIDTH, 1024, 8, 4
STATE_BYTES = _LAYERS * 4 * (_INNER * _STATE + (_CONV - 1) * _INNER)


def write_long_rope(path: Path) -> Path:
    """Phi-3, whose short factors are near 1 and whose long ones are not."""
    half = _WIDTH // _HEADS // 2
    tiny = _TinyModel(path, "phi3", context=131072)
    tiny.writer.add_rope_scaling_orig_ctx_len(ORIGINAL)
    tiny.writer.add_head_count_kv(_HEADS)
    tiny.writer.add_rope_dimension_count(_WIDTH // _HEADS)
    tiny.add("token_embd.weight", N_VOCAB, _WIDTH)
    tiny.add("output_norm.weight", _WIDTH)
    tiny.add("output.weight", N_VOCAB, _WIDTH)
    tiny.add_given("rope_factors_short.weight", np.linspace(1.0, 1.1, half))
    tiny.add_given("rope_factors_long.weight", np.linspace(4.0, 40.0, half))
    for layer in range(_LAYERS):
        block = f"blk.{layer}."
        tiny.add(f"{block}attn_norm.weight", _WIDTH)
        tiny.add(f"{block}attn_qkv.weight", 3 * _WIDTH, _WIDTH)
        tiny.add(f"{block}attn_output.weight", _WIDTH, _WIDTH)
        tiny.add(f"{block}ffn_norm.weight", _WIDTH)
        tiny.add(f"{block}ffn_up.weight", 2 * _FFN, _WIDTH)
        tiny.add(f"{block}ffn_down.weight", _WIDTH, _FFN)
    return tiny.write()


def write_llama(path: Path, *, context: int, scaling: Mapping[str, str | float] = {}) -> Path:
    """Llama, which computes its positions. scaling: what stands behind `rope.scaling.`."""
    tiny = _TinyModel(path, "llama", context=context)
    tiny.writer.add_head_count_kv(_HEADS)
    tiny.writer.add_rope_dimension_count(_WIDTH // _HEADS)
    for key, value in scaling.items():
        name = f"llama.rope.scaling.{key}"
        if isinstance(value, str):
            tiny.writer.add_string(name, value)
        elif isinstance(value, int):
            tiny.writer.add_uint32(name, value)
        else:
            tiny.writer.add_float32(name, value)
    tiny.add("token_embd.weight", N_VOCAB, _WIDTH)
    tiny.add_given("output_norm.weight", np.ones(_WIDTH))
    tiny.add("output.weight", N_VOCAB, _WIDTH)
    for layer in range(_LAYERS):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            tiny.add_given(f"{block}{norm}.weight", np.ones(_WIDTH))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tiny.add(f"{block}{name}.weight", _WIDTH, _WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            tiny.add(f"{block}{name}.weight", _FFN, _WIDTH)
        tiny.add(f"{block}ffn_down.weight", _WIDTH, _FFN)
    return tiny.write()


def write_gpt2(path: Path) -> Path:
    """GPT-2: a row of weights for each of `POSITIONS`."""
    tiny = _TinyModel(path, "gpt2", context=POSITIONS)
    tiny.writer.add_layer_norm_eps(1e-5)
    tiny.add("token_embd.weight", N_VOCAB, _WIDTH)
    tiny.add("position_embd.weight", POSITIONS, _WIDTH)
    shapes: Mapping[str, tuple[int, ...]] = {
        "attn_norm": (_WIDTH,),
        "attn_qkv": (3 * _WIDTH, _WIDTH),
        "attn_output": (_WIDTH, _WIDTH),
        "ffn_norm": (_WIDTH,),
        "ffn_up": (_FFN, _WIDTH),
        "ffn_down": (_WIDTH, _FFN),
    }
    names: dict[str, tuple[int, ...]] = {"output_norm": (_WIDTH,)}
    for layer in range(_LAYERS):
        names |= {f"blk.{layer}.{name}": shape for name, shape in shapes.items()}
    for name, shape in names.items():
        tiny.add(f"{name}.weight", *shape)
        tiny.add(f"{name}.bias", shape[0])
    return tiny.write()


def write_t5(path: Path) -> Path:
    """T5: an encoder that reads and a decoder that writes."""
    tiny = _TinyModel(path, "t5", context=512)
    tiny.writer.add_relative_attn_buckets_count(32)
    tiny.add("token_embd.weight", N_VOCAB, _WIDTH)
    tiny.add("output.weight", N_VOCAB, _WIDTH)
    for half, attentions in (("enc", ("attn",)), ("dec", ("attn", "cross_attn"))):
        tiny.add(f"{half}.output_norm.weight", _WIDTH)
        for layer in range(_LAYERS):
            block = f"{half}.blk.{layer}."
            for attention in attentions:
                tiny.add(f"{block}{attention}_norm.weight", _WIDTH)
                for part in ("q", "k", "v", "o"):
                    tiny.add(f"{block}{attention}_{part}.weight", _WIDTH, _WIDTH)
            tiny.add(f"{block}attn_rel_b.weight", 32, _HEADS)
            tiny.add(f"{block}ffn_norm.weight", _WIDTH)
            tiny.add(f"{block}ffn_up.weight", _FFN, _WIDTH)
            tiny.add(f"{block}ffn_down.weight", _WIDTH, _FFN)
    return tiny.write()


def write_mamba(path: Path) -> Path:
    """Mamba: a state of `STATE_BYTES` for each sequence, and no cells."""
    tiny = _TinyModel(path, "mamba", context=4096)
    tiny.writer.add_ssm_conv_kernel(_CONV)
    tiny.writer.add_ssm_inner_size(_INNER)
    tiny.writer.add_ssm_state_size(_STATE)
    tiny.writer.add_ssm_time_step_rank(_RANK)
    tiny.add("token_embd.weight", N_VOCAB, _WIDTH)
    tiny.add("output_norm.weight", _WIDTH)
    for layer in range(_LAYERS):
        block = f"blk.{layer}."
        tiny.add(f"{block}attn_norm.weight", _WIDTH)
        tiny.add(f"{block}ssm_in.weight", 2 * _INNER, _WIDTH)
        tiny.add(f"{block}ssm_conv1d.weight", _INNER, _CONV)
        tiny.add(f"{block}ssm_conv1d.bias", _INNER)
        tiny.add(f"{block}ssm_x.weight", _RANK + 2 * _STATE, _INNER)
        tiny.add(f"{block}ssm_dt.weight", _INNER, _RANK)
        tiny.add(f"{block}ssm_dt.bias", _INNER)
        tiny.add_given(f"{block}ssm_a", -np.ones((_INNER, _STATE)))
        tiny.add(f"{block}ssm_d", _INNER)
        tiny.add(f"{block}ssm_out.weight", _WIDTH, _INNER)
    return tiny.write()


class _TinyModel:
    def __init__(self, path: Path, architecture: str, *, context: int) -> None:
        self.writer = writer = GGUFWriter(path, architecture)
        self._path = path
        self._drawn = np.random.default_rng(0)
        writer.add_context_length(context)
        writer.add_embedding_length(_WIDTH)
        writer.add_block_count(_LAYERS)
        writer.add_feed_forward_length(_FFN)
        writer.add_head_count(_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_file_type(0)
        add_vocabulary(writer, N_VOCAB)

    def add(self, name: str, *shape: int) -> None:
        """A tensor of random numbers, its rows last."""
        self.add_given(name, self._drawn.normal(0, 0.5, shape))

    def add_given(self, name: str, values: object) -> None:
        self.writer.add_tensor(name, np.asarray(values, np.float32))

    def write(self) -> Path:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()
        return self._path
