"""Every expected figure is worked out by hand beside it."""

from pathlib import Path

import pytest

from tests.models.gguf_bytes import gguf
from umad.models.gguf import GgufHeader, read_header
from umad.models.sizes import KvShape, WeightBytes, kv_shape, weight_bytes

F16, Q8_0 = 1, 8
TensorLine = tuple[str, tuple[int, ...], int, int]
EMBEDDING: TensorLine = ("token_embd.weight", (64, 100), Q8_0, 6800)  # 100 rows of 2 blocks of 34
OUTPUT: TensorLine = ("output.weight", (64, 100), Q8_0, 6800)
LAYER: TensorLine = ("blk.0.attn_q.weight", (64, 64), F16, 8192)
EXPERTS: TensorLine = ("blk.0.ffn_up_exps.weight", (64, 32, 8), Q8_0, 17408)  # 8 * 32 * 68
ROUTER: TensorLine = ("blk.0.ffn_gate_inp.weight", (64, 8), 0, 2048)


def header_of(tmp_path: Path, *tensors: TensorLine, **own: object) -> GgufHeader:
    metadata: dict[str, object] = {"general.architecture": "m"}
    metadata |= {f"m.{key.replace('__', '.')}": value for key, value in own.items()}
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(metadata, tensors))
    return read_header(path)


def test_a_tied_embedding_is_read_whole_for_each_token(tmp_path: Path) -> None:
    header = header_of(tmp_path, EMBEDDING, LAYER)

    weights = weight_bytes(header)

    assert weights == WeightBytes(dense=6800 + 8192)


def test_beside_an_output_of_its_own_the_embedding_is_only_looked_up(tmp_path: Path) -> None:
    header = header_of(tmp_path, EMBEDDING, OUTPUT, LAYER)

    weights = weight_bytes(header)

    assert weights.touched(1) == 6800 + 8192


def test_one_token_touches_only_its_experts(tmp_path: Path) -> None:
    header = header_of(
        tmp_path, EMBEDDING, LAYER, EXPERTS, ROUTER, expert_count=8, expert_used_count=2
    )

    weights = weight_bytes(header)

    assert weights.touched(1) == 6800 + 8192 + 2048 + 17408 * 2 // 8


def test_more_tokens_touch_more_experts_but_never_more_than_all() -> None:
    weights = WeightBytes(dense=1000, experts=8000, experts_used=2, experts_count=8)

    # After two tokens an expert is untouched with probability (6/8) ** 2 = 0.5625.
    assert weights.touched(2) == 1000 + round(8000 * (1 - 0.5625))
    assert weights.touched(10_000) == 9000
    assert weights.touched(0) == 0


def test_a_cell_of_one_head_width_for_all_layers(tmp_path: Path) -> None:
    header = header_of(
        tmp_path,
        block_count=4,
        embedding_length=256,
        attention__head_count=4,
        attention__head_count_kv=2,
    )

    shape = kv_shape(header)

    # 4 layers of 2 heads of 256 / 4 elements.
    assert shape == KvShape(k_elements=512, v_elements=512)
    assert shape.cell_bytes(F16, F16) == 2 * 512 * 2
    assert shape.cell_bytes(Q8_0, Q8_0) == 2 * 512 * 34 // 32


def test_layers_may_differ_in_heads_and_keys_in_width_from_values(tmp_path: Path) -> None:
    header = header_of(
        tmp_path,
        block_count=3,
        embedding_length=256,
        attention__head_count=4,
        attention__head_count_kv=[2, 0, 1],
        attention__key_length=96,
        attention__value_length=64,
    )

    shape = kv_shape(header)

    assert shape == KvShape(k_elements=3 * 96, v_elements=3 * 64)


@pytest.mark.parametrize(("kind", "n_bytes"), [(2, 18), (7, 24), (8, 34), (1, 64)])
def test_a_block_of_32_elements_takes_the_bytes_ggml_gives_it(kind: int, n_bytes: int) -> None:
    assert KvShape(k_elements=32, v_elements=0).cell_bytes(kind, kind) == n_bytes


def test_layers_that_only_draft_are_not_touched(tmp_path: Path) -> None:
    draft: TensorLine = ("blk.2.attn_q.weight", (64, 64), F16, 8192)
    header = header_of(tmp_path, EMBEDDING, LAYER, draft, block_count=3, nextn_predict_layers=1)

    assert weight_bytes(header) == WeightBytes(dense=6800 + 8192)


def test_experts_chosen_differ_from_layer_to_layer(tmp_path: Path) -> None:
    more: TensorLine = ("blk.1.ffn_up_chexps.weight", (64, 32, 8), Q8_0, 17408)
    header = header_of(
        tmp_path, EMBEDDING, LAYER, EXPERTS, more, expert_count=8, expert_used_count=[1, 3]
    )

    weights = weight_bytes(header)

    assert weights.touched(1) == 6800 + 8192 + 2 * 17408 * 2 // 8


def test_of_learnt_positions_a_token_reads_one_row(tmp_path: Path) -> None:
    positions: TensorLine = ("position_embd.weight", (64, 256), F16, 32768)
    header = header_of(tmp_path, EMBEDDING, LAYER, positions)

    assert weight_bytes(header) == WeightBytes(dense=6800 + 8192)
