"""Reads the mixers of a config.json: the attention or the recurrence of each layer. Pure.

The kinds of layers are found as the engines find them, by fields that transformers gave them:
`layer_types` where there is one, else the field of the family. Sources: vLLM 0.33.0,
`vllm/model_executor/layers/mamba/mamba_utils.py` (shapes of states) and
`vllm/transformers_utils/model_arch_config_convertor.py` (heads); transformers' configurations.
"""

from dataclasses import dataclass
from typing import Literal

from umad.scale.config_fields import Fields, per_layer
from umad.scale.shape import Attention, LatentAttention, Mixer, Recurrence

LayerKind = Literal[
    "full", "window", "chunk", "latent", "mamba1", "mamba2", "delta", "kda", "convolution",
    "lightning", "parallel", "none",
]  # fmt: skip
# Names of `layer_types`, of `layers_block_type` and of Nemotron-H's pattern.
_KINDS: dict[str, LayerKind] = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "window",
    "chunked_attention": "chunk",
    "conv": "convolution",
    "mamba": "mamba2",
    "hybrid": "parallel",
    "*": "full",
    "M": "mamba2",
    "-": "none",
    "E": "none",
}
_KV_HEADS = (
    *("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "num_attention_groups",
)
HEADS = ("num_attention_heads", "n_head", "n_heads")
_SSM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heads:
    """The heads of a model's attention."""

    n_heads: int
    n_kv_heads: int
    head_dim: int


def mixers_of(fields: Fields, *, family: str, width: int, n_layers: int) -> list[tuple[Mixer, ...]]:
    """The mixers of every layer. family: `model_type`. Raises `BadRequest`, which names a field."""
    kinds = _kinds(fields, family=family, n_layers=n_layers)
    n_own = n_layers - fields.whole("num_kv_shared_layers", default=0)
    return [
        _mixers(fields, kind, family=family, width=width, owns_cells=number < n_own)
        for number, kind in enumerate(kinds)
    ]


# -- the kind of each layer ------------------------------------------------------------------------


def _kinds(fields: Fields, *, family: str, n_layers: int) -> list[LayerKind]:
    numbers = range(n_layers)
    attention: LayerKind = "latent" if "kv_lora_rank" in fields else "full"
    match family:
        case "mamba" | "falcon_mamba":
            return ["mamba1"] * n_layers
        case "mamba2":
            return ["mamba2"] * n_layers
        case "falcon_h1":
            return ["parallel"] * n_layers
        case "jamba":
            every = fields.whole("attn_layer_period", least=1)
            first = fields.whole("attn_layer_offset")
            return [attention if n % every == first else "mamba1" for n in numbers]
        case "bamba":
            full = fields.wholes("attn_layer_indices") or ()
            return [attention if n in full else "mamba2" for n in numbers]
        case "nemotron_h" if pattern := fields.text("hybrid_override_pattern"):
            return _named(tuple(pattern), n_layers, fields, "hybrid_override_pattern", family)
        case "kimi_linear" if (linear := fields.part("linear_attn_config")) is not None:
            full = linear.wholes("full_attn_layers") or ()
            return [attention if n + 1 in full else "kda" for n in numbers]
        case "minimax" | "minimax_text_01" if "attn_type_list" in fields:
            types = fields.wholes("attn_type_list") or ()
            names = tuple("full_attention" if one else "linear_attention" for one in types)
            return _named(names, n_layers, fields, "attn_type_list", family)
        case _:
            pass
    for name in ("layer_types", "layers_block_type"):
        if texts := fields.texts(name):
            return [
                attention if kind == "full" else kind
                for kind in _named(texts, n_layers, fields, name, family)
            ]
    if family in ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"):
        every = fields.whole("full_attention_interval", default=4, least=1)
        return ["full" if (n + 1) % every == 0 else "delta" for n in numbers]
    if family.startswith("llama4") and "attention_chunk_size" in fields:
        rope = fields.wholes("no_rope_layers") or ()
        if len(rope) == n_layers:
            return ["chunk" if one else "full" for one in rope]
        return ["full" if (n + 1) % 4 == 0 else "chunk" for n in numbers]
    if attention == "latent" or not _window(fields):
        return [attention] * n_layers
    return _window_kinds(fields, family, n_layers)


def _window_kinds(fields: Fields, family: str, n_layers: int) -> list[LayerKind]:
    numbers = range(n_layers)
    # Gemma 3 and Cohere 2: every so manieth layer sees all.
    every = fields.whole("sliding_window_pattern", "_sliding_window_pattern", default=0)
    if not every and family in ("gemma3_text", "gemma3"):
        every = 6  # the family's own default
    if every > 1:
        return ["full" if (n + 1) % every == 0 else "window" for n in numbers]
    if family in ("gemma2", "gpt_oss"):
        return ["full" if n % 2 else "window" for n in numbers]
    if family in ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"):
        first = fields.whole("max_window_layers", default=0)
        return ["window" if n >= first else "full" for n in numbers]
    return ["window"] * n_layers


def _named(
    names: tuple[str, ...], n_layers: int, fields: Fields, field: str, family: str
) -> list[LayerKind]:
    found: list[LayerKind] = []
    for name in per_layer(names, n_layers, fields, field):
        if name == "linear_attention":
            found.append("lightning" if family.startswith("minimax") else "delta")
        elif name in _KINDS:
            found.append(_KINDS[name])
        else:
            raise fields.wrong(field, f"has {name[:40]!r}, whose cells umad cannot reckon")
    return found


def _window(fields: Fields) -> int:
    """The window of layers that have one; 0 where it is off."""
    if not fields.flag("use_sliding_window", default=True):
        return 0
    return fields.whole("sliding_window", "sliding_window_size", default=0)


# -- the mixers of one layer -----------------------------------------------------------------------


def _mixers(
    fields: Fields, kind: LayerKind, *, family: str, width: int, owns_cells: bool
) -> tuple[Mixer, ...]:
    match kind:
        case "none":
            return ()
        case "latent":
            return (_latent(fields),)
        case "full" | "window" | "chunk":
            return (_attention(fields, kind, family=family, width=width, owns_cells=owns_cells),)
        case "parallel":
            attention = _attention(fields, "full", family=family, width=width, owns_cells=True)
            return (attention, _mamba2(fields, family, width))
        case "mamba1":
            return (_mamba1(fields, width),)
        case "mamba2":
            return (_mamba2(fields, family, width),)
        case "delta":
            return (_delta_net(fields, width),)
        case "kda":
            return (_kda(fields, width),)
        case "convolution":
            channels = fields.whole("conv_dim", default=width, least=1)
            kernel = fields.whole("conv_L_cache", default=3, least=1)
            return (
                Recurrence(
                    kind="convolution",
                    conv_channels=channels,
                    conv_tokens=kernel - 1,
                    n_params=4 * width * channels,
                ),
            )
        case "lightning":
            heads = _heads(fields, width)
            inner = heads.n_heads * heads.head_dim
            return (
                Recurrence(
                    kind="lightning",
                    n_heads=heads.n_heads,
                    head_values=heads.head_dim**2,
                    n_params=5 * width * inner,
                ),
            )


def _heads(fields: Fields, width: int) -> _Heads:
    n_heads = fields.whole(*HEADS, least=1)
    if fields.flag("multi_query") and not fields.flag("new_decoder_architecture"):
        n_kv_heads = 1  # Falcon, GPTBigCode
    else:
        n_kv_heads = fields.whole(*_KV_HEADS, default=n_heads, least=1)
    head_dim = fields.whole("head_dim", "hidden_size_per_head", "attention_head_dim", default=0)
    return _Heads(
        n_heads=n_heads, n_kv_heads=n_kv_heads, head_dim=head_dim or max(1, width // n_heads)
    )


def _attention(
    fields: Fields, kind: LayerKind, *, family: str, width: int, owns_cells: bool
) -> Attention:
    heads = _heads(fields, width)
    n_heads, n_kv_heads, head_dim = heads.n_heads, heads.n_kv_heads, heads.head_dim
    value_dim = fields.whole("v_head_dim", default=head_dim, least=1)
    if kind == "window":  # MiMo-V2
        n_heads = fields.whole("swa_num_attention_heads", default=n_heads, least=1)
        n_kv_heads = fields.whole("swa_num_key_value_heads", default=n_kv_heads, least=1)
        if "swa_head_dim" in fields:
            head_dim = value_dim = fields.whole("swa_head_dim", least=1)
        value_dim = fields.whole("swa_v_head_dim", default=value_dim, least=1)
    if kind == "full" and "global_head_dim" in fields:  # Gemma 4
        head_dim = value_dim = fields.whole("global_head_dim", least=1)
        n_kv_heads = fields.whole("num_global_key_value_heads", default=n_kv_heads, least=1)
    return Attention(
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        value_dim=value_dim,
        window_tokens=_window(fields) if kind == "window" else 0,
        chunk_tokens=fields.whole("attention_chunk_size", least=1) if kind == "chunk" else 0,
        borrows_cells=not owns_cells,
        gates=fields.flag("attn_output_gate", default=family == "qwen3_next"),
    )


def _latent(fields: Fields) -> LatentAttention:
    return LatentAttention(
        n_heads=fields.whole(*HEADS, least=1),
        latent_dim=fields.whole("kv_lora_rank", least=1),
        rope_dim=fields.whole("qk_rope_head_dim"),
        key_dim=fields.whole("qk_nope_head_dim"),
        value_dim=fields.whole("v_head_dim", least=1),
        query_dim=fields.whole("q_lora_rank", default=0),
        index_heads=fields.whole("index_n_heads", default=0),
        index_dim=fields.whole("index_head_dim", default=0),
    )


def _mamba1(fields: Fields, width: int) -> Recurrence:
    inner = fields.whole("intermediate_size", default=0) if "mamba_expand" not in fields else 0
    inner = inner or width * fields.whole("mamba_expand", "expand", default=2, least=1)
    state = fields.whole("mamba_d_state", "state_size", "ssm_state_size", default=16, least=1)
    kernel = fields.whole("mamba_d_conv", "conv_kernel", default=4, least=1)
    rank = fields.whole("mamba_dt_rank", "time_step_rank", default=-(-width // 16))
    return Recurrence(
        kind="mamba1",
        conv_channels=inner,
        conv_tokens=kernel - 1,
        n_heads=inner,
        head_values=state,
        state_value_bytes=_state_bytes(fields),
        n_params=3 * width * inner + inner * (rank + 2 * state) + rank * inner,
    )


def _mamba2(fields: Fields, family: str, width: int) -> Recurrence:
    n_heads = fields.whole("mamba_num_heads", "mamba_n_heads", "num_heads", least=1)
    head_dim = fields.whole("mamba_head_dim", "mamba_d_head", "head_dim", least=1)
    state = fields.whole("ssm_state_size", "mamba_d_state", "state_size", least=1)
    n_groups = fields.whole("n_groups", "mamba_n_groups", default=1, least=1)
    kernel = fields.whole("conv_kernel", "mamba_d_conv", default=4, least=1)
    inner = n_heads * head_dim
    # vLLM keeps Nemotron-H's states in 32 bits (vllm/model_executor/models/config.py).
    default_bytes = 4 if family == "nemotron_h" else 0
    return Recurrence(
        kind="mamba2",
        conv_channels=inner,
        conv_tokens=kernel - 1,
        n_groups=n_groups,
        group_channels=2 * state,
        n_heads=n_heads,
        head_values=head_dim * state,
        state_value_bytes=_state_bytes(fields) or default_bytes,
        n_params=width * (3 * inner + 2 * n_groups * state + n_heads),
    )


def _delta_net(fields: Fields, width: int) -> Recurrence:
    n_keys = fields.whole("linear_num_key_heads", least=1)
    n_values = fields.whole("linear_num_value_heads", least=1)
    key_dim = fields.whole("linear_key_head_dim", least=1)
    value_dim = fields.whole("linear_value_head_dim", least=1)
    keys, values = n_keys * key_dim, n_values * value_dim
    return Recurrence(
        kind="delta",
        conv_channels=2 * keys + values,
        conv_tokens=fields.whole("linear_conv_kernel_dim", default=4, least=1) - 1,
        n_heads=n_values,
        head_values=key_dim * value_dim,
        state_value_bytes=_state_bytes(fields),
        n_params=width * (2 * keys + 3 * values + 2 * n_values),
    )


def _kda(fields: Fields, width: int) -> Recurrence:
    linear = fields.part("linear_attn_config")
    if linear is None:
        raise fields.wrong("linear_attn_config", "is missing")
    n_heads = linear.whole("num_heads", least=1)
    head_dim = linear.whole("head_dim", least=1)
    inner = n_heads * head_dim
    return Recurrence(
        kind="kda",
        conv_channels=3 * inner,
        conv_tokens=linear.whole("short_conv_kernel_size", default=4, least=1) - 1,
        n_heads=n_heads,
        head_values=head_dim**2,
        state_value_bytes=4,
        n_params=width * (4 * inner + n_heads) + 2 * head_dim * (width + inner),
    )


def _state_bytes(fields: Fields) -> int:
    said = fields.text("mamba_ssm_dtype") or fields.text("mamba_ssm_cache_dtype")
    return _SSM_BYTES.get(said, 0)
