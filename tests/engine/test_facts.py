import ctypes

from umad.config import EngineSettings
from umad.engine.embedding.facts import embed_shape
from umad.engine.facts import StepTraffic
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.engine.llamacpp.library import libggml
from umad.models.gguf import BLOCKS
from umad.models.sizes import WeightBytes

# GGML_TYPE_COUNT of ggml.h.
N_TYPES = 43


def test_every_type_of_weights_has_the_sizes_that_the_library_has() -> None:
    per_block, block_bytes = libggml.ggml_blck_size, libggml.ggml_type_size
    per_block.restype, block_bytes.restype = ctypes.c_int64, ctypes.c_size_t
    sizes = {number: (per_block(number), block_bytes(number)) for number in range(N_TYPES)}

    # Types that were removed have none.
    assert {number: one for number, one in sizes.items() if one != (0, 0)} == BLOCKS


def test_a_step_moves_its_weights_its_cells_and_its_logits() -> None:
    traffic = StepTraffic(
        weights=WeightBytes(dense=1000), kv_cell_bytes=12, n_vocab=100, ubatch=512
    )

    moved = traffic.moved(n_rows=3, n_cells_read=50, n_logit_rows=2)

    assert moved == 1000 + (50 + 3) * 12 + 2 * 100 * 4


def test_weights_are_read_once_for_each_micro_batch() -> None:
    traffic = StepTraffic(weights=WeightBytes(dense=1000), kv_cell_bytes=0, n_vocab=1, ubatch=64)

    assert traffic.moved(n_rows=64, n_cells_read=0, n_logit_rows=0) == 1000
    assert traffic.moved(n_rows=65, n_cells_read=0, n_logit_rows=0) == 2000
    assert traffic.moved(n_rows=200, n_cells_read=0, n_logit_rows=0) == 4000


def test_every_kv_type_a_user_can_name_is_one_llama_cpp_has() -> None:
    bits = {
        name: BLOCKS[kind.number][1] * 8 / BLOCKS[kind.number][0] for name, kind in KV_TYPES.items()
    }

    assert bits == {"f16": 16.0, "q8": 8.5, "q6": 6.0, "q4": 4.5}
    assert [name for name, kind in KV_TYPES.items() if not kind.exact] == ["q6"]
    assert EngineSettings().kv_type in KV_TYPES


def test_layers_with_a_window_read_no_more_than_it() -> None:
    traffic = StepTraffic(
        weights=WeightBytes(dense=0),
        kv_cell_bytes=10,
        window_cell_bytes=6,
        window_tokens=100,
        n_vocab=0,
        ubatch=64,
    )

    # 2 rows that look back over 500 positions each: 4 bytes of each, 6 of the last 100, and theirs.
    moved = traffic.moved(n_rows=2, n_cells_read=1000, n_logit_rows=2)
    assert moved == 1000 * 4 + 2 * 100 * 6 + 2 * 10
    assert traffic.moved(n_rows=2, n_cells_read=50, n_logit_rows=2) == 52 * 10


def test_a_state_is_read_and_written_once_a_step_for_each_sequence() -> None:
    traffic = StepTraffic(
        weights=WeightBytes(dense=0),
        kv_cell_bytes=0,
        state_bytes=1000,
        max_seqs=4,
        n_vocab=0,
        ubatch=64,
    )

    assert traffic.moved(n_rows=3, n_cells_read=0, n_logit_rows=3) == 2 * 3 * 1000
    assert traffic.moved(n_rows=64, n_cells_read=0, n_logit_rows=1) == 2 * 1000
    # All rows of an embedding are outputs, and it has no more sequences than there are.
    assert traffic.moved(n_rows=64, n_cells_read=0, n_logit_rows=64) == 2 * 4 * 1000


def test_an_encoder_takes_more_texts_in_a_slice_than_a_model_that_makes_logits() -> None:
    minilm = WeightBytes(dense=90_000_000)

    encoder = embed_shape(whole=True, recurrent=False, n_vocab=30_522, weights=minilm, batch=512)
    writer = embed_shape(whole=False, recurrent=False, n_vocab=30_522, weights=minilm, batch=512)
    wide = embed_shape(whole=True, recurrent=False, n_vocab=250_002, weights=minilm, batch=512)

    assert (encoder.rows, writer.rows) == (512, 32)
    assert wide.rows * 250_002 * 4 <= 64_000_000
