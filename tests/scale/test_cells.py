"""Cells of every kind of layer, worked out by hand as the engines allocate them."""

from typing import Any

import pytest

from umad.scale.cells import Cells, cells_of
from umad.scale.engines import StepSize
from umad.scale.hf_config import shape_of
from umad.scale.known_models import KNOWN

STEP = StepSize(tokens=2048, sequences=256, steps=2)


def cells(name: str, *, engine: Any = "vllm", tp: int = 1, kv_bytes: int = 2) -> Cells:
    """The cells of a known model."""
    shape = shape_of(KNOWN[name], name=name)
    return cells_of(shape.layers, engine=engine, tp=tp, kv_bytes=kv_bytes, value_bytes=2, step=STEP)


@pytest.mark.parametrize(("tp", "kv_heads"), [(1, 8), (2, 4), (8, 1), (16, 1)])
def test_gqa_splits_kv_heads_and_then_copies_them(tp: int, kv_heads: int) -> None:
    found = cells("meta-llama/Llama-3.1-70B-Instruct", tp=tp)

    assert found.token_bytes == 80 * 2 * kv_heads * 128 * 2


@pytest.mark.parametrize("tp", [1, 2, 8, 16])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_mla_keeps_one_latent_vector_whatever_tp_is(engine: str, tp: int) -> None:
    found = cells("deepseek-ai/DeepSeek-V3", engine=engine, tp=tp)

    assert found.token_bytes == 61 * (512 + 64) * 2
    # 0.58 GB at 8k, where tools that count heads say 14.3.
    assert found.text_bytes(8192) == pytest.approx(0.58e9, rel=0.01)


def test_kv_in_fp8_takes_half() -> None:
    whole = cells("Qwen/Qwen2.5-7B-Instruct")
    half = cells("Qwen/Qwen2.5-7B-Instruct", kv_bytes=1)

    assert half.token_bytes * 2 == whole.token_bytes


def test_a_window_holds_no_more_of_a_long_text() -> None:
    """Gemma 3: 10 layers see all, 52 see 1,024 tokens; vLLM makes seven groups of ten of them."""
    found = cells("google/gemma-3-27b-it")
    page = 16 * 2 * 16 * 128 * 2  # a block of 16 tokens, 16 heads

    tokens = 131072
    full = 10 * (tokens // 16)
    window = 60 * (-(-(1023 + 2 * 2048) // 16) + 1)  # 52 layers, padded to six groups
    assert found.text_bytes(tokens) == (full + window) * page


def test_a_short_text_of_windows_takes_what_it_is_long() -> None:
    found = cells("google/gemma-3-27b-it")
    page = 16 * 2 * 16 * 128 * 2

    assert found.text_bytes(160) == (10 * 10 + 60 * 11) * page


def test_half_windows_need_no_padding() -> None:
    """gpt-oss: 18 layers of each kind."""
    found = cells("openai/gpt-oss-120b")
    page = 16 * 2 * 8 * 64 * 2

    assert found.text_bytes(16384) == (18 * 1024 + 18 * (-(-(127 + 4096) // 16) + 1)) * page


def test_sglang_gives_windows_a_pool_of_fixed_ratio() -> None:
    found = cells("google/gemma-3-27b-it", engine="sglang")
    of_layer = 2 * 16 * 128 * 2

    assert found.text_bytes(1000) == pytest.approx(1000 * of_layer * (10 + 0.8 * 52))


def test_a_hybrid_s_states_take_blocks_as_long_as_they_are() -> None:
    """Qwen3-Next: 12 layers of attention, 36 of a gated delta net."""
    found = cells("Qwen/Qwen3-Next-80B-A3B-Instruct")
    conv = (2 * 16 * 128 + 32 * 128) * 3
    state = (conv + 32 * 128 * 128) * 2
    of_token = 2 * 2 * 256 * 2

    assert found.state_bytes == (state,) * 36
    block = 16 * -(-state // (16 * of_token))
    page = block * of_token
    # With the prefix cache, a text has two states in each layer.
    assert found.text_bytes(262144) == (12 * -(-262144 // block) + 36 * 2) * page


def test_sglang_keeps_states_in_32_bits() -> None:
    found = cells("Qwen/Qwen3-Next-80B-A3B-Instruct", engine="sglang", tp=2)
    conv = (2 * 16 * 128 + 32 * 128) // 2 * 3 * 2
    state = 16 * 128 * 128 * 4

    assert found.states_bytes == 36 * (conv + state)


def test_groups_of_a_mamba_are_copied_where_tp_splits_them() -> None:
    config = {
        "model_type": "nemotron_h", "hidden_size": 4096, "num_hidden_layers": 4,
        "hybrid_override_pattern": "M-*-", "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 16384, "vocab_size": 131072, "n_groups": 2,
        "mamba_num_heads": 128, "mamba_head_dim": 64, "ssm_state_size": 128, "conv_kernel": 4,
    }  # fmt: skip
    shape = shape_of(config, name="m")

    def state(tp: int) -> int:
        found = cells_of(shape.layers, engine="vllm", tp=tp, kv_bytes=2, value_bytes=2, step=STEP)
        return found.states_bytes

    # MambaStateShapeCalculator.mamba2_state_shape: channels / TP x 3, heads / TP x 64 x 128 in 32
    # bits; two groups of TP=8 become eight.
    assert state(1) == (128 * 64 + 2 * 2 * 128) * 3 * 2 + 128 * 64 * 128 * 4
    assert state(8) == (128 * 64 + 8 * 2 * 128) // 8 * 3 * 2 + 16 * 64 * 128 * 4


def test_layers_that_borrow_cells_have_none() -> None:
    config = {
        **KNOWN["Qwen/Qwen2.5-7B-Instruct"],
        "num_kv_shared_layers": 10,
    }
    shape = shape_of(config, name="m")
    found = cells_of(shape.layers, engine="vllm", tp=1, kv_bytes=2, value_bytes=2, step=STEP)

    assert found.token_bytes == 18 * 2 * 4 * 128 * 2
