"""Parameters and bytes of weights, held against what the models' makers say."""

import pytest

from umad.scale.hf_config import shape_of
from umad.scale.known_models import KNOWN
from umad.scale.split import Split
from umad.scale.weights import Precision, file_bytes, parameters, stage_bytes

# As the hub's pages count them, without heads of speculation and encoders of images.
COUNTED = {
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.1-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-3.1-405B-Instruct": 405_853_388_800,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46_702_792_704,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "deepseek-ai/DeepSeek-V3": 671_026_419_200,
    "openai/gpt-oss-120b": 116_829_156_672,
}


@pytest.mark.parametrize("name", COUNTED)
def test_shapes_give_the_makers_own_number_of_weights(name: str) -> None:
    found = parameters(shape_of(KNOWN[name], name=name)).total

    assert found == pytest.approx(COUNTED[name], rel=0.001)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_tp_splits_weights_and_copies_little(tp: int) -> None:
    shape = shape_of(KNOWN["meta-llama/Llama-3.1-70B-Instruct"], name="m")

    (on_one,) = stage_bytes(shape, Split(engine="vllm", tp=tp), Precision.of_files(shape))

    assert on_one * tp == pytest.approx(file_bytes(shape), rel=0.001)


def test_kv_heads_that_are_copied_have_their_weights_copied_too() -> None:
    shape = shape_of(KNOWN["Qwen/Qwen3-235B-A22B"], name="m")  # 4 KV heads
    precision = Precision.of_files(shape)

    (four,) = stage_bytes(shape, Split(engine="vllm", tp=4, ep=4), precision)
    (eight,) = stage_bytes(shape, Split(engine="vllm", tp=8, ep=8), precision)

    # 94 layers keep one key and one value head of 128 on each, twice as often.
    copied = 94 * 4096 * 2 * 128 * 2
    router = 94 * 4096 * 128 * 2
    assert eight == pytest.approx((four - router + copied) / 2 + router, rel=0.001)


def test_experts_that_do_not_divide_leave_one_more_on_some() -> None:
    config = {**KNOWN["mistralai/Mixtral-8x7B-Instruct-v0.1"], "num_local_experts": 6}
    shape = shape_of(config, name="m")
    precision = Precision.of_files(shape)
    one = 3 * 4096 * 14336 * 2 * 32

    (whole,) = stage_bytes(shape, Split(engine="vllm", tp=4, ep=4), precision)
    (split,) = stage_bytes(shape, Split(engine="vllm", tp=4), precision)

    assert whole - split == pytest.approx(one * (2 - 6 / 4), rel=0.001)


def test_mxfp4_shortens_experts_alone() -> None:
    shape = shape_of(KNOWN["openai/gpt-oss-120b"], name="m")

    # The repository's files take 65.2 GB.
    assert file_bytes(shape) == pytest.approx(65.2e9, rel=0.01)


def test_the_files_own_size_is_taken_where_it_is_known() -> None:
    config = KNOWN["deepseek-ai/DeepSeek-V3"]
    with_speculation = shape_of(config, name="m", weights_bytes=688_586_727_753)
    without = shape_of(config, name="m")
    split, precision = Split(engine="vllm", tp=8, ep=8), Precision.of_files(without)

    (more,) = stage_bytes(with_speculation, split, precision)
    (less,) = stage_bytes(without, split, precision)

    assert file_bytes(with_speculation) == 688_586_727_753
    assert more / less == pytest.approx(688_586_727_753 / file_bytes(without))


def test_a_quantization_that_the_engine_makes_leaves_embeddings_alone() -> None:
    shape = shape_of(KNOWN["meta-llama/Llama-3.1-8B-Instruct"], name="m")
    made = Precision.of_files(shape).made(8, experts_only=False)

    (n_bytes,) = stage_bytes(shape, Split(engine="vllm"), made)

    embeddings = 2 * 128256 * 4096
    assert n_bytes == pytest.approx(parameters(shape).total + embeddings, rel=0.001)


def test_files_in_32_bits_are_loaded_in_16() -> None:
    config = {**KNOWN["meta-llama/Llama-3.1-8B-Instruct"], "torch_dtype": "float32"}
    shape = shape_of(config, name="m", weights_bytes=4 * 8_030_261_248)

    (n_bytes,) = stage_bytes(shape, Split(engine="vllm"), Precision.loaded(shape))

    assert n_bytes == pytest.approx(2 * 8_030_261_248, rel=0.001)
