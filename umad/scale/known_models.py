"""Has the config.json of well-known models, so that their names work without a network. Pure.

Only the fields that the arithmetic needs. `parameters` is the makers' own count, against which the
tests hold ours. A repository's own file goes first where it is at hand (`umad.scale.reading`).
Figures are the repositories' own, as of 2026.
"""

from collections.abc import Mapping
from typing import Any

from umad.model_names import near_names

_FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}


def _config(
    family: str,
    *,
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    inner: int,
    vocabulary: int,
    context: int,
    **more: Any,
) -> Mapping[str, Any]:
    return {
        "model_type": family,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        **more,
    }


_LLAMA_70B = _config(
    "llama", width=8192, layers=80, heads=64, kv_heads=8, inner=28672, vocabulary=128256,
    context=131072, architectures=["LlamaForCausalLM"],
)  # fmt: skip
_LLAMA_8B = _config(
    "llama", width=4096, layers=32, heads=32, kv_heads=8, inner=14336, vocabulary=128256,
    context=131072, architectures=["LlamaForCausalLM"],
)  # fmt: skip
_LLAMA_405B = _config(
    "llama", width=16384, layers=126, heads=128, kv_heads=8, inner=53248, vocabulary=128256,
    context=131072, architectures=["LlamaForCausalLM"],
)  # fmt: skip
_QWEN25 = {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False}
_QWEN25_7B = _config(
    "qwen2", width=3584, layers=28, heads=28, kv_heads=4, inner=18944, vocabulary=152064,
    context=32768, sliding_window=131072, max_window_layers=28, **_QWEN25,
)  # fmt: skip
_QWEN25_32B = _config(
    "qwen2", width=5120, layers=64, heads=40, kv_heads=8, inner=27648, vocabulary=152064,
    context=32768, sliding_window=131072, max_window_layers=64, **_QWEN25,
)  # fmt: skip
_QWEN25_1_5B = {
    **_config(
        "qwen2", width=1536, layers=28, heads=12, kv_heads=2, inner=8960, vocabulary=151936,
        context=32768, sliding_window=32768, max_window_layers=21, **_QWEN25,
    ),
    "tie_word_embeddings": True,
}  # fmt: skip
_QWEN3_14B = _config(
    "qwen3", width=5120, layers=40, heads=40, kv_heads=8, inner=17408, vocabulary=151936,
    context=40960, head_dim=128, architectures=["Qwen3ForCausalLM"], use_sliding_window=False,
)  # fmt: skip
_QWEN3_30B = _config(
    "qwen3_moe", width=2048, layers=48, heads=32, kv_heads=4, inner=6144, vocabulary=151936,
    context=40960, head_dim=128, architectures=["Qwen3MoeForCausalLM"], num_experts=128,
    num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1, mlp_only_layers=[],
)  # fmt: skip
_QWEN3_235B = _config(
    "qwen3_moe", width=4096, layers=94, heads=64, kv_heads=4, inner=12288, vocabulary=151936,
    context=40960, head_dim=128, architectures=["Qwen3MoeForCausalLM"], num_experts=128,
    num_experts_per_tok=8, moe_intermediate_size=1536, decoder_sparse_step=1, mlp_only_layers=[],
)  # fmt: skip
_QWEN3_NEXT = _config(
    "qwen3_next", width=2048, layers=48, heads=16, kv_heads=2, inner=5120, vocabulary=151936,
    context=262144, head_dim=256, architectures=["Qwen3NextForCausalLM"],
    full_attention_interval=4, linear_num_key_heads=16, linear_num_value_heads=32,
    linear_key_head_dim=128, linear_value_head_dim=128, linear_conv_kernel_dim=4, num_experts=512,
    num_experts_per_tok=10, moe_intermediate_size=512, shared_expert_intermediate_size=512,
    decoder_sparse_step=1, mlp_only_layers=[],
)  # fmt: skip
_MIXTRAL = _config(
    "mixtral", width=4096, layers=32, heads=32, kv_heads=8, inner=14336, vocabulary=32000,
    context=32768, sliding_window=None, architectures=["MixtralForCausalLM"], num_local_experts=8,
    num_experts_per_tok=2,
)  # fmt: skip
_DEEPSEEK_V3 = _config(
    "deepseek_v3", width=7168, layers=61, heads=128, kv_heads=128, inner=18432, vocabulary=129280,
    context=163840, architectures=["DeepseekV3ForCausalLM"], kv_lora_rank=512, q_lora_rank=1536,
    qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256,
    n_shared_experts=1, num_experts_per_tok=8, moe_intermediate_size=2048,
    first_k_dense_replace=3, moe_layer_freq=1, num_nextn_predict_layers=1,
    quantization_config=_FP8,
)  # fmt: skip
_GPT_OSS_120B = _config(
    "gpt_oss", width=2880, layers=36, heads=64, kv_heads=8, inner=2880, vocabulary=201088,
    context=131072, head_dim=64, architectures=["GptOssForCausalLM"], num_local_experts=128,
    num_experts_per_tok=4, sliding_window=128,
    quantization_config={"quant_method": "mxfp4"},
)  # fmt: skip
_GEMMA3_27B = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "torch_dtype": "bfloat16",
    "vision_config": {"model_type": "siglip_vision_model"},
    "text_config": {
        **_config(
            "gemma3_text", width=5376, layers=62, heads=32, kv_heads=16, inner=21504,
            vocabulary=262208, context=131072, head_dim=128, sliding_window=1024,
            sliding_window_pattern=6,
        ),
        "tie_word_embeddings": True,
    },
}  # fmt: skip
_MISTRAL_SMALL = _config(
    "mistral", width=5120, layers=40, heads=32, kv_heads=8, inner=32768, vocabulary=131072,
    context=32768, head_dim=128, sliding_window=None, architectures=["MistralForCausalLM"],
)  # fmt: skip
_EAGLE3_QWEN3_14B: Mapping[str, Any] = {
    "architectures": ["Eagle3Speculator"],
    "speculators_model_type": "eagle3",
    "draft_vocab_size": 32000,
    "transformer_layer_config": {
        **_config(
            "llama", width=5120, layers=1, heads=40, kv_heads=8, inner=17408, vocabulary=151936,
            context=40960, head_dim=128,
        ),
    },
}  # fmt: skip

# Makers that give their models to those who accepted a licence.
_GATED = ("meta-llama/", "google/gemma-")
KNOWN: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-1.5B-Instruct": _QWEN25_1_5B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN25_7B,
    "Qwen/Qwen2.5-32B-Instruct": _QWEN25_32B,
    "Qwen/Qwen2.5-32B-Instruct-AWQ": {
        **_QWEN25_32B,
        "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128},
    },
    "Qwen/Qwen3-14B": _QWEN3_14B,
    "Qwen/Qwen3-14B-FP8": {**_QWEN3_14B, "quantization_config": _FP8},
    "Qwen/Qwen3-30B-A3B": _QWEN3_30B,
    "Qwen/Qwen3-235B-A22B": _QWEN3_235B,
    "Qwen/Qwen3-235B-A22B-FP8": {**_QWEN3_235B, "quantization_config": _FP8},
    "Qwen/Qwen3-Next-80B-A3B-Instruct": _QWEN3_NEXT,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.1-70B-Instruct": _LLAMA_70B,
    "meta-llama/Llama-3.1-405B-Instruct": _LLAMA_405B,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": _MIXTRAL,
    "mistralai/Mistral-Small-24B-Instruct-2501": _MISTRAL_SMALL,
    "deepseek-ai/DeepSeek-V3": _DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-R1": _DEEPSEEK_V3,
    "openai/gpt-oss-120b": _GPT_OSS_120B,
    "google/gemma-3-27b-it": _GEMMA3_27B,
    "RedHatAI/Qwen3-14B-speculator.eagle3": _EAGLE3_QWEN3_14B,
}


def known_config(name: str) -> tuple[str, Mapping[str, Any]] | None:
    """The repository's name as it is written, and its config.json; None where it is not known.

    The name of a repository without its owner is enough.
    """
    plain = name.removeprefix("hf:").casefold()
    for repository, config in KNOWN.items():
        if plain in (repository.casefold(), repository.partition("/")[2].casefold()):
            return repository, config
    return None


def is_gated(repository: str) -> bool:
    """Whether its maker asks for a consent first, as far as names tell."""
    return repository.startswith(_GATED)


def near(name: str) -> tuple[str, ...]:
    """Repositories that a name may be a slip of."""
    return near_names(name.removeprefix("hf:"), KNOWN)
