"""The examples that the tool was asked for, and others, each beside the engines' own checks.

A row is what a person would type. What is expected was worked out by hand from the engines'
sources, which are named: vLLM 0.33.0 and SGLang 0.5.23.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from umad.scale.accelerators import parse
from umad.scale.choice import Wish
from umad.scale.draft import Draft, draft_of
from umad.scale.hf_config import shape_of
from umad.scale.known_models import KNOWN
from umad.scale.plan import Plan, planned
from umad.scale.shape import ModelShape

EAGLE = "RedHatAI/Qwen3-14B-speculator.eagle3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One example. source: the rule that decides it, by file and function."""

    model: str
    on: str
    engine: Any = "vllm"
    # (TP, PP, DP, EP); None where nothing fits.
    split: tuple[int, int, int, int] | None
    context: int = 0
    quantization: str = ""
    draft: str = ""
    nodes: int = 1
    # A word of what is said.
    says: str = ""
    source: str


_DIVIDE = "vllm/config/model.py, ModelConfig.verify_with_parallel_config: heads % TP"
_REPLICATE = "vllm/model_executor/layers/linear.py, QKVParallelLinear: num_kv_head_replicas"
_EP = "vllm/model_executor/layers/fused_moe/config.py, FusedMoEParallelConfig.make"
_SG_EP = "sglang/srt/arg_groups/parallel_hook.py: ep_size * moe_dp_size == tp_size"
_KV_CHECK = "vllm/v1/core/kv_cache_planning.py, _check_enough_kv_cache_memory"

ROWS = (
    # -- the seed's own ----------------------------------------------------------------------------
    Row(model="Qwen/Qwen2.5-7B-Instruct", on="A100:1", split=(1, 1, 1, 1), context=32768,
        source=_DIVIDE),
    Row(model="Qwen/Qwen2.5-7B-Instruct", on="A100:1", engine="sglang", split=(1, 1, 1, 1),
        context=32768, source="sglang/srt/models/qwen2.py: total_num_heads % tp_size"),
    # 35.3 GB of weights on each of 42.9 GB: the whole context has no room, and some has.
    Row(model="meta-llama/Llama-3.1-70B-Instruct", on="A100:4", split=(4, 1, 1, 1),
        says="has no room", source=_KV_CHECK),
    Row(model="meta-llama/Llama-3.1-70B-Instruct", on="A100:4", engine="sglang",
        split=(4, 1, 1, 1), says="has no room",
        source="sglang/srt/models/llama.py, LlamaAttention"),
    Row(model="mistralai/Mixtral-8x7B-Instruct-v0.1", on="A100-80GB:2", split=(2, 1, 1, 2),
        context=32768, source=_EP),
    Row(model="mistralai/Mixtral-8x7B-Instruct-v0.1", on="A100-80GB:2", engine="sglang",
        split=(2, 1, 1, 2), context=32768, source=_SG_EP),
    Row(model="Qwen/Qwen3-14B-FP8", on="H100:1", draft=EAGLE, split=(1, 1, 1, 1), context=40960,
        says="eagle3", source="vllm/config/speculative.py, _verify_and_get_draft_tp"),
    Row(model="Qwen/Qwen3-14B-FP8", on="H100:1", engine="sglang", draft=EAGLE,
        split=(1, 1, 1, 1), context=40960, says="eagle3",
        source="sglang/srt/models/llama_eagle3.py"),
    # The seed's author had EP=TP in mind; vLLM shares experts over TP x DP.
    Row(model="mistralai/Mixtral-8x7B-Instruct-v0.1", on="H100:4", engine="sglang",
        split=(2, 1, 2, 2), context=32768, source=_SG_EP),
    # -- ten more ----------------------------------------------------------------------------------
    # 671 GB of fp8 on eight; MLA's latent vector is whole on each.
    Row(model="deepseek-ai/DeepSeek-V3", on="H200:8", split=(8, 1, 1, 8), context=163840,
        says="whatever TP is", source="vllm/config/model.py, get_num_kv_heads: use_mla is 1"),
    # Experts of 1536 in 8 parts of 192 would break blocks of 128; whole experts do not.
    Row(model="Qwen/Qwen3-235B-A22B-FP8", on="H100:8", split=(4, 1, 2, 8), context=40960,
        source="vllm/.../utils/fp8_utils.py, validate_fp8_block_shape_moe"),
    Row(model="Qwen/Qwen3-235B-A22B", on="MI300X:8", split=(4, 1, 2, 8), context=40960,
        source=_EP),
    # 28 heads: 2 of 4 T4s hold a copy. No bfloat16 on Turing.
    Row(model="Qwen/Qwen2.5-7B-Instruct", on="T4:4", split=(2, 1, 2, 1), context=32768,
        says="--dtype half", source="vllm/platforms/cuda.py, check_if_supports_dtype"),
    Row(model="Qwen/Qwen3-Next-80B-A3B-Instruct", on="H100:4", split=(4, 1, 1, 4),
        context=262144, says="2 KV heads are copied 2 times", source=_REPLICATE),
    Row(model="openai/gpt-oss-120b", on="H100:1", split=(1, 1, 1, 1), context=131072,
        source="vllm/.../quantization/mxfp4.py, get_min_capability: 80"),
    Row(model="google/gemma-3-27b-it", on="L40S:2", split=(2, 1, 1, 1), context=131072,
        says="no direct links",
        source="vllm/v1/kv_cache_interface.py, SlidingWindowSpec.max_memory_usage_bytes"),
    Row(model="meta-llama/Llama-3.1-8B-Instruct", on="A100:1", quantization="fp8",
        split=(1, 1, 1, 1), context=131072, says="int8_per_channel_weight_only",
        source="vllm/.../quantization/fp8.py, get_min_capability: 75; Marlin below 89"),
    Row(model="Qwen/Qwen2.5-32B-Instruct-AWQ", on="RTX6000-Ada", split=(1, 1, 1, 1),
        context=32768, source="vllm/.../quantization/auto_awq.py, get_min_capability: 75"),
    Row(model="mistralai/Mistral-Small-24B-Instruct-2501", on="GB10", split=(1, 1, 1, 1),
        context=32768, says="the machine's", source=_DIVIDE),
    # 812 GB: two machines of eight, split into stages.
    Row(model="meta-llama/Llama-3.1-405B-Instruct", on="H100:8", nodes=2, split=(8, 2, 1, 1),
        source="vllm/distributed/utils.py, get_pp_indices"),
    Row(model="meta-llama/Llama-3.1-70B-Instruct", on="A100:1", split=None, says="A100:4",
        source=_KV_CHECK),
)  # fmt: skip


def shape(name: str) -> ModelShape:
    """A known model's shape."""
    return shape_of(KNOWN[name], name=name)


def draft(name: str) -> Draft | None:
    """A known draft."""
    return draft_of(KNOWN[name], name=name) if name else None


def plan_of(row: Row) -> Plan:
    """The plan of a row."""
    wish = Wish(engine=row.engine, quantization=row.quantization)
    machines = parse(row.on, nodes=row.nodes)
    return planned(shape(row.model), machines, wish, draft=draft(row.draft))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model}-{row.on}-{row.engine}")
def test_a_model_is_split_as_the_engine_would_accept_it(row: Row) -> None:
    plan = plan_of(row)

    chosen = plan.choice.chosen
    if row.split is None:
        assert chosen is None
        assert row.says in plan.refused
        return
    assert chosen is not None, plan.refused
    split = chosen.split
    assert (split.tp, split.pp, split.dp, split.ep) == row.split
    if row.context:
        assert chosen.memory.context_tokens == row.context
    assert row.says in " ".join((*plan.notes, *plan.command)), row.source


@pytest.mark.parametrize("row", [one for one in ROWS if one.split], ids=lambda row: row.model)
def test_the_parts_of_a_plan_are_no_more_than_the_accelerator_has(row: Row) -> None:
    chosen = plan_of(row).choice.chosen
    assert chosen is not None
    found = chosen.memory

    held = found.weights_bytes + found.draft_bytes + found.workspace.total_bytes
    assert 0 < found.text_bytes <= found.room_bytes
    assert held + found.room_bytes <= found.total_bytes
    assert found.texts >= 1


def test_the_draft_s_weights_and_cells_are_counted() -> None:
    row = next(one for one in ROWS if one.draft)
    without = planned(shape(row.model), parse(row.on), Wish()).choice.chosen
    beside = plan_of(row).choice.chosen

    assert without is not None
    assert beside is not None
    # One layer that reads twice the width, a matrix of three hidden states, a head of 32,000 rows:
    # 0.6 billion weights; and one layer's keys and values, 8 heads of 2 x 128 values.
    assert beside.memory.draft_bytes == pytest.approx(1.22e9, rel=0.01)
    assert beside.memory.cells.token_bytes - without.memory.cells.token_bytes == 8 * 256 * 2


def test_flags_are_those_of_each_engine() -> None:
    rows = {one.engine: one for one in ROWS if one.draft}

    vllm, sglang = (plan_of(rows[name]).command for name in ("vllm", "sglang"))

    assert vllm[:3] == ("vllm", "serve", "Qwen/Qwen3-14B-FP8")
    assert '"method":"eagle3"' in vllm[vllm.index("--speculative-config") + 1]
    assert vllm[vllm.index("--gpu-memory-utilization") + 1] == "0.92"
    assert sglang[sglang.index("--speculative-algorithm") + 1] == "EAGLE3"
    assert sglang[sglang.index("--speculative-num-draft-tokens") + 1] == "4"
    assert sglang[sglang.index("--mem-fraction-static") + 1] == "0.9"


def test_expert_parallelism_is_a_switch_in_vllm_and_a_degree_in_sglang() -> None:
    mixtral = [one for one in ROWS if "Mixtral" in one.model and one.on == "A100-80GB:2"]

    vllm, sglang = (plan_of(one).command for one in mixtral)

    assert "--enable-expert-parallel" in vllm
    assert sglang[sglang.index("--ep-size") + 1] == "2"


def test_no_key_or_token_stands_in_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    row = next(one for one in ROWS if one.model.startswith("meta-llama") and one.split)

    words = " ".join((*plan_of(row).command, *plan_of(row).notes))

    assert "hf_secret" not in words
    assert "--api-key" not in words
