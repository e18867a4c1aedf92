"""Reads the feed-forward part of each layer of a config.json: an MLP, or experts. Pure.

The names of fields are those that vLLM 0.33.0 takes (`CONFIG_FIELD_ALIASES` of
`vllm/transformers_utils/config.py`). Which layers have experts is by family.
"""

from umad.scale.config_fields import Fields
from umad.scale.shape import Experts, Feed, Mlp

N_EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
_N_USED = (
    *("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k"),
    "moe_k",
)
_WIDTH = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "ffn_intermediate_size")
# Families whose MLP has no gate: two matrices, not three.
_UNGATED = frozenset(
    {
        *("bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "mpt"),
        *("nemotron", "nemotron_h", "opt", "persimmon", "phi", "starcoder2"),
    }
)  # fmt: skip
# Families that use four times the model's width where they say no other.
_FOUR_TIMES = frozenset({"bloom", "falcon", "gpt2", "gpt_bigcode", "gptj", "mpt"})


def feeds_of(fields: Fields, *, family: str, width: int, n_layers: int) -> list[Feed | None]:
    """The feed-forward part of every layer. Raises `BadRequest`, which names a field."""
    n_matrices = 2 if family in _UNGATED else 3
    if family in ("mamba", "mamba2", "falcon_mamba"):
        return [None] * n_layers
    if family == "nemotron_h" and (pattern := fields.text("hybrid_override_pattern")):
        return [_nemotron(fields, letter, width, n_matrices) for letter in pattern]
    n_experts = fields.whole(*N_EXPERTS, default=0)
    if n_experts <= 1:
        return [_mlp(fields, family, width, n_matrices)] * n_layers
    experts = _experts(fields, family, n_experts, n_matrices)
    has_experts = [_sparse(fields, family, n_layers, number) for number in range(n_layers)]
    if all(has_experts):
        return [experts] * n_layers
    dense = _mlp(fields, family, width, n_matrices)
    return [experts if one else dense for one in has_experts]


def _sparse(fields: Fields, family: str, n_layers: int, number: int) -> bool:
    """Whether a layer has experts."""
    if family.startswith("llama4"):
        listed = fields.wholes("moe_layers")
        if listed is not None:
            return number in listed
        return (number + 1) % fields.whole("interleave_moe_layer_step", default=1, least=1) == 0
    if family == "jamba":
        every = fields.whole("expert_layer_period", default=2, least=1)
        return number % every == fields.whole("expert_layer_offset", default=1)
    if "first_k_dense_replace" in fields:
        first = fields.whole("first_k_dense_replace")
        every = fields.whole("moe_layer_freq", default=1, least=1)
        return number >= first and number % every == 0
    if "moe_layer_start_index" in fields:  # Ernie 4.5
        first = fields.whole("moe_layer_start_index")
        last = fields.whole("moe_layer_end_index", default=n_layers - 1)
        every = fields.whole("moe_layer_interval", default=1, least=1)
        return first <= number <= last and (number + 1) % every == 0
    if number in (fields.wholes("mlp_only_layers") or ()):
        return False
    return (number + 1) % fields.whole("decoder_sparse_step", default=1, least=1) == 0


def _mlp(fields: Fields, family: str, width: int, n_matrices: int) -> Mlp:
    default = 4 * width if family in _FOUR_TIMES else None
    # Llama 4's dense layers have a width of their own.
    own = fields.whole("intermediate_size_mlp", default=0) if family.startswith("llama4") else 0
    return Mlp(width=own or fields.whole(*_WIDTH, default=default, least=1), n_matrices=n_matrices)


def _experts(fields: Fields, family: str, n_experts: int, n_matrices: int) -> Experts:
    width = fields.whole("moe_intermediate_size", "intermediate_size", least=1)
    if "shared_expert_intermediate_size" in fields:  # Qwen
        shared = fields.whole("shared_expert_intermediate_size")
    elif "shared_intermediate_size" in fields:  # Granite 4
        shared = fields.whole("shared_intermediate_size")
    elif family.startswith("llama4"):
        shared = fields.whole("intermediate_size")
    else:
        shared = width * fields.whole("n_shared_experts", "moe_num_shared_experts", default=0)
    return Experts(
        n_experts=n_experts,
        n_used=fields.whole(*_N_USED, default=1),
        width=width,
        shared_width=shared,
        n_matrices=n_matrices,
    )


def _nemotron(fields: Fields, letter: str, width: int, n_matrices: int) -> Feed | None:
    match letter:
        case "-":
            return _mlp(fields, "nemotron_h", width, n_matrices)
        case "E":
            return Experts(
                n_experts=fields.whole("n_routed_experts", least=1),
                n_used=fields.whole(*_N_USED, default=1),
                width=fields.whole("moe_intermediate_size", least=1),
                shared_width=fields.whole("moe_shared_expert_intermediate_size", default=0),
                n_matrices=n_matrices,
                inner_width=fields.whole("moe_latent_size", default=0),
            )
        case _:
            return None
