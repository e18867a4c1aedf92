from umad.config import EngineSettings
from umad.engine.facts import StepTraffic
from umad.engine.kvtypes import KV_TYPES
from umad.models.gguf import BLOCKS
from umad.models.sizes import WeightBytes


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
