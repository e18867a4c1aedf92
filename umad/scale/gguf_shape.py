"""Reads a model's shape from the header of a GGUF file. Pure.

The keys of a header are put under the names that config.json has, so that both are understood in
one place (`umad.scale.hf_config`). What the weights take is exact, because the header lists every
tensor. SGLang serves some GGUF files; vLLM serves none any more.

Keys: `gguf-py/gguf/constants.py` of llama.cpp.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from umad.errors import BadRequest
from umad.scale.hf_config import shape_of
from umad.scale.shape import CheckpointQuantization, ModelShape
from umad.scale.weights import parameters


class _Tensor(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def size_bytes(self) -> int | None: ...


class Header(Protocol):
    """The header of a GGUF file (`umad.models.gguf.GgufHeader`)."""

    @property
    def architecture(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def array_lengths(self) -> Mapping[str, int]: ...
    @property
    def tensors(self) -> Sequence[_Tensor]: ...


# A key of the header, and config.json's name of it.
_NAMES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "attention.chunk_size": "attention_chunk_size",
    "attention.q_lora_rank": "q_lora_rank",
    "attention.kv_lora_rank": "kv_lora_rank",
    "context_length": "max_position_embeddings",
    "feed_forward_length": "intermediate_size",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "expert_shared_count": "n_shared_experts",
    "leading_dense_block_count": "first_k_dense_replace",
    "shortconv.l_cache": "conv_L_cache",
}
# llama.cpp's names of architectures, and transformers' of the same, where a rule of ours needs it.
_FAMILIES = {
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "gpt-oss": "gpt_oss",
    "gptoss": "gpt_oss",
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
    "qwen3next": "qwen3_next",
    "deepseek2": "deepseek_v3",
    "lfm2": "lfm2",
    "falcon": "falcon",
    "gpt2": "gpt2",
    "starcoder2": "starcoder2",
    "phi2": "phi",
}
# Layers that see all: every so manieth, where the header does not say.
_PATTERNS = {"gemma3": 6, "cohere2": 4}


def shape_of_gguf(header: Header, *, name: str) -> ModelShape:
    """The shape in a header. Raises `BadRequest`, which names what is missing."""
    config = _config(header)
    found = shape_of(config, name=name)
    n_bytes = sum(one.size_bytes or 0 for one in header.tensors)
    n_params = sum(math.prod(one.shape) for one in header.tensors) or parameters(found).total
    bits = 8 * n_bytes / n_params if n_params and n_bytes else 16.0
    return replace(
        found,
        weights_bytes=n_bytes,
        weights_source="the file's own list of tensors" if n_bytes else "",
        quantization=CheckpointQuantization(method="gguf", weight_bits=bits),
    )


def _config(header: Header) -> dict[str, Any]:
    own = {
        key.removeprefix(f"{header.architecture}."): value
        for key, value in header.metadata.items()
        # A file may say anything: only figures are of use here.
        if key.startswith(f"{header.architecture}.") and _is_figure(value)
    }
    if not own:
        raise BadRequest(
            f"the header names no figures of {header.architecture or 'any architecture'!r}",
            field="model",
        )
    config: dict[str, Any] = {
        "architectures": [header.architecture],
        "model_type": _FAMILIES.get(header.architecture, header.architecture),
        "tie_word_embeddings": not any(one.name == "output.weight" for one in header.tensors),
        "vocab_size": _vocabulary(header),
    }
    for key, name in _NAMES.items():
        if key in own:
            value = own[key]
            config[name] = max(value, default=0) if isinstance(value, tuple) else value
    _set_kv_heads(config, own)
    _set_latent(config, own)
    _set_recurrences(config, own, header.architecture)
    if "attention.value_length" in own and not config.get("kv_lora_rank"):
        config["v_head_dim"] = own["attention.value_length"]
    pattern = own.get("attention.sliding_window_pattern", _PATTERNS.get(header.architecture))
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        config["sliding_window_pattern"] = pattern
    elif isinstance(pattern, tuple) and "layer_types" not in config:
        kinds = ("full_attention", "sliding_attention")
        config["layer_types"] = [kinds[bool(one)] for one in pattern]
    return {name: value for name, value in config.items() if value is not None}


def _is_figure(value: object) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(one, int) for one in value)
    return isinstance(value, int)


def _set_kv_heads(config: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Hybrid models list the KV heads of each layer; recurrent ones have 0."""
    heads = own.get("attention.head_count_kv")
    if not isinstance(heads, tuple):
        config["num_key_value_heads"] = heads
        return
    config["num_key_value_heads"] = max(heads, default=1)
    if 0 in heads:
        other = "conv" if "shortconv.l_cache" in own else "mamba"
        config["layer_types"] = ["full_attention" if one else other for one in heads]


def _set_latent(config: dict[str, Any], own: Mapping[str, Any]) -> None:
    if not own.get("attention.kv_lora_rank"):
        return
    rope = own.get("rope.dimension_count", 64)
    # With MLA, the plain lengths are those of the latent vector, and these are a head's.
    key = own.get("attention.key_length_mla", own.get("attention.key_length", 192))
    value = own.get("attention.value_length_mla", own.get("attention.value_length", 128))
    config.pop("head_dim", None)
    config.update(qk_rope_head_dim=rope, qk_nope_head_dim=key - rope, v_head_dim=value)


def _set_recurrences(config: dict[str, Any], own: Mapping[str, Any], architecture: str) -> None:
    if "ssm.inner_size" not in own:
        return
    inner, state = own["ssm.inner_size"], own.get("ssm.state_size", 16)
    groups, rank = own.get("ssm.group_count", 1), own.get("ssm.time_step_rank", 1)
    if architecture == "qwen3next":
        # Its delta net is written with Mamba's keys: groups are key heads, ranks value heads.
        config.update(
            linear_num_key_heads=groups,
            linear_num_value_heads=rank,
            linear_key_head_dim=state,
            linear_value_head_dim=inner // max(1, rank),
            linear_conv_kernel_dim=own.get("ssm.conv_kernel", 4),
            full_attention_interval=own.get("full_attention_interval", 4),
            attn_output_gate=True,
        )
        config.pop("layer_types", None)
        return
    config.update(
        mamba_num_heads=rank,
        mamba_head_dim=inner // max(1, rank),
        ssm_state_size=state,
        n_groups=groups,
        conv_kernel=own.get("ssm.conv_kernel", 4),
    )


def _vocabulary(header: Header) -> int | None:
    for one in header.tensors:
        if one.name == "token_embd.weight" and len(one.shape) == 2:
            return one.shape[1]
    return header.array_lengths.get("tokenizer.ggml.tokens")
