"""What well-known models say of themselves in their headers, and what a text costs in them.

The figures are worked out beside each from what its makers publish, not from llama.cpp. Not a test.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_F16, _F32 = 2, 4
_BOTH = 2  # keys and values


@dataclass(frozen=True, slots=True, kw_only=True)
class RealModel:
    """cell_bytes: of one token, F16, all layers; window_cell_bytes: the part of it in layers with a
    sliding window. state_bytes: of one sequence, whatever its length."""

    name: str
    architecture: str
    own: Mapping[str, object]
    cell_bytes: int
    window_cell_bytes: int = 0
    state_bytes: int = 0


def _shape(
    layers: int, width: int, heads: int | list[int], kv_heads: int | list[int], **more: object
) -> dict[str, object]:
    return {
        "context_length": 131072,
        "block_count": layers,
        "embedding_length": width,
        "feed_forward_length": 1024,  # of no matter for what is kept
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-6,
        **{key.replace("__", "."): value for key, value in more.items()},
    }


def _head(size: int) -> dict[str, object]:
    return {"attention.key_length": size, "attention.value_length": size}


def _experts(**more: object) -> dict[str, object]:
    """Few and small ones: of no matter for what is kept."""
    return {
        "expert_count": 8,
        "expert_used_count": 2,
        "expert_feed_forward_length": 256,
        "expert_shared_count": 1,
        "expert_shared_feed_forward_length": 256,
        "expert_gating_func": 2,
        "leading_dense_block_count": 1,
        **more,
    }


def _mamba(inner: int, state: int, groups: int, heads: int) -> dict[str, object]:
    return {
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.group_count": groups,
        "ssm.time_step_rank": heads,
    }


def _mamba_state(inner: int, state: int, groups: int) -> int:
    """A layer's: state by channel, and the last three columns that the convolution sees."""
    return _F32 * (state * inner + 3 * (inner + 2 * groups * state))


def _every(n_layers: int, nth: int, here: int, elsewhere: int = 0) -> list[int]:
    """`here` in every `nth` layer, counted from 1."""
    return [here if layer % nth == 0 else elsewhere for layer in range(1, n_layers + 1)]


def _at(n_layers: int, places: tuple[int, ...], here: int) -> list[int]:
    return [here if layer in places else 0 for layer in range(n_layers)]


_MLA: Mapping[str, object] = {
    # One latent vector of 512 and 64 rotated elements a layer, and no values: llama.cpp reads them
    # out of the keys.
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
    "attention.kv_lora_rank": 512,
    "attention.q_lora_rank": 1536,
    "rope.dimension_count": 64,
}

# Mamba, feed-forward and attention (*), as NVIDIA writes them down.
_NEMOTRON_H = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"

REAL_MODELS = (
    RealModel(
        name="Llama 3.1 8B",
        architecture="llama",
        own=_shape(32, 4096, 32, 8),
        cell_bytes=32 * _BOTH * 8 * 128 * _F16,
    ),
    RealModel(
        # Three of four layers are gated delta nets: 48 value heads and 16 key heads of 128.
        name="Qwen3.5-27B",
        architecture="qwen35",
        own=_shape(
            64,
            5120,
            24,
            4,
            **_head(256),
            **_mamba(6144, 128, 16, 48),
            full_attention_interval=4,
            rope__dimension_count=64,
            rope__dimension_sections=[11, 11, 10, 0],
        ),
        cell_bytes=16 * _BOTH * 4 * 256 * _F16,
        state_bytes=48 * _F32 * (48 * 128 * 128 + 3 * (6144 + 2 * 16 * 128)),
    ),
    RealModel(
        name="Qwen3-Next-80B-A3B",
        architecture="qwen3next",
        own=_shape(
            48,
            2048,
            16,
            2,
            **_head(256),
            **_mamba(4096, 128, 16, 32),
            **_experts(),
            full_attention_interval=4,
            rope__dimension_count=64,
        ),
        cell_bytes=12 * _BOTH * 2 * 256 * _F16,
        state_bytes=36 * _F32 * (32 * 128 * 128 + 3 * (4096 + 2 * 16 * 128)),
    ),
    RealModel(
        # Four of forty layers attend.
        name="Granite 4.0 H Small",
        architecture="granitehybrid",
        own=_shape(
            40,
            4096,
            32,
            _at(40, (5, 15, 25, 35), 8),
            **_mamba(8192, 128, 1, 128),
            **_experts(),
        ),
        cell_bytes=4 * _BOTH * 8 * 128 * _F16,
        state_bytes=36 * _mamba_state(8192, 128, 1),
    ),
    RealModel(
        # Every layer has both.
        name="Falcon-H1 7B",
        architecture="falcon-h1",
        own=_shape(44, 3072, 12, 2, **_head(128), **_mamba(3072, 256, 1, 24)),
        cell_bytes=44 * _BOTH * 2 * 128 * _F16,
        state_bytes=44 * _mamba_state(3072, 256, 1),
    ),
    RealModel(
        # 4 layers attend, 24 are Mamba 2 and 24 neither, told from their feed-forward width.
        name="Nemotron-H 8B",
        architecture="nemotron_h",
        own={
            **_shape(52, 4096, 32, _at(52, (7, 18, 29, 40), 8), **_head(128)),
            **_mamba(8192, 128, 8, 128),
            "attention.layer_norm_epsilon": 1e-6,
            "feed_forward_length": [0 if one in "M*" else 21504 for one in _NEMOTRON_H],
        },
        cell_bytes=4 * _BOTH * 8 * 128 * _F16,
        state_bytes=24 * _mamba_state(8192, 128, 8),
    ),
    RealModel(
        # Six of sixteen layers attend; the others keep two columns of their convolution.
        name="LFM2 1.2B",
        architecture="lfm2",
        own=_shape(16, 2048, 32, _at(16, (2, 5, 8, 10, 12, 14), 8), shortconv__l_cache=3),
        cell_bytes=6 * _BOTH * 8 * 64 * _F16,
        state_bytes=10 * _F32 * 2 * 2048,
    ),
    RealModel(
        # Seven layers of latent attention, twenty of Kimi Delta Attention: 32 heads of 128.
        name="Kimi Linear 48B-A3B",
        architecture="kimi-linear",
        own={
            **_shape(27, 2304, 32, _at(27, (3, 7, 11, 15, 19, 23, 26), 1), **_experts()),
            **_MLA,
            "kda.head_dim": 128,
            "ssm.conv_kernel": 4,
        },
        cell_bytes=7 * 576 * _F16,
        state_bytes=20 * _F32 * (32 * 128 * 128 + 3 * 3 * 32 * 128),
    ),
    RealModel(
        # Every sixth layer looks back over everything.
        name="Gemma 3 27B",
        architecture="gemma3",
        own=_shape(62, 5376, 32, 16, **_head(128), attention__sliding_window=1024),
        cell_bytes=62 * _BOTH * 16 * 128 * _F16,
        window_cell_bytes=52 * _BOTH * 16 * 128 * _F16,
    ),
    RealModel(
        # Fifty layers with a window have 16 heads of 256, ten that see everything 4 of 512.
        name="Gemma 4 31B",
        architecture="gemma4",
        own=_shape(
            60,
            5376,
            32,
            _every(60, 6, 4, 16),
            **_head(512),
            attention__key_length_swa=256,
            attention__value_length_swa=256,
            attention__sliding_window=1024,
            attention__sliding_window_pattern=_every(60, 6, 0, 1),
            attention__shared_kv_layers=0,
            embedding_length_per_layer_input=0,
            rope__dimension_count=512,
            rope__dimension_count_swa=256,
        ),
        cell_bytes=_BOTH * _F16 * (50 * 16 * 256 + 10 * 4 * 512),
        window_cell_bytes=_BOTH * _F16 * 50 * 16 * 256,
    ),
    RealModel(
        # The last 20 of 35 layers use the cells of earlier ones: 12 with a window of 256 wide
        # heads, 3 of 512.
        name="Gemma 4 E2B",
        architecture="gemma4",
        own=_shape(
            35,
            1536,
            8,
            1,
            **_head(512),
            attention__key_length_swa=256,
            attention__value_length_swa=256,
            attention__sliding_window=512,
            attention__sliding_window_pattern=_every(35, 5, 0, 1),
            attention__shared_kv_layers=20,
            embedding_length_per_layer_input=256,
            rope__dimension_count=512,
            rope__dimension_count_swa=256,
        ),
        cell_bytes=_BOTH * _F16 * (12 * 256 + 3 * 512),
        window_cell_bytes=_BOTH * _F16 * 12 * 256,
    ),
    RealModel(
        name="gpt-oss 120B",
        architecture="gpt-oss",
        own=_shape(36, 2880, 64, 8, **_head(64), **_experts(), attention__sliding_window=128),
        cell_bytes=36 * _BOTH * 8 * 64 * _F16,
        window_cell_bytes=18 * _BOTH * 8 * 64 * _F16,
    ),
    RealModel(
        name="DeepSeek V3",
        architecture="deepseek2",
        own={**_shape(61, 7168, 128, 1, **_experts()), **_MLA},
        cell_bytes=61 * 576 * _F16,
    ),
    RealModel(
        # Beside them the keys of the indexer, 128 wide.
        name="DeepSeek V3.2",
        architecture="deepseek32",
        own={
            **_shape(61, 7168, 128, 1, **_experts()),
            **_MLA,
            "attention.indexer.head_count": 64,
            "attention.indexer.key_length": 128,
            "attention.indexer.top_k": 2048,
        },
        cell_bytes=61 * (576 + 128) * _F16,
    ),
    RealModel(
        # Sparse layers, all but the first three, have an index beside their cells, one head of 128.
        name="MiniMax M3 (shape)",
        architecture="minimax-m3",
        own={
            **_shape(62, 3072, 48, 8, **_head(128), **_experts(leading_dense_block_count=3)),
            "rope.dimension_count": 64,
            "attention.indexer.head_count": 8,
            "attention.indexer.key_length": 128,
            "attention.indexer.top_k": 2048,
            "attention.indexer.block_size": 128,
            "attention.indexer.local_blocks": 1,
        },
        cell_bytes=62 * _BOTH * 8 * 128 * _F16 + 59 * _BOTH * 128 * _F16,
    ),
)
