"""Small models with random weights, one for every kind of memory that llama.cpp has, for tests.

Not tests. What they write means nothing, but it hangs on all that a token looks at: attention is
sharp, embeddings are small beside what the layers make of them, and greedy answers vary. Written
with the gguf package; half a megabyte each, the same bytes for the same kind and seed.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

WIDTH, HEADS, HEAD, FFN, CONTEXT = 64, 4, 32, 128, 16_384
WINDOW = 64
CHUNK = 8_192  # what llama.cpp takes for every Llama 4
_Q, _KV = HEADS * HEAD, 2 * HEAD

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_SPECIAL = ("<unk>", "<s>", "</s>")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
# A mark stands for the space before a word.
TOKENS = (*_SPECIAL, *_BYTES, "\u2581", *_LETTERS, *(f"\u2581{one}" for one in _LETTERS))
_UNKNOWN, _CONTROL, _BYTE, _NORMAL = 2, 3, 6, 1

Shape = tuple[int, ...]
Tensors = Iterator[tuple[str, Shape]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """architecture: llama.cpp's name. keys: of the file's own metadata, without the architecture's
    name before them. blocks: tensors of a layer. heads: tensors outside of layers, but for the
    embeddings and the last norm. norm_bias: the last norm has one. kv_heads: of each layer, where
    they differ. head: width of a head, None where `keys` say it or nobody needs it. head_norm: size
    of queries and keys where they are normed; scores have a standard deviation of about 4 by it.
    routed_by_token: a token alone decides on its expert, by a wide margin.
    """

    architecture: str
    blocks: Callable[[int], Tensors]
    n_layers: int = 4
    keys: Mapping[str, object] = field(default_factory=dict)
    heads: tuple[tuple[str, Shape], ...] = ()
    last_norm: str = "output_norm"
    norm_bias: bool = False
    kv_heads: tuple[int, ...] | None = None
    head: int | None = HEAD
    head_norm: float = 2.0
    routed_by_token: bool = False


def _attention(norm: str = "attn_norm", q: int = _Q, kv: int = _KV) -> Tensors:
    yield f"{norm}.weight", (WIDTH,)
    yield "attn_q.weight", (q, WIDTH)
    yield "attn_k.weight", (kv, WIDTH)
    yield "attn_v.weight", (kv, WIDTH)
    yield "attn_output.weight", (WIDTH, q)


def _head_norms(width: int = HEAD) -> Tensors:
    yield "attn_q_norm.weight", (width,)
    yield "attn_k_norm.weight", (width,)


def _ffn(norm: str = "ffn_norm") -> Tensors:
    yield f"{norm}.weight", (WIDTH,)
    yield "ffn_gate.weight", (FFN, WIDTH)
    yield "ffn_up.weight", (FFN, WIDTH)
    yield "ffn_down.weight", (WIDTH, FFN)


def _llama(layer: int) -> Tensors:
    yield from _attention()
    yield from _ffn()


def _gemma3(layer: int) -> Tensors:
    yield from _attention()
    yield from _head_norms()
    yield "post_attention_norm.weight", (WIDTH,)
    yield from _ffn()
    yield "post_ffw_norm.weight", (WIDTH,)


_GEMMA4_HEAD = 64  # of the layers that look at everything; those with a window have `HEAD`


def _gemma4(layer: int) -> Tensors:
    wide = layer % 2 == 1
    head = _GEMMA4_HEAD if wide else HEAD
    yield from _attention(q=HEADS * head, kv=2 * head)
    yield from _head_norms(head)
    yield "post_attention_norm.weight", (WIDTH,)
    yield from _ffn()
    yield "post_ffw_norm.weight", (WIDTH,)


def _llama4(layer: int) -> Tensors:
    yield from _attention()
    yield "ffn_norm.weight", (WIDTH,)
    yield "ffn_gate_inp.weight", (2, WIDTH)
    for name, shape in (("gate", (FFN, WIDTH)), ("up", (FFN, WIDTH)), ("down", (WIDTH, FFN))):
        yield f"ffn_{name}_exps.weight", (2, *shape)
        yield f"ffn_{name}_shexp.weight", shape


def _bloom(layer: int) -> Tensors:
    for name, rows in (("attn_qkv", 3 * WIDTH), ("attn_output", WIDTH)):
        yield f"{name}.weight", (rows, WIDTH)
        yield f"{name}.bias", (rows,)
    for name in ("attn_norm", "ffn_norm"):
        yield f"{name}.weight", (WIDTH,)
        yield f"{name}.bias", (WIDTH,)
    yield "ffn_up.weight", (FFN, WIDTH)
    yield "ffn_up.bias", (FFN,)
    yield "ffn_down.weight", (WIDTH, FFN)
    yield "ffn_down.bias", (WIDTH,)


_RANK, _ROPE, _NOPE = 32, 16, 16


def _deepseek2(layer: int) -> Tensors:
    yield "attn_norm.weight", (WIDTH,)
    yield "attn_q_a_norm.weight", (_RANK,)
    yield "attn_q_a.weight", (_RANK, WIDTH)
    yield "attn_q_b.weight", (HEADS * (_NOPE + _ROPE), _RANK)
    yield "attn_kv_a_norm.weight", (_RANK,)
    yield "attn_kv_a_mqa.weight", (_RANK + _ROPE, WIDTH)
    yield "attn_k_b.weight", (HEADS, _RANK, _NOPE)
    yield "attn_v_b.weight", (HEADS, HEAD, _RANK)
    yield "attn_output.weight", (WIDTH, HEADS * HEAD)
    yield from _ffn()


_INNER, _STATE, _DT = 2 * WIDTH, 16, 4


def _mamba(layer: int) -> Tensors:
    yield "attn_norm.weight", (WIDTH,)
    yield "ssm_in.weight", (2 * _INNER, WIDTH)
    yield "ssm_conv1d.weight", (_INNER, 4)
    yield "ssm_conv1d.bias", (_INNER,)
    yield "ssm_x.weight", (_DT + 2 * _STATE, _INNER)
    yield "ssm_dt.weight", (_INNER, _DT)
    yield "ssm_dt.bias", (_INNER,)
    yield "ssm_a", (_INNER, _STATE)
    yield "ssm_d", (_INNER,)
    yield "ssm_out.weight", (WIDTH, _INNER)


def _lfm2(layer: int) -> Tensors:
    yield from _ffn()
    if layer % 2:
        yield from _attention(q=WIDTH, kv=WIDTH // 2)
        yield from _head_norms(WIDTH // HEADS)
    else:
        yield "attn_norm.weight", (WIDTH,)
        yield "shortconv.conv.weight", (WIDTH, 3)
        yield "shortconv.in_proj.weight", (3 * WIDTH, WIDTH)
        yield "shortconv.out_proj.weight", (WIDTH, WIDTH)


_HEADS_2, _GROUPS = 4, 1
_CONV_2 = _INNER + 2 * _GROUPS * _STATE


def _mixer(layer: int) -> Tensors:
    """What Mamba 2 has in place of attention."""
    yield "attn_norm.weight", (WIDTH,)
    yield "ssm_in.weight", (_INNER + _CONV_2 + _HEADS_2, WIDTH)
    yield "ssm_conv1d.weight", (_CONV_2, 4)
    yield "ssm_conv1d.bias", (_CONV_2,)
    yield "ssm_dt.bias", (_HEADS_2,)
    yield "ssm_a", (_HEADS_2, 1)
    yield "ssm_d", (_HEADS_2, 1)
    yield "ssm_norm.weight", (_GROUPS, _INNER // _GROUPS)
    yield "ssm_out.weight", (WIDTH, _INNER)


def _granite_hybrid(layer: int) -> Tensors:
    yield from _attention() if layer % 2 else _mixer(layer)
    yield from _ffn()


_DELTA_HEADS, _DELTA_KEY_HEADS, _DELTA_HEAD = 4, 2, 32
_DELTA_INNER = _DELTA_HEADS * _DELTA_HEAD
_DELTA_CONV = 2 * _DELTA_KEY_HEADS * _DELTA_HEAD + _DELTA_INNER


def _qwen35(layer: int) -> Tensors:
    if layer % 2:
        for name, shape in _attention():
            # Queries, and gates of as many numbers.
            yield name, (2 * _Q, WIDTH) if name == "attn_q.weight" else shape
        yield from _head_norms()
    else:
        yield "attn_norm.weight", (WIDTH,)
        yield "attn_qkv.weight", (_DELTA_CONV, WIDTH)
        yield "attn_gate.weight", (_DELTA_INNER, WIDTH)
        yield "ssm_conv1d.weight", (_DELTA_CONV, 4)
        yield "ssm_dt.bias", (_DELTA_HEADS,)
        yield "ssm_a", (_DELTA_HEADS,)
        yield "ssm_beta.weight", (_DELTA_HEADS, WIDTH)
        yield "ssm_alpha.weight", (_DELTA_HEADS, WIDTH)
        yield "ssm_norm.weight", (_DELTA_HEAD,)
        yield "ssm_out.weight", (WIDTH, _DELTA_INNER)
    yield from _ffn("post_attention_norm")


def _gpt_oss(layer: int) -> Tensors:
    yield from _attention()
    yield "attn_output.bias", (WIDTH,)
    yield "attn_sinks.weight", (HEADS,)
    yield "post_attention_norm.weight", (WIDTH,)
    yield "ffn_gate_inp.weight", (2, WIDTH)
    yield "ffn_gate_inp.bias", (2,)
    for name, shape in (("gate", (FFN, WIDTH)), ("up", (FFN, WIDTH)), ("down", (WIDTH, FFN))):
        yield f"ffn_{name}_exps.weight", (2, *shape)
        yield f"ffn_{name}_exps.bias", (2, shape[0])


def _exaone4(layer: int) -> Tensors:
    for name, shape in (*_attention(q=WIDTH, kv=WIDTH // 2), *_ffn()):
        if not name.startswith(("attn_norm", "ffn_norm")):
            yield name, shape
    yield from _head_norms(WIDTH // HEADS)
    yield "post_attention_norm.weight", (WIDTH,)
    yield "post_ffw_norm.weight", (WIDTH,)


_MIXER_KEYS = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": _INNER,
    "ssm.state_size": _STATE,
    "ssm.time_step_rank": _HEADS_2,
    "ssm.group_count": _GROUPS,
}


# Three layers with a window to one without, twice, as in most models that have them.
_PATTERN = [True, True, True, False] * 2
_LFM2 = {"shortconv.l_cache": 3}
_LFM2_KV_HEADS = (0, 2, 0, 2)

KINDS: Mapping[str, Kind] = {
    "full": Kind(architecture="llama", blocks=_llama),
    "windows": Kind(
        architecture="gemma3",
        blocks=_gemma3,
        n_layers=8,
        keys={"attention.sliding_window": WINDOW, "attention.sliding_window_pattern": _PATTERN},
    ),
    "chunks": Kind(
        architecture="llama4",
        blocks=_llama4,
        keys={
            "expert_count": 2,
            "expert_used_count": 1,
            "expert_feed_forward_length": FFN,
            "interleave_moe_layer_step": 1,
        },
    ),
    "shared cells": Kind(
        architecture="gemma4",
        blocks=_gemma4,
        n_layers=6,
        keys={
            "attention.sliding_window": WINDOW,
            "attention.sliding_window_pattern": [True, False] * 3,
            "attention.shared_kv_layers": 2,
            "attention.key_length": _GEMMA4_HEAD,
            "attention.value_length": _GEMMA4_HEAD,
            "attention.key_length_swa": HEAD,
            "attention.value_length_swa": HEAD,
            "rope.dimension_count": _GEMMA4_HEAD,
            "rope.dimension_count_swa": HEAD,
            "embedding_length_per_layer_input": 0,
        },
        heads=(("rope_freqs.weight", (_GEMMA4_HEAD // 2,)),),
        head=None,
        head_norm=0.8,  # it does not divide scores by the root of a head's width
    ),
    "alibi": Kind(
        architecture="bloom",
        blocks=_bloom,
        keys={"attention.layer_norm_epsilon": 1e-5},
        heads=(("token_embd_norm.weight", (WIDTH,)), ("token_embd_norm.bias", (WIDTH,))),
        norm_bias=True,
        kv_heads=(HEADS,) * 4,
        head=None,
    ),
    "latent": Kind(
        architecture="deepseek2",
        blocks=_deepseek2,
        keys={
            "leading_dense_block_count": 4,
            "attention.q_lora_rank": _RANK,
            "attention.kv_lora_rank": _RANK,
            "attention.key_length": _RANK + _ROPE,
            "attention.value_length": _RANK,
            "attention.key_length_mla": _NOPE + _ROPE,
            "attention.value_length_mla": HEAD,
            "rope.dimension_count": _ROPE,
            "expert_feed_forward_length": FFN,
            "expert_shared_count": 1,
            "expert_count": 0,
        },
        kv_heads=(1,) * 4,
        head=None,
    ),
    "recurrent": Kind(
        architecture="mamba",
        blocks=_mamba,
        keys={
            "ssm.conv_kernel": 4,
            "ssm.inner_size": _INNER,
            "ssm.state_size": _STATE,
            "ssm.time_step_rank": _DT,
        },
        head=None,
    ),
    "hybrid": Kind(
        architecture="lfm2",
        blocks=_lfm2,
        keys=_LFM2,
        last_norm="token_embd_norm",
        kv_heads=_LFM2_KV_HEADS,
        head=None,
    ),
    "hybrid with windows": Kind(
        architecture="lfm2",
        blocks=_lfm2,
        keys={**_LFM2, "attention.sliding_window": WINDOW},
        last_norm="token_embd_norm",
        kv_heads=_LFM2_KV_HEADS,
        head=None,
    ),
}


# Kinds that keep states, beside those above: gated delta nets, Mamba 2 with and without attention,
# windows with sinks; and a window that the file names and no layer has. Tests of all answers do
# without them.
MORE_KINDS: Mapping[str, Kind] = {
    "delta net": Kind(
        architecture="qwen35",
        blocks=_qwen35,
        keys={
            "ssm.conv_kernel": 4,
            "ssm.inner_size": _DELTA_INNER,
            "ssm.state_size": _DELTA_HEAD,
            "ssm.time_step_rank": _DELTA_HEADS,
            "ssm.group_count": _DELTA_KEY_HEADS,
            "full_attention_interval": 2,
            "rope.dimension_sections": [6, 5, 5, 0],
        },
    ),
    "mamba hybrid": Kind(
        architecture="granitehybrid",
        blocks=_granite_hybrid,
        keys=_MIXER_KEYS,
        kv_heads=_LFM2_KV_HEADS,
    ),
    "mamba 2": Kind(architecture="mamba2", blocks=_mixer, keys=_MIXER_KEYS, head=None),
    "sinks": Kind(
        architecture="gpt-oss",
        blocks=_gpt_oss,
        keys={
            "attention.sliding_window": WINDOW,
            "expert_count": 2,
            "expert_used_count": 1,
            "expert_feed_forward_length": FFN,
        },
        routed_by_token=True,
    ),
    # It has as few layers as a small EXAONE 4, none of which looks back over a window.
    "named window": Kind(
        architecture="exaone4",
        blocks=_exaone4,
        keys={"attention.sliding_window": WINDOW},
        head=WIDTH // HEADS,
    ),
}


def write(path: Path, kind: str, *, seed: int = 0, template: str | None = None) -> Path:
    """The model of a kind of memory. template: of its chats."""
    shape = {**KINDS, **MORE_KINDS}[kind]
    writer = GGUFWriter(path, shape.architecture)
    writer.add_name(f"random {kind}")
    writer.add_block_count(shape.n_layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(list(shape.kv_heads) if shape.kv_heads else 2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(0)
    if shape.head is not None:
        writer.add_key_length(shape.head)
        writer.add_value_length(shape.head)
        writer.add_rope_dimension_count(shape.head)
    for name, value in shape.keys.items():
        _add(writer, f"{shape.architecture}.{name}", value)
    _add_vocabulary(writer)
    if template is not None:
        writer.add_chat_template(template)
    for name, size in _tensors(shape):
        values = _random(name, size, seed, shape.head_norm)
        if shape.routed_by_token:
            _route_by_token(name, values)
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: object) -> None:
    match value:
        case list():
            writer.add_array(key, value)
        case float():
            writer.add_float32(key, value)
        case int():
            writer.add_uint32(key, value)
        case _:
            raise TypeError(value)


def _add_vocabulary(writer: GGUFWriter) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(TOKENS))
    writer.add_token_scores([0.0] * len(TOKENS))
    kinds = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * len(_BYTES)
    writer.add_token_types(kinds + [_NORMAL] * (len(TOKENS) - len(kinds)))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def _tensors(shape: Kind) -> Tensors:
    yield "token_embd.weight", (len(TOKENS), WIDTH)
    yield "output.weight", (len(TOKENS), WIDTH)
    yield f"{shape.last_norm}.weight", (WIDTH,)
    if shape.norm_bias:
        yield f"{shape.last_norm}.bias", (WIDTH,)
    yield from shape.heads
    for layer in range(shape.n_layers):
        for name, size in shape.blocks(layer):
            yield f"blk.{layer}.{name}", size


def _random(name: str, shape: Shape, seed: int, head_norm: float) -> NDArray[np.float32]:
    # Seeded by name, so that a tensor's values do not depend on which were drawn before it.
    drawn = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = drawn.standard_normal(shape, dtype=np.float32)
    kind = name.removesuffix(".weight").rsplit(".", 1)[-1]
    if kind == "rope_freqs":
        return np.ones(shape, np.float32)
    if kind == "ssm_a":
        decay: NDArray[np.float32] = -np.exp(np.float32(0.5) * values)
        return decay
    if kind == "ssm_d" or name.endswith("norm.weight"):
        size = head_norm if kind in ("attn_q_norm", "attn_k_norm") else 1.0
        return np.float32(size) + np.float32(0.1) * values
    if kind == "attn_sinks":
        # Beside scores that far apart, a smaller one would take no part.
        return np.float32(8.0) + values
    if len(shape) == 1:
        return np.float32(0.1) * values
    into = np.float32(1 / np.sqrt(shape[-1]))
    if kind == "output":
        return into * np.float32(3.0) * values
    if kind in ("attn_q", "attn_k", "attn_q_b", "attn_kv_a_mqa"):
        return into * np.float32(2.0) * values
    return into * values


def _route_by_token(name: str, values: NDArray[np.float32]) -> None:
    """Let the sign of a token's first number choose between two experts. No layer adds to it.

    Experts of random weights are often as good as each other. Then the last bits choose, which are
    not the same for the same tokens in other slices, and the answers are nats apart: bare llama.cpp
    shows that by itself.
    """
    if name == "token_embd.weight":
        values[:, 0] = np.copysign(np.float32(1.0), values[:, 0])
    elif name.endswith("ffn_gate_inp.weight"):
        values[:] = 0.0
        values[:, 0] = (-20.0, 20.0)
    elif ".attn_output." in name:
        values[0] = 0.0
    elif ".ffn_down_exps." in name:
        values[:, 0] = 0.0
