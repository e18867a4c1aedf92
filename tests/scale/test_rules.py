"""What the engines would refuse is refused first, with their own reason and what would fit."""

from typing import Any

import pytest

from umad.errors import BadRequest
from umad.scale.accelerators import accelerator, parse
from umad.scale.choice import Wish, choose
from umad.scale.draft import draft_of, draft_refusals
from umad.scale.hf_config import shape_of
from umad.scale.known_models import KNOWN
from umad.scale.plan import planned
from umad.scale.quantization_rules import quantization_refusals
from umad.scale.quantizations import quantization
from umad.scale.rules import split_refusals
from umad.scale.shape import ModelShape
from umad.scale.split import Split, stages

GROUP_OF_8 = parse("H100:8")


def shape(name: str, **more: Any) -> ModelShape:
    """A known model's shape, with other fields."""
    return shape_of({**KNOWN[name], **more}, name=name)


def rules(model: ModelShape, split: Split, on: str = "H100:8") -> set[str]:
    """The rules that a split breaks."""
    return {one.rule for one in split_refusals(model, split, parse(on))}


def test_heads_must_divide() -> None:
    qwen = shape("Qwen/Qwen2.5-7B-Instruct")  # 28 heads, 4 KV heads

    assert "heads" in rules(qwen, Split(engine="vllm", tp=8))
    assert rules(qwen, Split(engine="vllm", tp=4)) == set()


@pytest.mark.parametrize(("tp", "is_refused"), [(2, False), (4, False), (6, True), (12, False)])
def test_kv_heads_divide_or_are_copied_evenly(tp: int, is_refused: bool) -> None:
    model = shape(
        "Qwen/Qwen2.5-7B-Instruct",
        num_attention_heads=24, num_key_value_heads=4, head_dim=128, intermediate_size=18432,
    )  # fmt: skip

    found = rules(model, Split(engine="sglang", tp=tp), "H100:16")

    assert ("kv_heads" in found) is is_refused


def test_mla_has_no_kv_heads_to_divide() -> None:
    model = shape("deepseek-ai/DeepSeek-V3")

    assert rules(model, Split(engine="vllm", tp=16, ep=16), "H100:16") == set()


def test_blocks_of_fp8_are_not_broken() -> None:
    model = shape("Qwen/Qwen3-235B-A22B-FP8")  # experts of 1536, blocks of 128

    found = split_refusals(model, Split(engine="vllm", tp=8), GROUP_OF_8)
    whole = split_refusals(model, Split(engine="vllm", tp=8, ep=8), GROUP_OF_8)

    assert [one.rule for one in found] == ["blocks"]
    assert "EP keeps experts whole" in found[0].words
    assert "validate_fp8_block_shape_moe" in found[0].source
    assert whole == ()


def test_heads_come_in_whole_blocks_of_a_scale() -> None:
    """Half a block of keys: 4 KV heads of 64 over TP=4, where 128 weights share a scale."""
    model = shape(
        "Qwen/Qwen3-14B-FP8", num_attention_heads=64, num_key_value_heads=4, head_dim=64,
    )  # fmt: skip

    assert rules(model, Split(engine="vllm", tp=4)) == {"blocks"}
    assert rules(model, Split(engine="vllm", tp=2)) == set()


@pytest.mark.parametrize(("engine", "found"), [("vllm", set()), ("sglang", {"experts"})])
def test_experts_divide_in_sglang_alone(engine: Any, found: set[str]) -> None:
    model = shape("mistralai/Mixtral-8x7B-Instruct-v0.1", num_local_experts=6)

    assert rules(model, Split(engine=engine, tp=4, ep=4)) == found


def test_where_sglang_refuses_whole_experts_their_tensors_are_split() -> None:
    model = shape("mistralai/Mixtral-8x7B-Instruct-v0.1", num_local_experts=6)

    chosen = choose(model, parse("A100-80GB:4"), Wish(engine="sglang", tp=4)).chosen

    assert chosen is not None
    assert (chosen.split.tp, chosen.split.ep) == (4, 1)


def test_expert_parallelism_needs_experts() -> None:
    plan = planned(shape("Qwen/Qwen2.5-7B-Instruct"), parse("A100:2"), Wish(by_expert=True))

    assert not plan.fits
    assert "has none" in plan.refused


def test_sglang_serves_no_copies_over_machines() -> None:
    model = shape("Qwen/Qwen2.5-7B-Instruct")
    machines = parse("A100:1", nodes=2)

    found = split_refusals(model, Split(engine="sglang", dp=2), machines)

    assert [one.rule for one in found] == ["copies"]
    assert split_refusals(model, Split(engine="vllm", dp=2), machines) == ()


@pytest.mark.parametrize(
    ("engine", "sizes"), [("vllm", [15, 16, 16, 15]), ("sglang", [15, 15, 16, 16])]
)
def test_layers_that_are_over_go_where_each_engine_puts_them(engine: Any, sizes: list[int]) -> None:
    layers = shape("google/gemma-3-27b-it").layers  # 62

    assert [len(one) for one in stages(layers, Split(engine=engine, pp=4))] == sizes


# -- quantization ----------------------------------------------------------------------------------


def refused(model: ModelShape, wish: str, engine: Any, on: str) -> str:
    """Why a quantization is refused; "" where it is not."""
    found = quantization_refusals(
        model, quantization(engine, wish) if wish else None, engine, accelerator(on)
    )
    return "; ".join(one.words for one in found)


def test_fp8_without_the_hardware_names_a_substitute() -> None:
    model = shape("meta-llama/Llama-3.1-8B-Instruct")

    # SGLang asks for Ampere, where the weights are short and products are of 16 bits.
    old = refused(model, "fp8", "sglang", "T4")
    ampere = planned(model, parse("A100"), Wish(quantization="fp8"))
    hopper = planned(model, parse("H100"), Wish(quantization="fp8"))

    assert "needs compute capability 8.0" in old
    assert "take bitsandbytes" in old
    assert any("needs Ada or Hopper" in one for one in ampere.notes)
    assert any("int8_per_channel_weight_only" in one for one in ampere.notes)
    assert not any("Hopper" in one for one in hopper.notes)


def test_amd_before_cdna_3_has_no_fp8() -> None:
    model = shape("meta-llama/Llama-3.1-8B-Instruct")

    assert "CDNA 3" in refused(model, "fp8", "vllm", "MI250")
    assert refused(model, "fp8", "vllm", "MI300X") == ""
    assert "does not have bitsandbytes on MI300X" in refused(
        model, "bitsandbytes", "sglang", "MI300X"
    )


@pytest.mark.parametrize(
    ("engine", "name", "says"),
    [
        ("vllm", "bitsandbytes", "take fp8_per_channel"),
        ("vllm", "gguf", "SGLang still reads GGUF"),
        ("sglang", "int4wo-128", "take bitsandbytes"),
        ("sglang", "int8wo", "weight-only below Ada"),
        ("sglang", "torchao", "take fp8"),
        ("vllm", "fp9", "did you mean fp8"),
    ],
)
def test_a_quantization_that_is_gone_names_what_came_after(
    engine: Any, name: str, says: str
) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        quantization(engine, name)

    assert caught.value.field == "quantization"


def test_files_cannot_be_served_as_something_else() -> None:
    awq = shape("Qwen/Qwen2.5-32B-Instruct-AWQ")
    plain = shape("Qwen/Qwen2.5-32B-Instruct")

    assert "quantized with awq" in refused(awq, "fp8", "vllm", "H100")
    assert refused(awq, "awq_marlin", "vllm", "H100") == ""
    assert "needs files that are quantized so" in refused(plain, "gptq", "vllm", "H100")


def test_sglang_needs_turing_and_says_so() -> None:
    model = shape("Qwen/Qwen2.5-7B-Instruct")

    assert "needs compute capability 7.5" in refused(model, "", "sglang", "V100")
    assert refused(model, "", "sglang", "T4") == ""


def test_mxfp4_needs_ampere() -> None:
    model = shape("openai/gpt-oss-120b")

    assert "8.0" in refused(model, "", "vllm", "T4")
    assert refused(model, "", "vllm", "A100-80GB") == ""


# -- a draft ---------------------------------------------------------------------------------------


def test_a_head_for_another_model_is_refused() -> None:
    eagle = draft_of(KNOWN["RedHatAI/Qwen3-14B-speculator.eagle3"], name="eagle")
    machines = parse("H100:2")

    wrong = draft_refusals(eagle, Split(engine="vllm"), machines, shape("Qwen/Qwen2.5-7B-Instruct"))

    assert [one.rule for one in wrong] == ["draft_width"]
    assert (
        draft_refusals(eagle, Split(engine="vllm", tp=2), machines, shape("Qwen/Qwen3-14B")) == ()
    )


def test_a_draft_model_has_the_model_s_vocabulary() -> None:
    small = draft_of(KNOWN["Qwen/Qwen2.5-1.5B-Instruct"], name="small")

    wrong = draft_refusals(
        small, Split(engine="vllm"), parse("H100"), shape("Qwen/Qwen2.5-7B-Instruct")
    )

    assert small.method == "draft_model"
    assert [one.rule for one in wrong] == ["draft_vocabulary"]


# -- what would fit --------------------------------------------------------------------------------


def test_what_does_not_fit_says_what_would_and_each_of_it_does() -> None:
    model = shape("meta-llama/Llama-3.1-70B-Instruct")
    plan = planned(model, parse("A100-80GB:1"), Wish())

    assert not plan.fits
    assert "141.1 GB of weights" in plan.refused
    assert plan.instead
    for one in plan.instead:
        if one.option == "accelerators":
            assert choose(model, parse(one.value), Wish()).chosen is not None
        elif one.option == "quantization":
            found = choose(model, parse("A100-80GB:1"), Wish(quantization=one.value))
            assert found.chosen is not None


@pytest.mark.parametrize(
    ("name", "wish", "on", "instead"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "fp8", "T4:2", "none"),
        ("Qwen/Qwen2.5-32B-Instruct-AWQ", "fp8", "L40S:1", "none"),
        ("meta-llama/Llama-3.1-8B-Instruct", "", "T4:1", "bitsandbytes"),
    ],
)
def test_a_quantization_that_does_not_go_names_one_that_does(
    name: str, wish: str, on: str, instead: str
) -> None:
    plan = planned(shape(name), parse(on), Wish(engine="sglang", quantization=wish))

    found = next(one for one in plan.instead if one.option == "quantization")
    assert not plan.fits
    assert found.value == instead


def test_a_context_that_has_no_room_names_the_longest_that_has() -> None:
    model = shape("meta-llama/Llama-3.1-70B-Instruct")
    asked = Wish(context_tokens=131072)
    plan = planned(model, parse("A100:4"), asked)

    assert not plan.fits
    shorter = next(one for one in plan.instead if one.option == "context")
    chosen = choose(model, parse("A100:4"), Wish(context_tokens=int(shorter.value))).chosen
    assert chosen is not None
    assert chosen.fits


@pytest.mark.parametrize(
    ("wish", "says", "field"),
    [
        (Wish(tp=4), "tp 4 is above the 2 of A100:2", "tp"),
        (Wish(tp=2, dp=2), "ask for 4 accelerators", "accelerators"),
        (Wish(context_tokens=100_000), "reads texts of 32,768 tokens", "context"),
        (Wish(share=1.5), "not within 0.05 and 1", "share"),
        (Wish(kv_dtype="int3"), "no type of KV", "kv_dtype"),
        (Wish(dp=-1), "dp is -1", "dp"),
    ],
)
def test_a_wish_without_sense_names_its_field(wish: Wish, says: str, field: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        choose(shape("Qwen/Qwen2.5-7B-Instruct"), parse("A100:2"), wish)

    assert caught.value.field == field


def test_what_is_left_over_serves_copies_or_is_said() -> None:
    model = shape("Qwen/Qwen2.5-32B-Instruct")

    four = planned(model, parse("A100:4"), Wish())
    three = planned(model, parse("A100:3"), Wish())

    assert four.choice.chosen is not None
    assert four.choice.chosen.split.total == 4
    assert three.choice.chosen is not None
    assert any("left over" in one for one in three.notes)


def test_a_gated_model_asks_for_a_token() -> None:
    model = shape_of(KNOWN["meta-llama/Llama-3.1-8B-Instruct"], name="meta-llama/x", is_gated=True)

    assert any("HF_TOKEN" in one for one in planned(model, parse("L4"), Wish()).notes)
