"""Holds a split against the checks that the engines make themselves, before they are started. Pure.

Each refusal names the engine's own check by file and function, at the pinned version. A rule is
here only if the engine refuses, or fails while it loads; what is merely slow is a note of the plan.
Not: memory (`umad.scale.memory`), nor the checks of a quantization
(`umad.scale.quantization_rules`) or of a draft model (`umad.scale.draft`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from umad.scale.accelerators import Machines
from umad.scale.shape import Experts, Mlp, ModelShape, Recurrence
from umad.scale.split import Split
from umad.scale.weights import kv_heads, padded_vocabulary

_LINEAR = {
    "vllm": "vllm/model_executor/layers/linear.py, QKVParallelLinear",
    "sglang": "sglang/srt/layers/linear.py, QKVParallelLinear",
}
_HEADS = {
    "vllm": "vllm/config/model.py, ModelConfig.verify_with_parallel_config",
    "sglang": "sglang/srt/models/llama.py, LlamaAttention",
}
_BLOCKS = {
    "vllm": "vllm/model_executor/layers/quantization/utils/fp8_utils.py, validate_fp8_block_shape",
    "sglang": "sglang/srt/layers/quantization/fp8.py, Fp8LinearMethod.create_weights",
}
_MOE_BLOCKS = {
    "vllm": "vllm/model_executor/layers/quantization/utils/fp8_utils.py, "
    "validate_fp8_block_shape_moe",
    "sglang": "sglang/srt/layers/quantization/fp8.py, Fp8MoEMethod.create_weights",
}
_GROUPS = {
    "vllm": "vllm/distributed/utils.py, verify_group_size_divides_partition",
    "sglang": "sglang/srt/layers/quantization/marlin_utils.py, verify_marlin_supports_shape",
}
_EXPERTS = {
    "vllm": "vllm/config/model.py, ModelConfig._verify_with_expert_parallelism",
    "sglang": "sglang/srt/layers/moe/fused_moe_triton/layer.py, FusedMoE.__init__",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One check that a split does not pass."""

    # Short and stable, for programs: heads, kv_heads, experts, …
    rule: str
    words: str
    # The engine's file and function that refuses.
    source: str


def split_refusals(shape: ModelShape, split: Split, machines: Machines) -> tuple[Refusal, ...]:
    """The checks of a split; empty where it passes all."""
    return tuple(
        one
        for rule in (
            _fits_machines,
            head_refusals,
            kv_head_refusals,
            _head_blocks,
            _states,
            width_refusals,
            _layers,
            _experts,
            _rows,
        )
        for one in rule(shape, split, machines)
    )


# -- how many accelerators -------------------------------------------------------------------------


def _fits_machines(_: ModelShape, split: Split, machines: Machines) -> Iterator[Refusal]:
    if split.tp > machines.count:
        yield Refusal(
            rule="count",
            words=f"TP={split.tp} is more than the {machines.count} of {machines}: tensors are "
            "split within one machine",
            source="vllm/config/parallel.py, ParallelConfig.__post_init__"
            if split.engine == "vllm"
            else "sglang/srt/server_args.py, compute_world_size",
        )
    if split.total > machines.total:
        yield Refusal(
            rule="count",
            words=f"TP={split.tp} x PP={split.pp} x DP={split.dp} takes {split.total}, and there "
            f"are {machines.total}",
            source="vllm/config/parallel.py, ParallelConfig.__post_init__"
            if split.engine == "vllm"
            else "sglang/srt/server_args.py, compute_world_size",
        )
    if split.engine == "sglang" and split.dp > 1 and machines.nodes > 1:
        yield Refusal(
            rule="copies",
            words=f"SGLang serves no DP={split.dp} copies over {machines.nodes} machines: start "
            "one server in each",
            source="sglang/srt/arg_groups/validation_hook.py: dp_size > 1 and nnodes != 1",
        )


# -- tensors ---------------------------------------------------------------------------------------


def head_refusals(shape: ModelShape, split: Split, _: Machines) -> Iterator[Refusal]:
    split_ones = {one.n_heads for one in shape.attentions} | {one.n_heads for one in shape.latents}
    for n_heads in sorted(split_ones):
        if n_heads % split.tp:
            yield Refusal(
                rule="heads",
                words=f"{n_heads} attention heads do not divide by TP={split.tp}",
                source=_HEADS[split.engine],
            )


def kv_head_refusals(shape: ModelShape, split: Split, _: Machines) -> Iterator[Refusal]:
    """KV heads are divided, or copied where there are fewer than ranks; MLA has none to divide."""
    for n_kv_heads in sorted({one.n_kv_heads for one in shape.attentions}):
        if split.tp >= n_kv_heads:
            if split.tp % n_kv_heads:
                yield Refusal(
                    rule="kv_heads",
                    words=f"{n_kv_heads} KV heads cannot be copied evenly to TP={split.tp}",
                    source=_LINEAR[split.engine],
                )
        elif n_kv_heads % split.tp:
            yield Refusal(
                rule="kv_heads",
                words=f"{n_kv_heads} KV heads do not divide by TP={split.tp}",
                source=_LINEAR[split.engine],
            )


def _head_blocks(shape: ModelShape, split: Split, _: Machines) -> Iterator[Refusal]:
    """Rows of queries and keys, and columns of the output, come in whole blocks of a scale."""
    found = shape.quantization
    if found is None or not (found.block or found.group):
        return
    for one in sorted(set(shape.attentions), key=lambda one: one.n_heads * one.head_dim):
        if one.n_heads % split.tp:
            continue  # which is refused for itself
        heads, kept = one.n_heads // split.tp, kv_heads(one, split.tp)
        sizes = [heads * one.value_dim] if split.tp > 1 else []
        size_of = found.group
        if found.block:
            sizes += [heads * one.head_dim, kept * one.head_dim]
            size_of = max(found.block)
        broken = next((size for size in sizes if size % size_of), None)
        if broken is not None:
            yield Refusal(
                rule="blocks",
                words=f"heads of {one.head_dim} with TP={split.tp} make {broken} rows, which is "
                f"no multiple of the {size_of} weights that share a scale",
                source=_BLOCKS[split.engine] if found.block else _GROUPS[split.engine],
            )


def _states(shape: ModelShape, split: Split, _: Machines) -> Iterator[Refusal]:
    seen: set[Recurrence] = set(shape.recurrences)
    for one in seen:
        channels = one.conv_channels
        if one.n_groups and one.n_groups % split.tp == 0:
            channels += one.n_groups * one.group_channels
        if one.n_heads % split.tp or channels % split.tp:
            yield Refusal(
                rule="states",
                words=f"{one.n_heads} heads or {channels} channels of recurrent layers do not "
                f"divide by TP={split.tp}",
                source="vllm/model_executor/layers/mamba/mamba_utils.py, MambaStateShapeCalculator"
                if split.engine == "vllm"
                else "sglang/srt/configs/mamba_utils.py, Mamba2StateShape.create",
            )


def width_refusals(shape: ModelShape, split: Split, _: Machines) -> Iterator[Refusal]:
    """Widths of MLPs divide by TP, and in blocks where a block shares a scale."""
    found = shape.quantization
    block = max(found.block) if found is not None and found.block else 1
    group = found.group if found is not None else 0
    for width in sorted(_mlp_widths(shape)):
        if width % split.tp:
            yield Refusal(
                rule="width",
                words=f"an MLP of {width} does not divide by TP={split.tp}",
                source="vllm/model_executor/layers/linear.py, MergedColumnParallelLinear"
                if split.engine == "vllm"
                else "sglang/srt/layers/linear.py, MergedColumnParallelLinear",
            )
        elif block > 1 and split.tp > 1 and (width // split.tp) % block:
            yield Refusal(
                rule="blocks",
                words=f"an MLP of {width} in TP={split.tp} parts is no multiple of the "
                f"{block} weights that share a scale",
                source=_BLOCKS[split.engine],
            )
        elif group and split.tp > 1 and (width // split.tp) % group:
            yield Refusal(
                rule="blocks",
                words=f"an MLP of {width} in TP={split.tp} parts is no multiple of the "
                f"{group} weights that share a scale",
                source=_GROUPS[split.engine],
            )


def _mlp_widths(shape: ModelShape) -> set[int]:
    found = {one.feed.width for one in shape.layers if isinstance(one.feed, Mlp)}
    return found | {one.shared_width for one in shape.experts if one.shared_width}


def _rows(shape: ModelShape, split: Split, _: Machines) -> Iterator[Refusal]:
    """vLLM pads the vocabulary to 64 rows and then divides it; SGLang pads it further."""
    rows = padded_vocabulary(shape)
    if split.engine == "vllm" and rows % split.tp:
        yield Refusal(
            rule="vocabulary",
            words=f"a vocabulary of {rows} rows, padded, does not divide by TP={split.tp}",
            source="vllm/model_executor/layers/vocab_parallel_embedding.py, VocabParallelEmbedding",
        )


# -- layers and experts ----------------------------------------------------------------------------


def _layers(shape: ModelShape, split: Split, _: Machines) -> Iterator[Refusal]:
    if split.pp > shape.n_layers:
        yield Refusal(
            rule="layers",
            words=f"{shape.n_layers} layers make no PP={split.pp} stages",
            source="vllm/distributed/utils.py, get_pp_indices"
            if split.engine == "vllm"
            else "sglang/srt/distributed/utils.py, get_pp_indices",
        )


def _experts(shape: ModelShape, split: Split, _: Machines) -> Iterator[Refusal]:
    if split.ep > 1 and not shape.n_experts:
        yield Refusal(
            rule="experts",
            words=f"EP={split.ep} needs experts, and {shape.name} has none",
            source=_EXPERTS[split.engine],
        )
        return
    if split.expert_ranks % split.ep:
        yield Refusal(
            rule="experts",
            words=f"EP={split.ep} does not divide the {split.expert_ranks} ranks of TP",
            source="sglang/srt/arg_groups/parallel_hook.py: ep_size * moe_dp_size == tp_size",
        )
    found = shape.quantization
    block = max(found.block) if found is not None and found.block else 1
    for one in sorted(set(shape.experts), key=lambda one: one.width):
        yield from _expert_layer(one, split, block)


def _expert_layer(one: Experts, split: Split, block: int) -> Iterator[Refusal]:
    # vLLM gives what is over to the first ranks (`determine_expert_map`); SGLang asserts.
    if split.engine == "sglang" and one.n_experts % split.ep:
        yield Refusal(
            rule="experts",
            words=f"{one.n_experts} experts do not divide by EP={split.ep}",
            source=_EXPERTS["sglang"],
        )
    if one.width % split.expert_tp:
        yield Refusal(
            rule="width",
            words=f"experts of {one.width} do not divide into {split.expert_tp} parts",
            source="vllm/model_executor/layers/fused_moe/config.py, FusedMoEConfig.__post_init__"
            if split.engine == "vllm"
            else "sglang/srt/layers/moe/fused_moe_triton/layer.py, FusedMoE.__init__",
        )
    elif block > 1 and (one.width // split.expert_tp) % block:
        yield Refusal(
            rule="blocks",
            words=f"experts of {one.width} in {split.expert_tp} parts are no multiple of the "
            f"{block} weights that share a scale; EP keeps experts whole",
            source=_MOE_BLOCKS[split.engine],
        )
