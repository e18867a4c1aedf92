"""What the engine reckons for every architecture of llama.cpp's own test models.

The table beside it has what llama.cpp allocated for them (`make zoo-table` writes it); the headers
alone are enough to reckon with.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.header_model import header_model
from tests.engine.window_table import said_bytes
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_memory import context_memory
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.llama import Model

TABLE = json.loads((Path(__file__).parent / "zoo_memory.json").read_text())
N_CELLS, N_SEQS, MANY_SEQS = 8192, 2, 256
# llama.cpp's log rounds each of a context's buffers to 0.01 MiB.
ROUNDING_BYTES = 0.01 * 2**20
F16 = 1


@pytest.fixture(autouse=True, scope="module")
def _started() -> None:
    llama.start()


OPTIONS = ContextOptions(
    n_cells=N_CELLS,
    max_seqs=N_SEQS,
    batch=512,
    ubatch=512,
    threads=1,
    type_k=F16,
    type_v=F16,
    flash_attention=True,
)
WITH_WINDOWS = [row for row in TABLE["models"] if row.get("small_kv_bytes")]


def model_of(row: dict[str, Any], folder: Path) -> Model:
    own = {
        key: value for key, value in TABLE["common"].items() if key not in row.get("without", ())
    }
    return header_model(folder, row["architecture"], own | row["own"], row.get("loose"))


@pytest.mark.parametrize("row", TABLE["models"], ids=lambda row: row["name"])
def test_what_is_reckoned_is_what_llama_cpp_allocates(tmp_path: Path, row: dict[str, Any]) -> None:
    model = model_of(row, tmp_path)

    memory = context_memory(model, OPTIONS)
    model.close()

    assert memory is not None
    kv_bytes = memory.kept_bytes(N_SEQS) - N_SEQS * memory.state_bytes
    assert kv_bytes == pytest.approx(row.get("kv_bytes", 0), rel=0.01, abs=ROUNDING_BYTES)
    assert MANY_SEQS * memory.state_bytes == pytest.approx(
        row.get("state_bytes", 0), rel=0.01, abs=2 * ROUNDING_BYTES
    )
    if memory.pool_bytes:
        reckoned = N_CELLS * memory.cell_bytes
        assert reckoned == pytest.approx(row.get("kv_bytes", 0), rel=0.01, abs=ROUNDING_BYTES)


@pytest.mark.parametrize(
    ("name", "has_windows"),
    [("llama-dense", False), ("exaone4-dense", False), ("gemma3-dense", True)],
)
def test_a_model_has_windows_where_llama_cpp_makes_a_cache_for_them_whatever_its_file_names(
    tmp_path: Path, name: str, has_windows: bool
) -> None:
    (row,) = [row for row in TABLE["models"] if row["name"] == name]
    model = model_of(row, tmp_path)

    memory = context_memory(model, replace(OPTIONS, swa_full=False))
    model.close()

    own = TABLE["common"] | row["own"]
    assert own["attention.sliding_window"] > 0
    assert memory is not None
    assert memory.has_windows == has_windows


@pytest.mark.parametrize("row", WITH_WINDOWS, ids=lambda row: row["name"])
def test_windows_at_their_size_are_what_llama_cpp_allocates(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    model = model_of(row, tmp_path)

    memory = context_memory(model, replace(OPTIONS, swa_full=False))

    assert memory is not None
    kv_bytes = memory.kept_bytes(N_SEQS) - N_SEQS * memory.state_bytes
    assert kv_bytes == pytest.approx(row["small_kv_bytes"], rel=0.01, abs=ROUNDING_BYTES)
    if memory.windows is not None:
        # Other numbers of sequences, by the log of exactly their contexts.
        for n_seqs in (1, 9, 65):
            said = said_bytes(model, replace(OPTIONS, swa_full=False, max_seqs=n_seqs))
            reckoned = memory.kept_bytes(n_seqs)
            assert reckoned == pytest.approx(said, rel=0.01, abs=2 * ROUNDING_BYTES), n_seqs
    model.close()


@pytest.mark.parametrize("row", TABLE["models"], ids=lambda row: row["name"])
def test_only_deepseek_v4_has_cells_that_no_two_sequences_can_share(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    model = model_of(row, tmp_path)

    memory = context_memory(model, replace(OPTIONS, swa_full=False))
    model.close()

    assert memory is not None
    assert memory.owns_cells == (row["architecture"] == "deepseek4")


def test_there_are_models_with_windows_alone_and_beside_states_in_the_table() -> None:
    assert any(row.get("state_bytes") for row in WITH_WINDOWS)
    assert any(not row.get("state_bytes") for row in WITH_WINDOWS)


def test_the_table_is_of_the_llama_cpp_that_is_installed() -> None:
    assert llama.build().startswith(f"{TABLE['version']};")
