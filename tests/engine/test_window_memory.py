"""What the cells of sliding windows take where they are not as many as the pool's.

The models are headers alone, of published shapes; the figures to compare with are those that
llama.cpp's log gives for the very context.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.header_model import header_model
from tests.engine.real_models import REAL_MODELS, RealModel
from tests.engine.window_table import CELLS, OPTIONS, reckoned, row, said_bytes, window_models
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.memory_check import check_memory
from umad.engine.llamacpp.stream_count import (
    AT_ONCE,
    AT_ONCE_SHARE,
    FEW_STREAMS,
    MOST_STREAMS,
    WINDOW_SHARE,
    stream_count,
)
from umad.engine.llamacpp.window_cache import WindowCache
from umad.errors import ModelTooLarge

MB, GB = 10**6, 10**9
Q8_0 = 8
# Gemma 3 27B with a pool of 32k cells.
GEMMA = WindowCache(cell_bytes=425_984, step_cells=512, seq_cells=1024, pool_cells=2**15)
WITH_WINDOWS = [real for real in REAL_MODELS if real.window_cell_bytes]


@pytest.fixture(autouse=True, scope="module")
def _started() -> None:
    llama.start()


@pytest.mark.parametrize("n_cells", CELLS)
@pytest.mark.parametrize("real", WITH_WINDOWS, ids=lambda real: real.name)
def test_windows_at_their_size_take_what_llama_cpp_says_for_any_number_of_sequences(
    tmp_path: Path, real: RealModel, n_cells: int
) -> None:
    model = header_model(tmp_path, real.architecture, real.own)

    memory = reckoned(model, replace(OPTIONS, n_cells=n_cells))

    for n_seqs in (1, 2, 5, 14, 33, 65):
        said = said_bytes(model, replace(OPTIONS, n_cells=n_cells, max_seqs=n_seqs))
        assert memory.kept_bytes(n_seqs) == pytest.approx(said, rel=0.01), n_seqs
    model.close()


@pytest.mark.parametrize("real", window_models(), ids=lambda real: real.name)
def test_windows_of_another_type_or_micro_batch_take_what_llama_cpp_says(
    tmp_path: Path, real: RealModel
) -> None:
    model = header_model(tmp_path, real.architecture, real.own)
    options = replace(OPTIONS, type_k=Q8_0, type_v=Q8_0, batch=2048, ubatch=1024, max_seqs=9)

    memory = reckoned(model, options)

    assert memory.kept_bytes(9) == pytest.approx(said_bytes(model, options), rel=0.01)
    model.close()


def test_a_context_beyond_what_llama_cpp_is_asked_for_grows_by_the_other_layers_cells(
    tmp_path: Path,
) -> None:
    (real,) = (one for one in REAL_MODELS if one.name == "gpt-oss 120B")
    model = header_model(tmp_path, real.architecture, real.own)

    memory = reckoned(model, replace(OPTIONS, n_cells=2**20, max_seqs=5))

    others = real.cell_bytes - real.window_cell_bytes
    windows = (5 * 128 + 512 + 128) * real.window_cell_bytes  # in whole blocks of 256
    assert memory.kept_bytes(5) == pytest.approx(2**20 * others + windows, rel=0.01)
    model.close()


def test_gemma_3_27b_at_128k_takes_a_fifth_of_what_whole_windows_take(tmp_path: Path) -> None:
    (real,) = (one for one in REAL_MODELS if one.name == "Gemma 3 27B")
    model = header_model(tmp_path, real.architecture, real.own)
    options = replace(OPTIONS, n_cells=2**17)

    small, full = reckoned(model, options), reckoned(model, replace(options, swa_full=True))

    assert full.kept_bytes(5) == pytest.approx(66.6e9, rel=0.01)
    assert small.kept_bytes(5) == pytest.approx(13.1e9, rel=0.01)
    # llama-server with four slots needs 12.7 GB; a fifth sequence is for copies.
    assert small.kept_bytes(4) == pytest.approx(12.7e9, rel=0.01)
    assert "12.7 GB" in row(real.name, model, 2**17)
    model.close()


def test_windows_are_never_larger_than_the_pool() -> None:
    assert GEMMA.cells(1) == 1024 + 512
    assert GEMMA.cells(31) == 32_256
    assert GEMMA.cells(32) == GEMMA.cells(256) == 2**15
    assert not GEMMA.is_whole(31)
    assert GEMMA.is_whole(32)


def streams(
    windows: WindowCache,
    *,
    machine_bytes: int,
    asked: int | None = None,
    passes_cells: bool = False,
) -> int:
    return stream_count(
        asked,
        seq_bytes=0,
        n_scratch=1,
        left_bytes=machine_bytes // 2,
        machine_bytes=machine_bytes,
        windows=windows,
        passes_cells=passes_cells,
    )


def test_the_windows_of_streams_that_may_never_come_get_a_tenth_of_the_memory() -> None:
    chosen = streams(GEMMA, machine_bytes=64 * GB)

    assert chosen == 13
    assert GEMMA.bytes(chosen + 1) <= 6.4 * GB < GEMMA.bytes(chosen + 2)


def test_a_small_machine_still_has_windows_for_a_few_streams() -> None:
    assert streams(GEMMA, machine_bytes=16 * GB) == FEW_STREAMS


def test_there_are_never_so_many_streams_that_their_windows_are_the_whole_pool() -> None:
    chosen = streams(GEMMA, machine_bytes=256 * GB)

    assert chosen == 30
    assert not GEMMA.is_whole(chosen + 1)
    assert GEMMA.is_whole(chosen + 2)


def test_on_a_cpu_windows_take_a_quarter_of_the_pool_or_serve_eight() -> None:
    gpt_oss = WindowCache(cell_bytes=36_864, step_cells=512, seq_cells=128, pool_cells=2**14)

    assert streams(GEMMA, machine_bytes=256 * GB, passes_cells=True) == AT_ONCE
    small = replace(GEMMA, pool_cells=2**13)
    assert small.share(FEW_STREAMS + 2) > AT_ONCE_SHARE
    assert streams(small, machine_bytes=256 * GB, passes_cells=True) == FEW_STREAMS
    chosen = streams(gpt_oss, machine_bytes=64 * GB, passes_cells=True)
    assert chosen == 27
    assert gpt_oss.share(chosen + 1) <= WINDOW_SHARE < gpt_oss.share(chosen + 3)


def test_small_windows_do_not_limit_the_streams() -> None:
    gpt_oss = WindowCache(cell_bytes=36_864, step_cells=512, seq_cells=128, pool_cells=2**17)

    assert streams(gpt_oss, machine_bytes=64 * GB) == MOST_STREAMS
    assert gpt_oss.bytes(MOST_STREAMS + 1) < 0.34 * GB


def test_streams_that_were_asked_for_get_their_windows_or_are_refused_with_figures() -> None:
    assert streams(GEMMA, machine_bytes=24 * GB, asked=24) == 24

    with pytest.raises(ModelTooLarge) as caught:
        check_memory(
            file_bytes=17 * GB,
            kv_bytes=int(2.7 * GB),
            available_bytes=24 * GB,
            path=Path("/models/gemma.gguf"),
            cells=2**15,
            n_seqs=25,
            windows=GEMMA,
            n_scratch=1,
        )

    assert f"{GEMMA.bytes(25) // MB} MB for the windows of 25 streams" in caught.value.message
    assert "--max-seqs 5" in caught.value.message


def test_windows_as_large_as_the_pool_are_refused_with_the_word_that_helps() -> None:
    with pytest.raises(ModelTooLarge, match="--swa-full off"):
        check_memory(
            file_bytes=17 * GB,
            kv_bytes=17 * GB,
            available_bytes=24 * GB,
            path=Path("/models/gemma.gguf"),
            cells=2**15,
            is_full=True,
        )
